"""What `keep:` leaves of an object: what is wanted, and what makes it valid."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage

from engine.transform import keep
from engine.transform.copies import write_edited
from engine.transform.steps import edits_of
from tests.peers.judges import dciodvfy_errors

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def kept(name: str, folder: Path, *wanted: str) -> Path:
    copy = folder / name
    write_edited(SAMPLES / name, copy, edits_of([{"keep": list(wanted)}], Path()))
    return copy


def test_what_is_wanted_stays_what_describes_goes_what_is_demanded_is_emptied(tmp_path: Path) -> None:
    before = dcmread(SAMPLES / "CT_small.dcm")
    after = dcmread(kept("CT_small.dcm", tmp_path, "StudyDescription", "StudyDate"))
    assert (after.StudyDescription, after.StudyDate) == (before.StudyDescription, before.StudyDate)
    assert "InstitutionName" in before
    assert "InstitutionName" not in after
    assert "PatientWeight" not in after
    assert before.PatientName
    assert (after.PatientName, after.PatientBirthDate, after.AccessionNumber) == ("", "", "")
    assert after.PatientID == before.PatientID
    uids = {one.keyword for one in before if one.VR == "UI"}
    assert all(after[keyword].value == before[keyword].value for keyword in uids)
    pixels = {one.tag for one in before if one.tag.group in (0x0028, 0x7FE0)}
    assert all(after[tag].value == before[tag].value for tag in pixels)
    assert not any(one.tag.is_private for one in after)


def test_private_elements_may_be_among_what_is_wanted(tmp_path: Path) -> None:
    before = dcmread(SAMPLES / "CT_small.dcm")
    after = dcmread(kept("CT_small.dcm", tmp_path, '(0019,"GEMS_ACQU_01",02)'))
    private = {one.tag for one in after if one.tag.is_private}
    assert private == {0x00190010, 0x00191002}
    assert after[0x00191002].value == before[0x00191002].value
    everything = dcmread(kept("CT_small.dcm", tmp_path, "private"))
    assert {one.tag for one in before if one.tag.is_private} == {
        one.tag for one in everything if one.tag.is_private
    }


@pytest.mark.judges
@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"),
        *("MR_small_RLE.dcm", "waveform_ecg.dcm", "rtplan.dcm", "rtdose.dcm", "reportsi.dcm"),
        *("examples_overlay.dcm", "JPEG2000.dcm", "liver_1frame.dcm", "test-SR.dcm"),
    ],
)
def test_what_is_left_is_as_valid_as_it_was(name: str, tmp_path: Path) -> None:
    before = set(dciodvfy_errors(SAMPLES / name))
    assert set(dciodvfy_errors(kept(name, tmp_path, "SeriesDescription"))) <= before


def test_of_a_class_that_nobody_knows_stays_what_any_class_needs() -> None:
    known, unknown = keep.needed_by(MRImageStorage), keep.needed_by("1.2.3.4")
    assert known[0] <= unknown[0]
    assert "ScanningSequence" in known[0]
    assert "ScanningSequence" not in keep.needed_by(CTImageStorage)[0]
    assert "EchoTime" in known[1]


def test_the_table_of_what_is_needed_agrees_with_that_of_others() -> None:
    """highdicom carries the modules of PS3.3 as they were extracted from its text."""
    spec = find_spec("highdicom")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "_standard"
    modules, iods, classes = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("module_attribute_map", "iod_module_map", "sop_class_iod_map")
    )
    assert len(classes) > 150
    for uid, iod in classes.items():
        demanded = [one["key"] for one in iods[iod] if one["usage"] in ("M", "C")]
        first, second = _typed(modules, demanded, "1"), _typed(modules, demanded, "2")
        assert keep.needed_by(uid) == (first, second - first), uid


def _typed(modules: dict[str, Any], names: list[str], kind: str) -> frozenset[str]:
    return frozenset(
        one["keyword"]
        for name in names
        for one in modules.get(name, ())
        if not one["path"] and one["type"].startswith(kind)
    )
