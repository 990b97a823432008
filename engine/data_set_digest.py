"""The digest of a data set, whatever file meta stands before it (PS3.10 7.1).

Enter: the bytes of a Part 10 file, in pieces, in order. Leaves: SHA-256 of what follows the file meta. Two
files may carry the same data set under different file meta (another sending AE title, another way in).
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

_START = struct.Struct("<128x4s4s2sHI")  # preamble, DICM, (0002,0000), "UL", 4, group length
_CHUNK = 1 << 20


class DataSetDigest:
    """Taken while the bytes pass."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._head: bytearray | None = bytearray()  # until the end of the file meta is known
        self._meta_left = 0

    def update(self, view: memoryview) -> None:
        """The next bytes of the file."""
        if self._head is not None:
            self._head += view
            if len(self._head) < _START.size:
                return
            view, self._head = memoryview(self._head), None
            _, magic, vr, length, group_length = _START.unpack(view[: _START.size])
            if (magic, vr, length) == (b"\x02\x00\x00\x00", b"UL", 4):
                self._meta_left = _START.size + group_length
        if self._meta_left:
            skipped = min(self._meta_left, len(view))
            self._meta_left -= skipped
            view = view[skipped:]
        self._digest.update(view)

    def hexdigest(self) -> str:
        """Of the data set; of the whole file when it has no file meta group length."""
        if self._head is not None:
            self._digest.update(self._head)
            self._head = None
        return self._digest.hexdigest()


def digest_of(path: Path) -> str:
    """The digest of a file on disk; OSError when it cannot be read."""
    digest = DataSetDigest()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(memoryview(piece))
    return digest.hexdigest()
