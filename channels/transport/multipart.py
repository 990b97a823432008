"""Take a multipart body apart while it arrives (RFC 2046 5.1, RFC 2387).

Enter: a Content-Type header, then chunks of any size. Leave: events, in order: a part begins with
its headers, has bytes, ends. Nothing but the tail that could be a boundary is held back or copied, so
memory stays at one chunk however large a part is. A boundary is found wherever a chunk ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

# RFC 2046 5.1.1, but for its limit of 70 characters: Orthanc sends two UUIDs, which makes 73.
_LONGEST_BOUNDARY = 200
_MOST_HEADERS = 100
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")


class MalformedMultipart(ValueError):
    """The body is no multipart body; the message says what is wrong, for the sender."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A parsed Content-Type: lower-case type, parameters with lower-case names."""

    essence: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> MediaType:
        """Read a header value; an unreadable one has an empty essence."""
        try:
            essence, parameters = parse_options_header(header)
        except (UnicodeError, LookupError):  # beyond Latin-1, perhaps by way of RFC 2231
            return cls("", {})
        return cls(
            essence.decode("latin-1").strip().lower(),
            {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in parameters.items()},
        )


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part and its headers, names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the current part: a view of the chunk, not a copy."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The current part is complete."""


Event = PartBegins | PartData | PartEnds


class MultipartParser:
    """Push chunks into `feed`, read the events it yields, call `close` at the end of the body."""

    def __init__(self, boundary: str, *, max_header: int = 16384, max_parts: int = 10_000) -> None:
        """
        Args:
            boundary: the parameter of the Content-Type, without the leading hyphens.
            max_header: bytes of the headers of one part, and of what stands before the first.
            max_parts: parts of one body.
        """
        encoded = boundary.encode("latin-1", "replace")
        if not _BOUNDARY.fullmatch(encoded):
            raise MalformedMultipart(
                f"the boundary must have 1 to {_LONGEST_BOUNDARY} characters of RFC 2046 5.1.1"
            )
        self._delimiter = b"\r\n--" + encoded
        self._max_header = max_header
        self._max_parts = max_parts
        self._held = b"\r\n"  # as if a line had ended: the first boundary may open the body
        self._at = 0  # what stands before it is consumed
        self._parts = 0
        self._step = self._preamble

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Events that this chunk completes; MalformedMultipart when the body cannot be one.

        Must be run to its end before the next chunk.
        """
        self._held = self._held[self._at :] + chunk if self._at < len(self._held) else chunk
        self._at = 0
        while True:
            step = self._step
            yield from step()
            if self._step == step:
                return

    def close(self) -> None:
        """The body is over; MalformedMultipart unless its closing boundary was seen."""
        if self._step != self._epilogue:
            raise MalformedMultipart("the body ends without its closing boundary")

    # Each step consumes what it can of `_held` and sets `_step` when another one follows.

    def _preamble(self) -> Iterator[Event]:
        found = self._held.find(self._delimiter)
        if found >= 0:
            self._at = found + len(self._delimiter)
            self._step = self._after_delimiter
        elif len(self._held) > self._max_header + len(self._delimiter):
            raise MalformedMultipart("the boundary of the Content-Type does not occur in the body")
        yield from ()

    def _after_delimiter(self) -> Iterator[Event]:
        """`--` closes the body; otherwise blanks and the end of the line begin a part."""
        held, at = self._held, self._at
        if held.startswith(b"--", at):
            self._step = self._epilogue
            return
        if held[at : at + 2] == b"-":
            return
        end = held.find(b"\r\n", at)
        line = held[at:end] if end >= 0 else held[at:].removesuffix(b"\r")
        if line.strip(b" \t") or len(line) > self._max_header:
            raise MalformedMultipart("a boundary is followed by something else than the end of its line")
        if end >= 0:
            self._at = end
            self._parts += 1
            if self._parts > self._max_parts:
                raise MalformedMultipart(f"the body has more than {self._max_parts} parts")
            self._step = self._headers
        yield from ()

    def _headers(self) -> Iterator[Event]:
        end = self._held.find(b"\r\n\r\n", self._at)
        if end < 0 or end - self._at > self._max_header:
            if len(self._held) - self._at > self._max_header:
                raise MalformedMultipart(f"the headers of a part have more than {self._max_header} bytes")
            return
        headers = _parse_headers(self._held[self._at + 2 : end])
        # The blank line's own end stays: an empty part is followed by its boundary at once.
        self._at = end + 2
        self._step = self._skip_blank_line
        yield PartBegins(headers)

    def _skip_blank_line(self) -> Iterator[Event]:
        if self._held.startswith(self._delimiter, self._at):
            self._at += len(self._delimiter)
            self._step = self._after_delimiter
            yield PartEnds()
        elif not self._delimiter.startswith(self._held[self._at : self._at + len(self._delimiter)]):
            self._at += 2
            self._step = self._body

    def _body(self) -> Iterator[Event]:
        held, at = self._held, self._at
        found = held.find(self._delimiter, at)
        ready = found if found >= 0 else max(at, len(held) - _overlap(held, self._delimiter))
        self._at = ready
        if ready > at:
            yield PartData(memoryview(held)[at:ready])
        if found >= 0:
            self._at = found + len(self._delimiter)
            self._step = self._after_delimiter
            yield PartEnds()

    def _epilogue(self) -> Iterator[Event]:
        self._at = len(self._held)  # to be ignored (RFC 2046 5.1.1)
        yield from ()


def _overlap(held: bytes, delimiter: bytes) -> int:
    """How many bytes at the end of ``held`` could be the beginning of the delimiter, which begins with CR."""
    tail = held[1 - len(delimiter) :]
    start = tail.find(b"\r")
    while start >= 0:
        if delimiter.startswith(tail[start:]):
            return len(tail) - start
        start = tail.find(b"\r", start + 1)
    return 0


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    lines = [line for line in block.split(b"\r\n") if line]
    if len(lines) > _MOST_HEADERS:
        raise MalformedMultipart(f"a part has more than {_MOST_HEADERS} headers")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name.strip() or line[:1] in b" \t":
            raise MalformedMultipart("a part has a malformed header line")
        headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
    return headers
