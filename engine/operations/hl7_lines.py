"""An HL7 v2 message as lines, a segment each, with what tells of the patient behind a shield.

Enter: the bytes as they are sent. Leave: lines. Pure. Shielded are the fields of the segments about the
patient and those who answer for him (chapters 3 and 6), free text, and segments that no standard defines. A
long value, such as a document in base64, is told by its length.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.delivery_model import MessageLine
from engine.patient_attributes import SHIELD
from engine.payload_field import encoding_of

ABOUT_THE_PATIENT = frozenset({"PID", "PD1", "MRG", "NK1", "GT1", "IN1", "IN2", "IN3", "ACC", "PV1", "PV2"})
FREE_TEXT = frozenset({"TX", "FT"})  # OBX-2
LONG = 400  # characters of a field


def lines(message: bytes, *, revealed: bool) -> Iterator[MessageLine]:
    """Every segment, in order."""
    text = message.decode(encoding_of(message), "replace").strip("\x0b\x1c\r\n")
    separator = text[3:4] or "|"
    for segment in text.replace("\n", "\r").split("\r"):
        if segment:
            yield _line(segment, separator, revealed)


def _line(segment: str, separator: str, revealed: bool) -> MessageLine:
    name, *fields = segment.split(separator)
    name, shown = name[:3], [_short(field) for field in fields]
    hidden = shown if revealed else [_behind(name, number, fields) for number in range(len(fields))]
    return MessageLine(separator.join(hidden), name, shielded=hidden != shown)


def _behind(name: str, number: int, fields: list[str]) -> str:
    """A field as it is shown; ``number`` counts from 0 after the segment's name."""
    field = fields[number]
    if field and _is_shielded(name, number + 1, fields):
        return SHIELD
    return _short(field)


def _is_shielded(name: str, number: int, fields: list[str]) -> bool:
    if name in ABOUT_THE_PATIENT:
        return number > 1  # the first is the set id
    if name == "NTE":
        return number == 3
    if name == "OBX":
        return number == 5 and fields[1] in FREE_TEXT
    return name.startswith("Z")


def _short(field: str) -> str:
    return field if len(field) <= LONG else f"{field[:40]}… ({len(field)} characters)"
