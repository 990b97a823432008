"""DIMSE command sets to and from bytes: implicit VR little endian, group 0000 (PS3.7 6.3, E.1).

Enter: the bytes of a command set, or the fields of a response. Leave: a `Command`, or bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000  # set in the command field of every response
HAS_DATA_SET, NO_DATA_SET = 0x0001, 0x0101

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID = 0x0002, 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID, _MESSAGE_ID_RESPONDED_TO = 0x0110, 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS, _ERROR_COMMENT = 0x0900, 0x0902
_AFFECTED_SOP_INSTANCE_UID, _REQUESTED_SOP_INSTANCE_UID = 0x1000, 0x1001
_EVENT_TYPE_ID, _ACTION_TYPE_ID = 0x1002, 0x1008
_HEAD = struct.Struct("<HHI")  # of an element: group, element, length
_US = struct.Struct("<HHIH")  # an element with a number
_TYPE_ID = {N_EVENT_REPORT_RQ: _EVENT_TYPE_ID, N_ACTION_RQ: _ACTION_TYPE_ID}


class Command(NamedTuple):
    """A request as it came, or a response; absent UIDs are empty."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    type_id: int = 0  # Action Type ID of an N-ACTION, Event Type ID of an N-EVENT-REPORT
    responds_to: int = 0  # Message ID Being Responded To, of a response
    status: int = 0  # of a response


def decode(data: bytes) -> Command:
    """Read a command set; ValueError when it is none."""
    elements: dict[int, bytes] = {}
    offset, end = 0, len(data)
    while offset < end:
        start = offset + 8
        if start > end:
            raise ValueError("the command set ends inside an element")
        group, element, length = _HEAD.unpack_from(data, offset)
        offset = start + length
        if group != 0 or offset > end:
            raise ValueError("the command set is malformed")
        elements[element] = data[start:offset]
    field = _number(elements, _COMMAND_FIELD)
    is_response = bool(field & RESPONSE)
    type_id = _TYPE_ID.get(field, 0)
    return Command(
        field=field,
        message_id=_number(elements, _MESSAGE_ID) if _MESSAGE_ID in elements else 0,
        has_data_set=_number(elements, _DATA_SET_TYPE) != NO_DATA_SET,
        sop_class_uid=_uid(elements, _AFFECTED_SOP_CLASS_UID) or _uid(elements, _REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(elements, _AFFECTED_SOP_INSTANCE_UID)
        or _uid(elements, _REQUESTED_SOP_INSTANCE_UID),
        type_id=_number(elements, type_id) if type_id and type_id in elements else 0,
        responds_to=_number(elements, _MESSAGE_ID_RESPONDED_TO) if is_response else 0,
        status=_number(elements, _STATUS) if is_response else 0,
    )


def encode_event_report(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """An N-EVENT-REPORT-RQ (PS3.7 10.3.1.1) that a data set follows."""
    return _encode(
        [
            (_AFFECTED_SOP_CLASS_UID, _even(sop_class_uid, b"\0")),
            (_COMMAND_FIELD, struct.pack("<H", N_EVENT_REPORT_RQ)),
            (_MESSAGE_ID, struct.pack("<H", message_id)),
            (_DATA_SET_TYPE, struct.pack("<H", HAS_DATA_SET)),
            (_AFFECTED_SOP_INSTANCE_UID, _even(sop_instance_uid, b"\0")),
            (_EVENT_TYPE_ID, struct.pack("<H", event_type)),
        ]
    )


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """The response to a request, without data set; ``comment`` is cut to the 64 characters of an LO."""
    instance = _even(request.sop_instance_uid, b"\0")
    body = b"".join(
        (
            _whose(request.sop_class_uid, request.field),
            _US.pack(0, _MESSAGE_ID_RESPONDED_TO, 2, request.message_id),
            _outcome(status, comment),
            _HEAD.pack(0, _AFFECTED_SOP_INSTANCE_UID, len(instance)) if instance else b"",
            instance,
        )
    )
    return _HEAD.pack(0, _GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body


@lru_cache(maxsize=256)
def _whose(sop_class_uid: str, field: int) -> bytes:
    """The elements before the message's number: the same for all that an association carries."""
    return _elements(
        [
            (_AFFECTED_SOP_CLASS_UID, _even(sop_class_uid, b"\0")),
            (_COMMAND_FIELD, struct.pack("<H", field | RESPONSE)),
        ]
    )


@lru_cache(maxsize=256)
def _outcome(status: int, comment: str) -> bytes:
    """Those after it, up to the instance."""
    return _elements(
        [
            (_DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
            (_STATUS, struct.pack("<H", status)),
            (_ERROR_COMMENT, _even(comment.replace("\\", "/")[:64], b" ")),
        ]
    )


def _encode(elements: Sequence[tuple[int, bytes]]) -> bytes:
    body = _elements(elements)
    return _HEAD.pack(0, _GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body


def _elements(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """Those that have a value."""
    return b"".join(_HEAD.pack(0, tag, len(value)) + value for tag, value in elements if value)


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ValueError(f"the command set lacks (0000,{element:04X})")
    return int.from_bytes(value, "little")


def _uid(elements: dict[int, bytes], element: int) -> str:
    raw = elements.get(element)
    return raw.decode("ascii", "replace").strip(" \0") if raw else ""


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding if len(value) % 2 else value
