"""A file that came in pieces, read as one: the pieces in their order in, a stream over all of them out.

What was uploaded in parts is opened where it lies: putting the parts together first would write every byte
once more, and need its room once more. Links are not followed.
"""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

_BUFFER = 1 << 16  # bytes
_OPEN = 8  # pieces whose descriptors are kept: several readers go through them at several places


class Whole:
    """One file, in one piece or in several; nobody changes them meanwhile."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        self.pieces = tuple(pieces)
        self._sizes = [piece.lstat().st_size for piece in self.pieces]

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(self._sizes)

    @property
    def name(self) -> str:
        """Of the file, or of its first piece."""
        return self.pieces[0].name

    def raw(self) -> BinaryIO:
        """A stream of its own without a buffer, from the first byte; OSError when it cannot be read."""
        if len(self.pieces) == 1:
            return os.fdopen(_opened(self.pieces[0]), "rb", buffering=0)
        return cast(BinaryIO, _Pieces(self.pieces, self._sizes))

    def open(self) -> BinaryIO:
        """The same with a buffer."""
        return io.BufferedReader(cast(io.RawIOBase, self.raw()), _BUFFER)


class _Pieces(io.RawIOBase):
    """The bytes of all pieces."""

    def __init__(self, pieces: Sequence[Path], sizes: Sequence[int]) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(sizes))
        self._place = 0
        self._open: OrderedDict[int, int] = OrderedDict()  # piece -> descriptor
        self._lock = threading.Lock()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]  # any buffer
        """As many bytes as there are in one piece, up to the buffer's length."""
        with self._lock:
            index = bisect_right(self._ends, self._place)
            if index == len(self._ends):
                return 0
            start = self._ends[index - 1] if index else 0
            left = self._ends[index] - self._place
            view = memoryview(buffer)[:left]
            count = os.preadv(self._descriptor(index), [view], self._place - start)
            if not count:
                raise OSError("a piece has become shorter")
            self._place += count
            return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError("a place before the first byte")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])
        super().close()

    def _descriptor(self, index: int) -> int:
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        descriptor = self._open[index] = _opened(self._pieces[index])
        if len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
