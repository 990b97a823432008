"""The data sets of storage commitment: what peers send, and what they send wrongly."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom.dsutils import decode

from channels.transport import commitment_data_set
from channels.transport.commitment_data_set import (
    InvalidDataSet,
    decode_report,
    decode_request,
    encode_report,
    encode_request,
)
from engine.model import CommitmentReport

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
REFERENCES = ((MR, "1.2.3.1"), (MR, "1.2.3.22"))
BOTH = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])


@BOTH
def test_a_request_reads_back_as_it_was_meant(syntax: str) -> None:
    data = encode_request("2.25.7", REFERENCES, syntax)

    assert decode_request(data, syntax) == ("2.25.7", REFERENCES)
    read = decode(BytesIO(data), syntax == IMPLICIT, is_little_endian=True)
    assert [item.ReferencedSOPInstanceUID for item in read.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.22"]


@BOTH
@pytest.mark.parametrize(
    ("report", "event_type"),
    [
        (CommitmentReport("2.25.7", REFERENCES), 1),
        (CommitmentReport("2.25.7", REFERENCES[:1], ((*REFERENCES[1], 0x0112),)), 2),
        (CommitmentReport("2.25.7", (), tuple((*each, 0x0110) for each in REFERENCES)), 2),
    ],
)
def test_a_report_reads_back_as_it_was_meant(syntax: str, report: CommitmentReport, event_type: int) -> None:
    said, data = encode_report(report, syntax)

    assert said == event_type
    assert decode_report(said, data, syntax) == report


def told(**elements: Any) -> bytes:
    data_set = Dataset()
    for keyword, value in {"TransactionUID": "2.25.7", **elements}.items():
        setattr(data_set, keyword, value)
    buffer = BytesIO()
    data_set.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def item(instance: str = "1.2.3.1", **elements: Any) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = MR, instance
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def test_success_that_lists_failures_is_none() -> None:
    data = told(FailedSOPSequence=[item(FailureReason=0x0119)])

    assert decode_report(1, data, EXPLICIT).failed == ((MR, "1.2.3.1", 0x0119),)


def test_a_failure_without_its_reason_is_a_processing_failure() -> None:
    assert decode_report(2, told(FailedSOPSequence=[item()]), EXPLICIT).failed == ((MR, "1.2.3.1", 0x0110),)


@pytest.mark.parametrize(
    ("event_type", "data", "status"),
    [
        (3, told(ReferencedSOPSequence=[item()]), 0x0113),  # no such event type
        (1, told(), 0x0115),  # about nothing
        (2, told(ReferencedSOPSequence=[item()]), 0x0115),  # failures without a failure
        (1, told(TransactionUID="", ReferencedSOPSequence=[item()]), 0x0115),
        (1, told(ReferencedSOPSequence=[Dataset()]), 0x0115),
        (1, b"\xff" * 64, 0x0110),  # no data set
    ],
)
def test_a_report_that_cannot_be_used_is_answered_with_its_status(
    event_type: int, data: bytes, status: int
) -> None:
    with pytest.raises(InvalidDataSet) as caught:
        decode_report(event_type, data, EXPLICIT)

    assert caught.value.status == status


def test_what_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_data_set, "MAX_BYTES", 50)

    with pytest.raises(InvalidDataSet) as caught:
        decode_request(encode_request("2.25.7", REFERENCES, IMPLICIT), IMPLICIT)
    assert caught.value.status == 0x0213


def test_references_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_data_set, "MAX_REFERENCES", 1)

    with pytest.raises(InvalidDataSet, match="more than 1 instances"):
        decode_request(encode_request("2.25.7", REFERENCES, IMPLICIT), IMPLICIT)


def read_or_status(data: bytes, syntax: str) -> str | int:
    try:
        return decode_report(1, data, syntax).transaction_uid
    except InvalidDataSet as error:
        return error.status


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), syntax=st.sampled_from([IMPLICIT, EXPLICIT]))
def test_no_bytes_do_anything_else_than_read_or_be_refused(data: bytes, syntax: str) -> None:
    _, whole = encode_report(CommitmentReport("2.25.7", REFERENCES), syntax)
    for hostile in (data, whole[: len(data)] + data, data + whole):
        assert read_or_status(hostile, syntax) in ("2.25.7", 0x0110, 0x0115)
