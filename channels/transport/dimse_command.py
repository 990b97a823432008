"""DIMSE command sets to and from bytes: implicit VR little endian, group 0000 (PS3.7 6.3, E.1).

Enter: the bytes of a command set, or the fields of a response. Leave: a `Command`, or bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
RESPONSE = 0x8000  # set in the command field of every response
NO_DATA_SET = 0x0101

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID = 0x0002, 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID, _MESSAGE_ID_RESPONDED_TO = 0x0110, 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS, _ERROR_COMMENT = 0x0900, 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000


@dataclass(frozen=True, slots=True)
class Command:
    """A request as it came; absent UIDs are empty."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def decode(data: bytes) -> Command:
    """Read a command set; ValueError when it is none."""
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise ValueError("the command set ends inside an element")
        group, element, length = struct.unpack_from("<HHI", data, offset)
        offset += 8
        if group != 0 or offset + length > len(data):
            raise ValueError("the command set is malformed")
        elements[element] = data[offset : offset + length]
        offset += length
    return Command(
        field=_number(elements, _COMMAND_FIELD),
        message_id=_number(elements, _MESSAGE_ID) if _MESSAGE_ID in elements else 0,
        has_data_set=_number(elements, _DATA_SET_TYPE) != NO_DATA_SET,
        sop_class_uid=_uid(elements, _AFFECTED_SOP_CLASS_UID) or _uid(elements, _REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(elements, _AFFECTED_SOP_INSTANCE_UID),
    )


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """The response to a request, without data set; ``comment`` is cut to the 64 characters of an LO."""
    elements = [
        (_AFFECTED_SOP_CLASS_UID, _even(request.sop_class_uid, b"\0")),
        (_COMMAND_FIELD, struct.pack("<H", request.field | RESPONSE)),
        (_MESSAGE_ID_RESPONDED_TO, struct.pack("<H", request.message_id)),
        (_DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        (_STATUS, struct.pack("<H", status)),
        (_ERROR_COMMENT, _even(comment.replace("\\", "/")[:64], b" ")),
        (_AFFECTED_SOP_INSTANCE_UID, _even(request.sop_instance_uid, b"\0")),
    ]
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements if value)
    return struct.pack("<HHII", 0, _GROUP_LENGTH, 4, len(body)) + body


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ValueError(f"the command set lacks (0000,{element:04X})")
    return int.from_bytes(value, "little")


def _uid(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").strip(" \0")


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding if len(value) % 2 else value
