"""Character sets of DICOM as Unicode (PS3.3 C.12.1.1.2, PS3.5 6.1).

Enter: Specific Character Set (0008,0005) and bytes. Leave: Unicode text; a byte that is no character
becomes U+FFFD, so that nothing here raises. Importing this completes the tables by which pydicom
decodes too: it lacks Latin alphabet No. 9, and leaves the escape sequences of Chinese (IR 58) in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom import charset

_ESCAPE = b"\x1b"
_IN_TEXT, _IN_NAME = re.compile(rb"[\\\t\n\f\r]"), re.compile(rb"[\\^=\t\n\f\r]")
# Python's own codecs for these want to see the escape sequence; for the others it is removed.
_KEEP_ESCAPE = frozenset({"iso2022_jp", "iso2022_jp_2"})

# table term or escape sequence (PS3.3 C.12-2 to C.12-4), Python's codec
for _term in ("ISO_IR 203", "ISO 2022 IR 203"):
    charset.python_encoding[_term] = "iso8859_15"
for _term in ("ISO 2022 IR 58", "ISO 2022 58"):
    charset.python_encoding[_term] = "gb2312"
for _sequence, _codec in ((b"-b", "iso8859_15"), (b"$)A", "gb2312")):
    charset.CODES_TO_ENCODINGS[_ESCAPE + _sequence] = _codec
    charset.ENCODINGS_TO_CODES[_codec] = _ESCAPE + _sequence


@dataclass(frozen=True, slots=True)
class Repertoire:
    """The character sets of one data set (PS3.3 C.12.1.1.2)."""

    encoding: str = "latin_1"  # also of the default repertoire: a Western device that forgot to say
    extended: bool = False  # code extensions by escape sequences (PS3.5 6.1.2.5)

    @classmethod
    def of(cls, raw: bytes) -> Repertoire:
        """Read Specific Character Set (0008,0005); an unknown term counts as the default."""
        terms = [term.strip(" \0").upper() for term in raw.decode("latin-1").split("\\")]
        encoding = charset.python_encoding.get(terms[0].replace("ISO-IR", "ISO_IR"), "latin_1")
        return cls(encoding, extended=len(terms) > 1 or terms[0].startswith("ISO 2022"))

    def decode(self, raw: bytes, person_name: bool = False) -> str:
        """Bytes to Unicode.

        Args:
            person_name: whether `^` and `=` are delimiters, beside `\\` and line ends.
        """
        if not self.extended or _ESCAPE not in raw:
            return raw.decode(self.encoding, "replace")
        delimiter = _IN_NAME if person_name else _IN_TEXT
        first, *rest = raw.split(_ESCAPE)
        return first.decode(self.encoding, "replace") + "".join(
            self._fragment(one, delimiter) for one in rest
        )

    def _fragment(self, part: bytes, delimiter: re.Pattern[bytes]) -> str:
        for size in (3, 2):
            encoding = charset.CODES_TO_ENCODINGS.get(_ESCAPE + part[:size])
            if encoding in _KEEP_ESCAPE:
                return (_ESCAPE + part).decode(encoding, "replace")
            if encoding:
                return self._until(part[size:], delimiter, encoding)
        return part.decode(self.encoding, "replace")

    def _until(self, part: bytes, delimiter: re.Pattern[bytes], encoding: str) -> str:
        """A delimiter ends what an escape sequence began (PS3.5 6.1.2.5.3).

        Not so where the first character set is plain ASCII: there the letters behind it can only be
        of the set that was chosen, by a device that did not choose it again.
        """
        found = delimiter.search(part)
        if found is None or self.encoding == charset.default_encoding:
            return part.decode(encoding, "replace")
        end = found.start()
        return part[:end].decode(encoding, "replace") + part[end:].decode(self.encoding, "replace")
