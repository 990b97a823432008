"""Look into what a destination is sent: the values of one field of a rendered payload.

Enter: a payload's part and the name of a field, written as its format has it. Leave: the values the
field has, as text. Pure, but for DICOM objects, which are read from a file.

- HL7 v2: `PID-5.1`, `OBX-5`, `OBX[2]-5` (the second OBX), `PID-3[1].4.2`: segment, field, repetition,
  component, subcomponent, all counted from 1 (chapter 2); without a number, every one there is.
- JSON: `status`, `identifier.0.value`, `entry.resource.status` (of every item of the list).
- DICOM: a keyword, a `(gggg,eeee)` tag, or a path through sequences (of every item).
- Text: `text`, the whole of it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import PonsError
from engine.model import Part, Payload
from engine.part10 import inspect

_FIELD = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{2})(\[(?P<nth>[1-9][0-9]*)\])?-(?P<field>[1-9][0-9]*)(\[(?P<repetition>[1-9][0-9]*)\])?"
    r"(\.(?P<component>[1-9][0-9]*))?(\.(?P<subcomponent>[1-9][0-9]*))?"
)
_ESCAPE = re.compile(r"\\([^\\]*)\\")


def values_of(payload: Payload, field: str) -> tuple[str, ...]:
    """The values a field has in any part, in order.

    Raises:
        PonsError: the payload has no fields of that name's kind.
    """
    return tuple(value for part in payload.parts for value in _in_part(part, field))


def _in_part(part: Part, field: str) -> Iterator[str]:
    media_type = part.media_type.partition(";")[0].strip()
    if media_type == "application/dicom":
        return _in_dicom(part, field)
    if "hl7" in media_type:
        return _in_hl7(part.read(), field)
    if media_type == "application/json" or media_type.endswith("+json"):
        return _in_json(json.loads(part.read(), parse_float=str, parse_int=str), field.split("."))
    if media_type.startswith("text/"):
        if field != "text":
            raise PonsError(f"a payload of {media_type} has one field, text")
        return iter((part.read().decode("utf-8", "replace"),))
    raise PonsError(f"a test cannot look into {media_type}")


# ── HL7 ─────────────────────────────────────────────────────────────────────────────────────────


def _in_hl7(message: bytes, name: str) -> Iterator[str]:
    match = _FIELD.fullmatch(name)
    if match is None:
        raise PonsError(f"{name!r} is no HL7 field; write it as PID-5.1 or OBX[2]-5")
    text = message.decode(encoding_of(message), "replace").strip("\x0b\x1c\r")
    separators = text[3:8]  # MSH-1 and MSH-2: field, component, repetition, escape, subcomponent
    segments = [one for one in text.split("\r") if one.startswith(match["segment"])]
    if match["nth"]:
        segments = segments[int(match["nth"]) - 1 :][:1]
    for segment in segments:
        yield from _of_segment(segment, match, separators)


def _of_segment(segment: str, match: re.Match[str], separators: str) -> Iterator[str]:
    fields = segment.split(separators[0])
    number = int(match["field"])
    if match["segment"] == "MSH":
        fields.insert(1, separators[0])
        if number <= 2:
            yield fields[number]
            return
    if number >= len(fields):
        return
    repetitions = fields[number].split(separators[2])
    for repetition in _chosen(repetitions, match["repetition"]):
        for component in _chosen([repetition], None, separators[1], match["component"]):
            for value in _chosen([component], None, separators[4:], match["subcomponent"]):
                if value:
                    yield _ESCAPE.sub(lambda one: _unescaped(one[1], separators), value)


def _chosen(
    values: list[str], number: str | None, split_at: str = "", part: str | None = None
) -> Iterator[str]:
    """One of the values, or all; and of each one part, or the whole."""
    if number is not None:
        values = values[int(number) - 1 :][:1]
    for value in values:
        if part is None:
            yield value
        else:
            yield from value.split(split_at)[int(part) - 1 :][:1] if split_at else ()


def _unescaped(sequence: str, separators: str) -> str:
    """An escape sequence of chapter 2.7 as the text it stands for."""
    plain = dict(zip("FSRET", separators, strict=False))
    if sequence in plain:
        return plain[sequence]
    if re.fullmatch(r"X([0-9A-F]{2})+", sequence):
        return bytes.fromhex(sequence[1:]).decode("latin-1")
    return "\n" if sequence == ".br" else f"\\{sequence}\\"


def encoding_of(message: bytes) -> str:
    """What MSH-18 says (HL7 table 0211)."""
    header = message.partition(b"\r")[0].split(b"|")
    named = header[17].split(b"~")[0].decode("ascii", "replace") if len(header) > 17 else ""
    if len(header) > 17 and b"ISO IR87" in header[17]:
        return "iso2022_jp"
    if named.startswith("8859/"):
        return f"iso8859-{named[5:]}"
    return "ascii" if named == "ASCII" else "utf-8"


# ── JSON and DICOM ──────────────────────────────────────────────────────────────────────────────


def _in_json(value: Any, path: list[str]) -> Iterator[str]:
    if isinstance(value, list) and not (path and path[0].isdigit()):
        for one in value:
            yield from _in_json(one, path)
    elif not path:
        if isinstance(value, bool):
            yield str(value).lower()
        elif value is not None and not isinstance(value, dict):
            yield str(value)
    elif isinstance(value, list):
        yield from _in_json(value[int(path[0])], path[1:]) if int(path[0]) < len(value) else ()
    elif isinstance(value, dict) and path[0] in value:
        yield from _in_json(value[path[0]], path[1:])


def _in_dicom(part: Part, name: str) -> Iterator[str]:
    if isinstance(part.content, Path):
        return values_in_file(part.content, name)
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(part.content)
        file.flush()
        return iter(list(values_in_file(Path(file.name), name)))


def values_in_file(path: Path, name: str) -> Iterator[str]:
    """The values an attribute has in a DICOM file; none when it is absent or empty.

    Raises:
        PonsError: the name is of no attribute.
    """
    try:
        found = inspect(path, [name]).attributes[name]
    except ValueError as error:
        raise PonsError(str(error)) from None
    for value in found if isinstance(found, list) else [found]:
        text = "" if value is None else str(value).strip(" \0")
        if text:
            yield text
