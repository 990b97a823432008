"""Turn the bytes of one element into plain values, by VR (PS3.5 6.2) and character set (6.1).

Enter: a VR and raw bytes. Leave: str, int, float, or a list of those; None for an empty number
and for bytes that have no plain form. Real devices break the rules of their VRs, so nothing here
raises: a number that is none stays text, a byte that is no character becomes U+FFFD.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

Value = str | int | float | None

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})  # counted, never read

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_LOCALISED = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # subject to Specific Character Set
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text (PS3.5 6.2)
_ESCAPE = "\x1b"
# Python's own codecs for these want to see the escape sequence; for the others it is removed.
_KEEP_ESCAPE = frozenset({"iso2022_jp", "iso2022_jp_2", "iso_ir_58"})


@dataclass(frozen=True, slots=True)
class Repertoire:
    """The character sets of one data set (PS3.3 C.12.1.1.2)."""

    encoding: str = "latin_1"  # also of the default repertoire: a Western device that forgot to say
    extended: bool = False  # code extensions by escape sequences (PS3.5 6.1.2.5)

    @classmethod
    def of(cls, raw: bytes) -> Repertoire:
        """Read Specific Character Set (0008,0005); an unknown term counts as the default."""
        terms = [term.strip(" \0").upper() for term in raw.decode("latin-1").split("\\")]
        encoding = _codec(python_encoding.get(terms[0].replace("ISO-IR", "ISO_IR"), "latin_1"))
        return cls(encoding, extended=len(terms) > 1 or terms[0].startswith("ISO 2022"))

    def decode(self, raw: bytes) -> str:
        """Bytes to Unicode."""
        if not self.extended or _ESCAPE.encode() not in raw:
            return raw.decode(self.encoding, "replace")
        first, *rest = raw.split(_ESCAPE.encode())
        return first.decode(self.encoding, "replace") + "".join(self._fragment(part) for part in rest)

    def _fragment(self, part: bytes) -> str:
        for size in (3, 2):
            encoding = CODES_TO_ENCODINGS.get(_ESCAPE.encode() + part[:size])
            if encoding in _KEEP_ESCAPE:
                return (_ESCAPE.encode() + part).decode(_codec(encoding), "replace")
            if encoding:
                return part[size:].decode(_codec(encoding), "replace")
        return part.decode(self.encoding, "replace")


def _codec(encoding: str) -> str:
    """Python's name where pydicom uses an alias of its own; `iso8859` is its ASCII."""
    return {"iso_ir_58": "iso2022_cn"}.get(encoding, encoding)


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
        return _list([f"({g:04X},{e:04X})" for g, e in zip(pairs[::2], pairs[1::2], strict=False)])
    text = repertoire.decode(raw) if vr in _LOCALISED else raw.decode("latin-1")
    if vr in _SINGLE:
        return text.rstrip(" \0\r\n\f")
    return _list([_typed(vr, part.strip(" \0")) for part in text.split("\\")])


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
