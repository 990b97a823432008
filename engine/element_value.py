"""Turn the bytes of one element into plain values, by VR (PS3.5 6.2).

Enter: a VR and raw bytes. Leave: str, int, float, or a list of those; None for an empty number
or tag, and for bytes that have no plain form. Real devices break the rules of their VRs, so nothing here
raises: a number that is none stays text, a byte that is no character becomes U+FFFD.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from engine.character_set import Repertoire

Value = str | int | float | None

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})  # counted, never read

MAX_PLAIN = 1024  # bytes of a private UN value that may be text

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
LOCALISED = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # subject to Specific Character Set
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text (PS3.5 6.2)


def value_of(vr: str, raw: bytes, big_endian: bool, repertoire: Repertoire, signed: bool) -> Any:
    """The plain value of one element.

    Args:
        vr: of the element, or of the dictionary where the encoding is implicit.
        raw: its bytes, padding included.
        signed: PixelRepresentation, which settles `US or SS` (PS3.5 A.1).
    """
    if vr.startswith("US or"):
        vr = "SS" if signed else "US"
    if vr in _NUMBERS:
        return _list(_binary(_NUMBERS[vr], raw, big_endian)) if raw else None
    if vr == "AT":
        pairs = _binary("H", raw, big_endian)
        return _list([f"({g:04X},{e:04X})" for g, e in zip(pairs[::2], pairs[1::2], strict=False)] or [None])
    text = repertoire.decode(raw, vr == "PN") if vr in LOCALISED else raw.decode("latin-1")
    if vr in _SINGLE:
        return text.rstrip(" \0\r\n\f")
    return _list([_typed(vr, part.strip(" \0")) for part in text.split("\\")])


def unknown_value(raw: bytes) -> Any:
    """A private value of unknown representation: the text it plainly is, else how many bytes there are.

    Most that an implicit transfer syntax or an archive left as UN is text (PS3.5 6.2.2). What is none is
    no number either, so that no number is ever equal to it.
    """
    text = raw.rstrip(b"\0 ")
    if not all(0x20 <= byte < 0x7F for byte in text):
        return f"({len(raw)} bytes)"
    return _list([part.strip(" ") for part in text.decode("ascii").split("\\")])


def _binary(code: str, raw: bytes, big_endian: bool) -> list[Any]:
    count = len(raw) // struct.calcsize("=" + code)
    numbers = struct.unpack_from(f"{'>' if big_endian else '<'}{count}{code}", raw)
    return [None if isinstance(n, float) and not math.isfinite(n) else n for n in numbers]


def _typed(vr: str, text: str) -> Value:
    if vr not in ("IS", "DS"):
        return text
    if not text:
        return None
    try:
        return int(text) if vr == "IS" else _finite(text)
    except ValueError:
        return text


def _finite(text: str) -> Value:
    number = float(text)
    return number if math.isfinite(number) else text


def _list(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
