"""Bytes of a data set from front to back: read some, step over the rest, never beyond the end.

Enter: a file, plain or deflated (PS3.5 A.5). Leave: the bytes asked for, or `Rejected(TRUNCATED)`
when they are not there. Neither source holds more than a chunk in memory.
"""

from __future__ import annotations

import zlib
from io import BufferedIOBase, BufferedReader
from typing import Protocol

from engine.errors import Rejected, RejectedReason

_CHUNK = 1 << 16
_MAX_INFLATED = 4 << 30  # bytes; a data set that deflates to less than its thousandth is a bomb


class Source(Protocol):
    """What a walk over elements needs."""

    @property
    def position(self) -> int:
        """Bytes consumed so far."""
        ...

    def at_end(self) -> bool:
        """Whether nothing is left."""
        ...

    def peek(self, count: int) -> bytes:
        """Up to ``count`` (at most 4096) bytes, not consumed."""
        ...

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        ...

    def skip(self, count: int) -> None:
        """Step over exactly ``count`` bytes."""
        ...


def _cut_short(position: int) -> Rejected:
    return Rejected(RejectedReason.TRUNCATED, f"the object ends inside an element, at byte {position}")


class FileSource:
    """A plain file from its current position."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self._size = size
        self.position = file.tell()

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= self._size

    def peek(self, count: int) -> bytes:
        """Up to ``count`` bytes, not consumed."""
        ahead = self._file.peek(count)
        if len(ahead) < count:
            ahead = self._file.read(count)
            self._file.seek(self.position)
        if not ahead and not self.at_end():  # it has less than was announced
            raise _cut_short(self.position)
        return ahead[:count]

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        if count > self._size - self.position:
            raise _cut_short(self._size)
        data = self._file.read(count)
        if len(data) != count:
            raise _cut_short(self._size)
        self.position += count
        return data

    def skip(self, count: int) -> None:
        """Step over exactly ``count`` bytes."""
        if count > self._size - self.position:
            raise _cut_short(self._size)
        self.position += count
        self._file.seek(self.position)


class MemorySource:
    """Bytes that are in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        self.position = 0

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= self._size

    def peek(self, count: int) -> bytes:
        """Up to ``count`` bytes, not consumed."""
        return self._data[self.position : self.position + count]

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        start = self.position
        if count > self._size - start:
            raise _cut_short(self._size)
        self.position = start + count
        return self._data[start : start + count]

    def skip(self, count: int) -> None:
        """Step over exactly ``count`` bytes."""
        if count > self._size - self.position:
            raise _cut_short(self._size)
        self.position += count


class DeflatedSource:
    """A deflated data set, inflated piece by piece; positions count inflated bytes."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ahead = b""
        self.position = 0

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return not self.peek(1)

    def peek(self, count: int) -> bytes:
        """Up to ``count`` bytes, not consumed."""
        while len(self._ahead) < count and self._more():
            pass
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        data = self.peek(count)
        if len(data) != count:
            raise _cut_short(self.position + len(data))
        self._ahead = self._ahead[count:]
        self.position += count
        return data

    def skip(self, count: int) -> None:
        """Step over exactly ``count`` bytes."""
        while count > 0:
            step = min(count, len(self._ahead) or 1)
            self.read(step)
            count -= step

    def _more(self) -> bool:
        """Inflate one more chunk; False at the end of the stream."""
        if self._inflate.eof:
            return False
        packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
        try:
            inflated = self._inflate.decompress(packed, _CHUNK)
        except zlib.error:
            raise Rejected(RejectedReason.NOT_DICOM, "the deflated data set cannot be inflated") from None
        if not packed and not inflated:
            raise Rejected(RejectedReason.TRUNCATED, "the deflated data set ends too early")
        self._ahead += inflated
        if self.position + len(self._ahead) > _MAX_INFLATED:
            raise Rejected(RejectedReason.TOO_LARGE, f"the data set inflates to over {_MAX_INFLATED} bytes")
        return True
