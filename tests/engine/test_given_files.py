"""A test's study out of DICOM JSON, or out of a folder of instances."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from engine.errors import PonsError
from engine.given_files import MAX_JSON, read_files
from engine.model import Study

FRAME = Study("a", "1.2.3", 1, "pacs", "A", "PONS", datetime(2000, 1, 1, 12), ())
KEYWORDS = (
    "Modality",
    "SeriesDescription",
    "ProcedureCodeSequence.CodeValue",
    '(0019,"SIEMENS MR HEADER",0C)',
)


def read(path: Path, folder: Path, changed: dict[str, Any] | None = None) -> Study:
    return read_files(FRAME, path, changed or {}, KEYWORDS, folder / "written")


@pytest.fixture
def study(tmp_path: Path, instance: Callable[..., bytes]) -> Path:
    """A folder with two instances, one of them deeper, and a file that is no DICOM."""
    folder = tmp_path / "study"
    (folder / "deeper").mkdir(parents=True)
    (folder / "1.dcm").write_bytes(instance(1))
    (folder / "deeper" / "2").write_bytes(instance(2))
    (folder / "README").write_text("two instances\n")
    return folder


def test_a_folder_of_instances_is_a_study(study: Path, tmp_path: Path) -> None:
    found = read(study, tmp_path)
    assert len(found.instances) == len(found.stored) == 2
    assert found.study_instance_uid == dcmread(study / "1.dcm").StudyInstanceUID
    assert {one.attributes["Modality"] for one in found.instances} == {"MR"}
    assert [one.path for one in found.stored] == [study / "1.dcm", study / "deeper" / "2"], "read where it is"
    assert (found.site, found.inbound) == ("a", "pacs"), "what files do not say"


def test_attributes_beside_a_folder_count_instead_of_the_files_own(study: Path, tmp_path: Path) -> None:
    before = (study / "1.dcm").read_bytes()
    found = read(study, tmp_path, {"Modality": "CT", "ProcedureCodeSequence.CodeValue": "RPID21"})
    assert [one.attributes["Modality"] for one in found.instances] == ["CT", "CT"]
    assert [one.attributes["ProcedureCodeSequence.CodeValue"] for one in found.instances] == [["RPID21"]] * 2
    assert (study / "1.dcm").read_bytes() == before


def test_two_studies_in_a_folder_are_refused(
    study: Path, tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    (study / "other.dcm").write_bytes(instance(1, study="b"))
    with pytest.raises(PonsError, match="holds 2 studies; a test is of one"):
        read(study, tmp_path)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PonsError, match="holds no DICOM instance"):
        read(tmp_path / "empty", tmp_path)


def test_dicom_json_is_read_as_a_file_that_came_in(study: Path, tmp_path: Path) -> None:
    """What the JSON of an instance says is what the instance itself says."""
    source = dcmread(study / "1.dcm")
    source.ProcedureCodeSequence = [Dataset()]
    source.ProcedureCodeSequence[0].CodeValue = "RPID21"
    source.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    path = tmp_path / "one.json"
    path.write_text(json.dumps(source.to_json_dict()))
    (found,) = read(path, tmp_path).instances
    assert found.sop_instance_uid == source.SOPInstanceUID
    assert found.attributes == {
        "Modality": "MR",
        "SeriesDescription": source.get("SeriesDescription"),
        "ProcedureCodeSequence.CodeValue": ["RPID21"],
        '(0019,"SIEMENS MR HEADER",0C)': 1000,
    }


def test_a_list_of_data_sets_is_one_study_and_missing_uids_are_made_up(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(
        json.dumps(
            [
                {"00080060": {"vr": "CS", "Value": ["CT"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}},
                {"00080060": {"vr": "CS", "Value": ["SR"]}},
            ]
        )
    )
    found = read(path, tmp_path)
    assert [one.attributes["Modality"] for one in found.instances] == ["CT", "SR"]
    assert found.study_instance_uid == FRAME.study_instance_uid
    assert found.instances[0].series_instance_uid == "1.2.3.4"
    assert len({one.sop_instance_uid for one in found.instances}) == 2
    assert read(path, tmp_path) == found, "the same each time"


def test_metadata_without_its_pixels_and_bulk_data_is_taken(tmp_path: Path) -> None:
    """As `GET …/metadata` answers (PS3.18 10.4.1.1.2), beyond ASCII and with bulk data elsewhere."""
    path = tmp_path / "metadata.json"
    document = {
        "00080060": {"vr": "CS", "Value": ["MR"]},
        "0008103E": {"vr": "LO", "Value": ["Schädel"]},
        "00280100": {"vr": "US", "Value": [16]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://pacs.example/bulk/1"},
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.90"]},
    }
    path.write_text(json.dumps([document]))
    (found,) = read(path, tmp_path).instances
    assert found.attributes["SeriesDescription"] == "Schädel"


BROKEN: list[tuple[bytes, str]] = [
    (b"[{", "{path}:1:3: not JSON: "),
    (b"\xff", "{path}: not UTF-8"),
    (b"[" * 100_000, "{path}: nested too deep"),
    (b"[]", "{path}: must hold one data set or a list of them"),
    (b"[1]", "{path}: data set 1: must be an object of tags"),
    (b'{"Modality": "MR"}', "{path}: data set 1: is no DICOM JSON: "),
    (b'{"00080060": {"vr": "XX", "Value": ["MR"]}}', "{path}: data set 1: cannot be written as DICOM: "),
    (b'{"0020000D": {"vr": "UI", "Value": ["no uid"]}}', "{path}: StudyInstanceUID is no UID"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_what_is_no_dicom_json_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(PonsError, match=r".*") as error:
        read(path, tmp_path)
    assert str(error.value).startswith(message.format(path=path))


def test_a_json_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON + 1)
    with pytest.raises(PonsError, match="larger than 64 MB"):
        read(path, tmp_path)
