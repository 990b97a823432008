"""The data sets of storage commitment: as pydicom reads and writes them, and as nobody should."""

from __future__ import annotations

import random
import warnings
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from channels.transport import commitment_data_set
from channels.transport.commitment_data_set import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    InvalidDataSet,
    decode_report,
    decode_request,
    encode_report,
    encode_request,
)
from engine.model import CommitmentReport

EXPLICIT = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
SYNTAXES = pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT])
REPORTS = [
    CommitmentReport("1.2.3", ((MR, "1.2.4"), (MR, "1.2.5"))),
    CommitmentReport("1.2.3", ((MR, "1.2.4"),), ((MR, "1.2.5", 0x0112), (MR, "1.2.6", 0x0110))),
    CommitmentReport("1.2.3", (), ((MR, "1.2.5", 0x0119),)),
]


def written(dataset: Dataset, syntax: str) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=syntax == IMPLICIT_VR_LITTLE_ENDIAN, little_endian=True)
    return buffer.getvalue()


def read(data: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN, is_little_endian=True)


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@SYNTAXES
def test_a_request_is_read_as_it_was_written(syntax: str) -> None:
    references = [(MR, "1.2.4"), (MR, "1.2.5")]
    data = encode_request("1.2.3", references, syntax)
    assert decode_request(data, syntax) == ("1.2.3", tuple(references))
    assert read(data, syntax).ReferencedSOPSequence[1].ReferencedSOPInstanceUID == "1.2.5"


@SYNTAXES
@pytest.mark.parametrize("report", REPORTS, ids=["all", "some", "none"])
def test_a_report_is_read_as_it_was_written(report: CommitmentReport, syntax: str) -> None:
    event_type, data = encode_report(report, syntax)
    assert event_type == (2 if report.failed else 1)
    assert decode_report(event_type, data, syntax) == report
    assert ("ReferencedSOPSequence" in read(data, syntax)) == bool(report.committed)  # 1C


@SYNTAXES
def test_sequences_of_undefined_length_are_read(syntax: str) -> None:
    dataset = item(TransactionUID="1.2.3", RetrieveAETitle="STM_PACS")
    dataset.ReferencedSOPSequence = [item(ReferencedSOPClassUID=MR, ReferencedSOPInstanceUID="1.2.4")]
    dataset["ReferencedSOPSequence"].is_undefined_length = True
    assert decode_request(written(dataset, syntax), syntax) == ("1.2.3", ((MR, "1.2.4"),))


def test_a_success_that_lists_failures_is_a_failure() -> None:
    _, data = encode_report(REPORTS[1], EXPLICIT)
    assert decode_report(1, data, EXPLICIT).failed == REPORTS[1].failed


WRONG = [
    ("no transaction", item(ReferencedSOPSequence=[item(ReferencedSOPClassUID=MR)]), 0x0115),
    ("no references", item(TransactionUID="1.2.3"), 0x0115),
    ("an empty sequence", item(TransactionUID="1.2.3", ReferencedSOPSequence=[]), 0x0115),
    ("an empty item", item(TransactionUID="1.2.3", ReferencedSOPSequence=[Dataset()]), 0x0115),
]


@pytest.mark.parametrize(("dataset", "status"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_missing_is_answered_with_its_status(dataset: Dataset, status: int) -> None:
    with pytest.raises(InvalidDataSet) as told:
        decode_request(written(dataset, EXPLICIT), EXPLICIT)
    assert told.value.status == status


@pytest.mark.parametrize("uid", [b"1.2.x", b"1..2", b"Doe^Jane", b"1." * 33 + b"1", b".1"])
def test_what_is_no_uid_is_refused_without_quoting_it(uid: bytes) -> None:
    good = encode_request("1.2.3", [(MR, "1.2.4")], EXPLICIT)
    padded = uid + b"\0" * (len(uid) % 2)
    bad = good.replace(b"UI\x06\x001.2.3\0", b"UI" + len(padded).to_bytes(2, "little") + padded, 1)
    assert bad != good
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidDataSet) as told:
            decode_request(bad, EXPLICIT)
    assert told.value.status == 0x0115
    assert uid.decode() not in str(told.value)


def test_too_many_instances_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_request("1.2.3", [(MR, f"1.2.{number}") for number in range(11)], EXPLICIT)
    monkeypatch.setattr(commitment_data_set, "MAX_REFERENCES", 10)
    with pytest.raises(InvalidDataSet) as told:
        decode_request(data, EXPLICIT)
    assert told.value.status == 0x0213


@SYNTAXES
def test_damaged_bytes_are_read_or_refused_and_nothing_else(syntax: str) -> None:
    chance = random.Random(1)  # the same damage each time
    _, good = encode_report(REPORTS[1], syntax)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2000):
            damaged = bytearray(good[: chance.randrange(1, len(good) + 1)])
            for _ in range(chance.randrange(1, 6)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                decode_report(2, bytes(damaged), syntax)
            except InvalidDataSet as error:
                refused += error.status in (0x0110, 0x0115, 0x0213)
    assert refused > 1000
