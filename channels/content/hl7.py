"""HL7 v2 encoding: values enter, delimited segments leave; no value can add a segment or a field.

HL7 v2.5.1 chapter 2.7 (escape sequences), 2.14 (character sets). The five delimiters become
`\\F\\ \\S\\ \\T\\ \\R\\ \\E\\`, control characters and line ends `\\Xhh\\`; a character that the
message's character set lacks becomes `?` and is counted, so that the message can say so.
"""

from __future__ import annotations

import re
from typing import NewType

Encoded = NewType("Encoded", str)
"""Text that is already escaped: safe between delimiters."""

EMPTY = Encoded("")

CODECS = {
    "": "ascii",
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "UNICODE UTF-8": "utf-8",
}
"""HL7 table 0211 as far as supported: MSH-18 -> Python codec."""

_DELIMITERS = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
# Beside C0 and C1 controls: whatever a receiver's splitlines() could take for the end of a segment.
_SPECIAL = re.compile("[|^&~\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Encoder:
    """Encodes values for one message in one character set."""

    def __init__(self, charset: str) -> None:
        if charset not in CODECS:
            raise ValueError(f"no character set {charset!r}; one of {', '.join(sorted(CODECS))}")
        self.codec = CODECS[charset]
        self.lost = 0  # characters replaced because the character set lacks them

    def text(self, value: str) -> Encoded:
        """One value, escaped."""
        try:
            value.encode(self.codec)
        except UnicodeEncodeError:
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

    def _replaced(self, value: str) -> str:
        kept = []
        for character in value:
            try:
                character.encode(self.codec)
            except UnicodeEncodeError:
                self.lost += 1
                kept.append("?")
            else:
                kept.append(character)
        return "".join(kept)


def join(delimiter: str, *values: Encoded) -> Encoded:
    """Encoded values with a delimiter between, trailing empty ones left off."""
    return Encoded(delimiter.join(values).rstrip(delimiter))


def segment(name: str, fields: dict[int, Encoded]) -> str:
    """A segment from its fields by number, closed by CR; MSH starts at MSH-3."""
    last = max((number for number, value in fields.items() if value), default=0)
    first, head = (3, "MSH|^~\\&") if name == "MSH" else (1, name)
    return "|".join([head, *(fields.get(number, EMPTY) for number in range(first, last + 1))]) + "\r"
