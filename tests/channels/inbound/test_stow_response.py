"""What a store transaction is answered with, by outcome and by Accept header."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from pydicom.dataset import Dataset

from channels.inbound.stow_response import (
    JSON,
    XML,
    Cause,
    Failed,
    Outcome,
    Stored,
    preferred_media_type,
    render,
    status_code,
)

STORED = Stored("1.2.840.10008.5.1.4.1.1.4", "1.2.3")
FAILED = Failed(0xA900, "no", Cause.CONTENT, "1.2.840.10008.5.1.4.1.1.2", "1.2.4")
UNKNOWN = Failed(0xC000, "not DICOM")

# PS3.18 table 10.5.3-1
STATUS: list[tuple[str, list[Outcome], int]] = [
    ("nothing came", [], 400),
    ("all stored", [STORED, STORED], 200),
    ("some stored", [STORED, FAILED], 202),
    ("none stored", [FAILED, UNKNOWN], 409),
    ("none stored: busy", [Failed(0xA700, "", Cause.BUSY)] * 2, 503),
    ("none stored: disk full", [Failed(0xA700, "", Cause.STORAGE_FULL)], 507),
    ("none stored: too large", [Failed(0xC000, "", Cause.TOO_LARGE)], 413),
    ("none stored: another type", [Failed(0xC000, "", Cause.MEDIA_TYPE)], 415),
    ("none stored: nested", [Failed(0xC000, "", Cause.NESTED)], 400),
    ("none stored: our fault", [Failed(0x0110, "", Cause.DEFECT)], 500),
    ("none stored, for several reasons", [FAILED, Failed(0xA700, "", Cause.BUSY)], 409),
    ("some stored, then busy", [STORED, Failed(0xA700, "", Cause.BUSY)], 202),
]


@pytest.mark.parametrize(("outcomes", "status"), [row[1:] for row in STATUS], ids=[row[0] for row in STATUS])
def test_the_status_tells_how_much_is_stored(outcomes: list[Outcome], status: int) -> None:
    assert status_code(outcomes) == status


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/dicom+json", JSON),
        ("application/json", "application/json"),
        ("application/dicom+xml", XML),
        ("text/html, application/dicom+xml;q=0.9, */*;q=0.1", XML),
        ("application/dicom+xml;q=0.5, application/dicom+json", JSON),
        ("application/dicom+json;q=0", None),
        ("application/dicom+json;q=high", None),
        ("text/html", None),
    ],
)
def test_the_answer_is_what_the_client_prefers(accept: str, media_type: str | None) -> None:
    assert preferred_media_type(accept) == media_type


def test_json_is_the_response_module_as_another_reader_sees_it() -> None:
    data_set = Dataset.from_json(json.loads(render([STORED, FAILED, UNKNOWN], JSON)))
    (stored,) = data_set.ReferencedSOPSequence
    assert (stored.ReferencedSOPClassUID, stored.ReferencedSOPInstanceUID) == (STORED.sop_class_uid, "1.2.3")
    assert "RetrieveURL" in stored
    assert not stored.RetrieveURL
    (failed,) = data_set.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.4", 0xA900)
    (other,) = data_set.OtherFailuresSequence
    assert other.FailureReason == 0xC000
    assert "ReferencedSOPInstanceUID" not in other


def test_no_empty_sequences_are_sent() -> None:
    assert set(json.loads(render([STORED], JSON))) == {"00081190", "00081199"}
    assert set(json.loads(render([FAILED], JSON))) == {"00081190", "00081198"}


def test_xml_is_the_native_dicom_model() -> None:
    root = ElementTree.fromstring(render([STORED, FAILED], XML))
    space = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    assert root.tag == f"{space}NativeDicomModel"
    assert [(node.get("tag"), node.get("vr"), node.get("keyword")) for node in root] == [
        ("00081190", "UR", "RetrieveURL"),
        ("00081198", "SQ", "FailedSOPSequence"),
        ("00081199", "SQ", "ReferencedSOPSequence"),
    ]
    (item,) = root[1]
    assert (item.tag, item.get("number")) == (f"{space}Item", "1")
    values = {node.get("keyword"): [value.text for value in node] for node in item}
    assert values == {
        "FailureReason": [str(0xA900)],
        "ReferencedSOPClassUID": [FAILED.sop_class_uid],
        "ReferencedSOPInstanceUID": ["1.2.4"],
    }
