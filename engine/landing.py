"""One instance on its way in: its bytes as they come, up to the moment that it is kept or forgotten.

Enter: the bytes of one DICOM Part 10 file, in pieces, in order. Leaves: the whole, with the digest of its
data set. A small one is held in memory, since making a file costs more than receiving it; one that grows goes
to a file in the landing folder of its process, where nobody else looks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

from engine.data_set_digest import DataSetDigest
from engine.errors import Busy, Rejected, RejectedReason

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

WRITE_BACK = 1 << 24  # bytes after which the disk is told to begin
_SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class FileLanding:
    """What a channel writes to; see `engine.channel.Landing`."""

    def __init__(
        self, path: Path, limit: int, *, in_memory: int = 0, on_full: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            path: where the file is made once there is need for one.
            limit: bytes that the instance may have.
            in_memory: bytes up to which it is held in memory.
        """
        self.path = path
        self._limit = limit
        self._in_memory = in_memory
        self._on_full = on_full
        self._held: bytearray | None = bytearray()
        self._file = -1
        self._size = 0
        self._begun = 0  # bytes that the disk has been told to write
        self._digest = DataSetDigest()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def held(self) -> bytearray | None:
        """All its bytes, when they are in memory."""
        return self._held

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; raises Rejected(TOO_LARGE) past the limit and Busy when the disk is full."""
        view = memoryview(data)
        size = self._size + len(view)
        if size > self._limit:
            raise Rejected(RejectedReason.TOO_LARGE, f"the instance is larger than {self._limit} bytes")
        if self._held is not None and size <= self._in_memory:
            self._held += view
        else:
            self.to_file()
            self._write(view)
        self._size = size
        if self._held is None and size - self._begun >= WRITE_BACK:
            _begin_to_write_back(self._file, self._begun, size - self._begun)
            self._begun = size
        self._digest.update(view)

    def to_file(self) -> None:
        """Go on in a file of its own; raises Busy when there is no room for one."""
        if self._held is None:
            return
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self._give_way(error)
            raise
        held, self._held = self._held, None
        self._write(memoryview(held))

    def _write(self, view: memoryview) -> None:
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self._give_way(error)
            raise

    def _give_way(self, error: OSError) -> None:
        if error.errno in FULL:
            self._on_full()
            raise Busy("no space is left for instances", storage_full=True) from None
        if error.errno in NO_DESCRIPTORS:
            raise Busy(f"a landing cannot be opened: {error.strerror}") from None

    def sha256(self) -> str:
        """Digest of the data set; of the whole file when it has no file meta group length."""
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Make the bytes durable (their name is not yet)."""
        self.to_file()
        os.fsync(self._file)

    def discard(self) -> None:
        """Forget the bytes; harmless after they were kept and when repeated."""
        if self._held is None:
            self.close()
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file descriptor."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _begin_to_write_back(file: int, start: int, count: int) -> None:
    """Have the disk begin with what was written, so that there is less to wait for in the end."""
    with contextlib.suppress(AttributeError):  # where the system has no such call
        _LIBC.sync_file_range(file, ctypes.c_int64(start), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE)
