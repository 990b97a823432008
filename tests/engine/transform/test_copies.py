"""Edits go to copies; originals stay byte-exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread

from engine import part10
from engine.model import StoredInstance
from engine.transform import copy_instances
from tests import character_sets
from tests.character_sets import SAMPLES, Sample


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
    steps: list[dict[str, Any]] = [
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


@pytest.mark.parametrize("value", ["Radiology", "頭部 Größe МРТ"])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_an_edit_loses_no_letter_of_any_character_set(tmp_path: Path, sample: Sample, value: str) -> None:
    original = tmp_path / "o.dcm"
    original.write_bytes(character_sets.instance(sample))
    steps = [{"set": {"InstitutionName": value}}]
    (copy,) = copy_instances([stored(original)], tmp_path / "in", steps)
    nested = "RequestAttributesSequence.RequestedProcedureDescription"
    keywords = ["PatientName", "StudyDescription", nested, "InstitutionName"]
    assert part10.inspect(copy.path, keywords).attributes == {
        "PatientName": sample.name,
        "StudyDescription": sample.description,
        nested: [sample.description],
        "InstitutionName": value,
    }


def test_a_copy_in_utf_8_keeps_everything_else(tmp_path: Path) -> None:
    original = Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm"
    steps = [{"set": {"InstitutionName": "Klinik für Radiologie"}}]
    (copy,) = copy_instances([stored(original)], tmp_path / "in", steps)
    before, after = dcmread(original), dcmread(copy.path)
    assert after.SpecificCharacterSet == "ISO_IR 192"
    changed = {one.keyword for one in after if one.tag not in before or before[one.tag].value != one.value}
    assert changed == {"SpecificCharacterSet", "InstitutionName"}
    assert [one.tag for one in before if one.tag not in after] == []
