"""Edits go to copies; originals stay byte-exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread

from engine.model import StoredInstance
from engine.transform import copy_instances


def stored(path: Path) -> StoredInstance:
    return StoredInstance("1.2.3", "1.2.3.4", "1.2", "1.2.840.10008.1.2.1", path, "digest")


def test_without_steps_a_copy_is_byte_exact(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    original = tmp_path / "o.dcm"
    original.write_bytes(instance())
    (copy,) = copy_instances([stored(original)], tmp_path / "in", ())
    assert copy.path == tmp_path / "in" / "1.2.3" / "1.2.3.4.dcm"
    assert copy.path.read_bytes() == original.read_bytes()


def test_steps_change_the_copy_and_only_the_copy(tmp_path: Path, instance: Callable[..., bytes]) -> None:
    original = tmp_path / "o.dcm"
    content = instance(InstitutionName="Somewhere")
    original.write_bytes(content)
    steps = [
        {"set": {"BodyPartExamined": "BRAIN", "EchoTime": "80"}},
        {"remove": ["InstitutionName", "StationName"]},  # one is not there
    ]
    (copy,) = copy_instances([stored(original)], tmp_path / "in", steps)
    edited = dcmread(copy.path)
    assert (edited.BodyPartExamined, edited.EchoTime) == ("BRAIN", 80)
    assert "InstitutionName" not in edited
    assert edited.SOPInstanceUID == dcmread(original).SOPInstanceUID
    assert copy.sha256 != "digest"
    assert original.read_bytes() == content
