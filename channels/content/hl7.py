"""HL7 v2 encoding: values enter, delimited segments leave; no value can add a segment or a field.

HL7 v2.5.1 chapter 2.7 (escape sequences), 2.14 (character sets). The five delimiters become
`\\F\\ \\S\\ \\T\\ \\R\\ \\E\\`, control characters and line ends `\\Xhh\\`; a character that the
message's character set lacks becomes `?` and is counted, so that the message can say so.

In ISO IR87 a message shifts between ASCII and JIS X 0208 (ISO 2022). Every delimiter is written in
ASCII, but the second byte of a Japanese character may look like one: such a message must be decoded
before it is split. No character set used here ever yields the bytes of MLLP (0B, 1C, 0D).
"""

from __future__ import annotations

import re
from typing import Literal, NewType, get_args

Encoded = NewType("Encoded", str)
"""Text that is already escaped: safe between delimiters."""

EMPTY = Encoded("")

Charset = Literal[
    "UNICODE UTF-8",
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
    "8859/15",
    "ISO IR87",
]
"""HL7 table 0211 as far as it can be written."""

CHARSETS: tuple[Charset, ...] = get_args(Charset)

_CODECS = {"UNICODE UTF-8": "utf-8", "ASCII": "ascii", "ISO IR87": "iso2022_jp"}
_JIS_ROMAN = b"\x1b(J"  # a repertoire of its own (ISO IR14), which ISO IR87 does not announce


def codec_of(charset: str) -> str:
    """The Python codec of a character set of table 0211; ValueError when it is not supported."""
    if charset not in CHARSETS:
        raise ValueError(f"no character set {charset!r}; one of {', '.join(CHARSETS)}")
    return _CODECS.get(charset) or charset.replace("8859/", "iso8859_")


def announced(charset: str) -> tuple[str, str]:
    """MSH-18 and MSH-20, encoded: ISO IR87 is an alternate set beside ASCII, reached by ISO 2022."""
    return ("~ISO IR87", "ISO 2022-1994") if charset == "ISO IR87" else (charset, "")


_DELIMITERS = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
# Beside C0 and C1 controls: whatever a receiver's splitlines() could take for the end of a segment.
_SPECIAL = re.compile("[|^&~\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Encoder:
    """Encodes values for one message in one character set."""

    def __init__(self, charset: str) -> None:
        self.codec = codec_of(charset)
        self.lost = 0  # characters replaced because the character set lacks them

    def text(self, value: str) -> Encoded:
        """One value, escaped."""
        if not self.can_write(value):
            value = self._replaced(value)
        return Encoded(_SPECIAL.sub(self._escape, value))

    def component(self, *values: str) -> Encoded:
        """Values as the components of a field, trailing empty ones left off."""
        return join("^", *(self.text(value) for value in values))

    def lines(self, value: str) -> Encoded:
        """Text of several lines as repetitions, which a TX shows as lines (2.A.78)."""
        return Encoded("~".join(self.text(line) for line in re.split("\r\n|\r|\n", value)))

    def _escape(self, match: re.Match[str]) -> str:
        found = match[0]
        return _DELIMITERS.get(found) or f"\\X{found.encode(self.codec).hex().upper()}\\"

    def can_write(self, value: str) -> bool:
        """Whether the character set has every character of a value."""
        try:
            return _JIS_ROMAN not in value.encode(self.codec)
        except UnicodeEncodeError:
            return False

    def _replaced(self, value: str) -> str:
        kept = [character if self.can_write(character) else "?" for character in value]
        self.lost += sum(one != character for one, character in zip(kept, value, strict=True))
        return "".join(kept)


def lacking_in(charset: str, value: str) -> list[str]:
    """The characters of a text that a character set lacks, each once, in order."""
    encoder = Encoder(charset)
    return [character for character in dict.fromkeys(value) if not encoder.can_write(character)]


def join(delimiter: str, *values: Encoded) -> Encoded:
    """Encoded values with a delimiter between, trailing empty ones left off."""
    return Encoded(delimiter.join(values).rstrip(delimiter))


def segment(name: str, fields: dict[int, Encoded]) -> str:
    """A segment from its fields by number, closed by CR; MSH starts at MSH-3."""
    last = max((number for number, value in fields.items() if value), default=0)
    first, head = (3, "MSH|^~\\&") if name == "MSH" else (1, name)
    return "|".join([head, *(fields.get(number, EMPTY) for number in range(first, last + 1))]) + "\r"
