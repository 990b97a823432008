"""The data sets of storage commitment, to and from bytes (PS3.4 J.3.2 and J.3.3).

Enter: the Action Information of an N-ACTION or the Event Information of an N-EVENT-REPORT, as a peer
sent it, or the facts to send. Leave: the facts, or bytes in implicit or explicit VR little endian.
Pure. Nothing a peer sends is trusted: lengths are bounded, UIDs are checked, and what is wrong is
answered with the status that PS3.7 C.4.2 and 10.1.4.1.10 give it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_dataset

from engine.model import CommitmentReport

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class (PS3.4 J.3.5)."""
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance that every request and every report is about."""
REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 J.3.2)."""
SUCCESSFUL, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 J.3.3)."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
MAX_REFERENCES = 50_000
"""Instances in one request or report; the largest studies have a fifth of that."""
MAX_BYTES = 1 << 24
"""Of one data set; MAX_REFERENCES of the longest UIDs fit."""

PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_EVENT_TYPE = 0x0113
RESOURCE_LIMITATION = 0x0213

_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z", re.ASCII)
_TRANSACTION_UID = 0x00081195
_REFERENCED_SOP_SEQUENCE, _FAILED_SOP_SEQUENCE = 0x00081199, 0x00081198
_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID = 0x00081150, 0x00081155
_FAILURE_REASON = 0x00081197


class InvalidDataSet(ValueError):
    """What a peer sent cannot be used; ``status`` is what it is answered with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def encode_request(
    transaction_uid: str, references: Iterable[tuple[str, str]], transfer_syntax_uid: str
) -> bytes:
    """The Action Information of a request: SOP Class UID and SOP Instance UID of each instance."""
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    data_set.ReferencedSOPSequence = [_item(*reference) for reference in references]
    return _encode(data_set, transfer_syntax_uid)


def decode_request(data: bytes, transfer_syntax_uid: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Transaction UID and references of a request; InvalidDataSet when there is none."""
    data_set = _decode(data, transfer_syntax_uid)
    references = tuple(_reference(item) for item in _sequence(data_set, _REFERENCED_SOP_SEQUENCE))
    if not references:
        raise InvalidDataSet("no Referenced SOP Sequence (0008,1199)", INVALID_ARGUMENT_VALUE)
    return _uid(data_set, _TRANSACTION_UID), references


def encode_report(report: CommitmentReport, transfer_syntax_uid: str) -> tuple[int, bytes]:
    """Event Type ID and Event Information of a report."""
    data_set = Dataset()
    data_set.TransactionUID = report.transaction_uid
    if report.committed:
        data_set.ReferencedSOPSequence = [_item(*reference) for reference in report.committed]
    if report.failed:
        data_set.FailedSOPSequence = [_item(*failure) for failure in report.failed]
    event_type = FAILURES_EXIST if report.failed else SUCCESSFUL
    return event_type, _encode(data_set, transfer_syntax_uid)


def decode_report(event_type: int, data: bytes, transfer_syntax_uid: str) -> CommitmentReport:
    """A report; InvalidDataSet when it is none.

    Whether something failed is said by the sequence, not by the event type: a peer that announces
    success and lists failures has not committed to those.
    """
    if event_type not in (SUCCESSFUL, FAILURES_EXIST):
        raise InvalidDataSet(f"no such event type: {event_type}", NO_SUCH_EVENT_TYPE)
    data_set = _decode(data, transfer_syntax_uid)
    committed = tuple(_reference(item) for item in _sequence(data_set, _REFERENCED_SOP_SEQUENCE))
    failed = tuple(
        (*_reference(item), _failure_reason(item)) for item in _sequence(data_set, _FAILED_SOP_SEQUENCE)
    )
    if not committed and not failed:
        raise InvalidDataSet("a report about no instance", INVALID_ARGUMENT_VALUE)
    if event_type == FAILURES_EXIST and not failed:
        raise InvalidDataSet("no Failed SOP Sequence (0008,1198)", INVALID_ARGUMENT_VALUE)
    return CommitmentReport(_uid(data_set, _TRANSACTION_UID), committed, failed)


def _item(sop_class_uid: str, sop_instance_uid: str, failure_reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item


def _encode(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = BytesIO()
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    data_set.save_as(buffer, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def _decode(data: bytes, transfer_syntax_uid: str) -> Dataset:
    if len(data) > MAX_BYTES:
        raise InvalidDataSet(f"a data set of more than {MAX_BYTES} bytes", RESOURCE_LIMITATION)
    try:
        return read_dataset(
            BytesIO(data), transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, is_little_endian=True
        )
    except Exception as error:  # whatever a parser makes of hostile bytes is the peer's fault
        raise InvalidDataSet("a data set that cannot be read", PROCESSING_FAILURE) from error


def _sequence(data_set: Dataset, tag: int) -> Iterator[Dataset]:
    try:
        items = list(data_set[tag].value or ()) if tag in data_set else []
    except Exception as error:
        raise InvalidDataSet("a sequence that cannot be read", PROCESSING_FAILURE) from error
    if len(items) > MAX_REFERENCES:
        raise InvalidDataSet(f"more than {MAX_REFERENCES} instances", RESOURCE_LIMITATION)
    for item in items:
        if not isinstance(item, Dataset):
            raise InvalidDataSet("a sequence without items", INVALID_ARGUMENT_VALUE)
        yield item


def _reference(item: Dataset) -> tuple[str, str]:
    return _uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID)


def _uid(data_set: Dataset, tag: int) -> str:
    """Read from the raw bytes: pydicom warns of a wrong UID, here it is answered."""
    value = _raw(data_set, tag).decode("ascii", "replace").strip(" \0")
    if not value or len(value) > 64 or not _UID.match(value):
        raise InvalidDataSet(
            f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing or no UID", INVALID_ARGUMENT_VALUE
        )
    return value


def _failure_reason(item: Dataset) -> int:
    value = _raw(item, _FAILURE_REASON)
    return int.from_bytes(value, "little") if len(value) == 2 else PROCESSING_FAILURE


def _raw(data_set: Dataset, tag: int) -> bytes:
    found: Any = data_set.get_item(tag) if tag in data_set else None
    value = getattr(found, "value", None)
    return value if isinstance(value, bytes) else b""
