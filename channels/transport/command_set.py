"""DIMSE command sets as a requestor writes and reads them: implicit VR little endian (PS3.7 6.3.1).

Enter: elements of group 0000, or bytes of a peer. Leave: bytes with their group length first, or the
elements that could be read; an element that is not there reads as empty.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID = 0x0002, 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID, MESSAGE_ID_RESPONDED_TO = 0x0110, 0x0120
PRIORITY = 0x0700
DATA_SET_TYPE = 0x0800
STATUS = 0x0900
AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID = 0x1000, 0x1001
EVENT_TYPE_ID, ACTION_TYPE_ID = 0x1002, 0x1008

HAS_DATA_SET = 0x0001  # any value but the next (PS3.7 9.3.1.1)
NO_DATA_SET = 0x0101

Elements = Mapping[int, bytes]


def encode(elements: Mapping[int, int | str]) -> bytes:
    """A command set; numbers are US, texts are UI."""
    values = {element: _encode(value) for element, value in sorted(elements.items())}
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in values.items())
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def decode(data: bytes) -> Elements:
    """The elements of group 0000, as far as they go."""
    elements: dict[int, bytes] = {}
    offset = 0
    while offset + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, offset)
        if group == 0:
            elements[element] = data[offset + 8 : offset + 8 + length]
        offset += 8 + length
    return elements


def number(elements: Elements, element: int) -> int | None:
    """A US; None when it is not there or none."""
    value = elements.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def uid(elements: Elements, element: int) -> str:
    """A UI without its padding."""
    return elements.get(element, b"").strip(b" \0").decode("ascii", "replace")


def has_data_set(elements: Elements) -> bool:
    """Whether a data set follows the command."""
    return number(elements, DATA_SET_TYPE) not in (None, NO_DATA_SET)


def _encode(value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack("<H", value)
    encoded = value.encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)
