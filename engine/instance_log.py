"""A log that makes small instances durable, many with one sync.

Enter: the name and the bytes of an instance that has just been written under that name, and not synced: a
sync of each file and of its folder would cost more than all the rest of an intake. Leaves: `append` returns
once a copy is synced here. Threads that append at one moment share a sync.

The log is two segments that take turns. When one is full, the file system of the instances is synced beside
the running intake, and then the segment is written anew: what it held is durable under its own name by now.
After a power cut `engine.store.recovery` puts back from here what the file system had not written yet.

An entry is a head, a name and the bytes; a checksum covers all three, and the number of the segment's turn
is in it, so that neither half an entry nor one of an earlier turn is taken for one of this.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("pons.spool")

LIMIT = 1 << 18  # bytes of an entry's content at most
SEGMENT = 1 << 26  # bytes
STEP = 1 << 22  # bytes by which a segment is allocated: an engine with little to do takes little space
_HEAD = struct.Struct("<8sQIHI")  # magic, turn, length of the content, length of the name, checksum
_MAGIC = b"PONSLOG1"
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class _Segment:
    path: Path
    file: int = -1
    turn: int = 0
    allocated: int = 0
    end: int = 0
    settled: bool = True  # nothing in it is needed any more


class InstanceLog:
    """The log of one process; from any thread."""

    def __init__(self, folder: Path, settle: Callable[[], None]) -> None:
        """
        Args:
            folder: this process's own; files are made in it with the first entry.
            settle: returns once everything under the instances folder is durable, or raises OSError.
        """
        self._settle = settle
        self._segments = [_Segment(folder / "0"), _Segment(folder / "1")]
        self._current = self._segments[0]
        self._turn = 0
        self._lock = threading.Lock()  # of what is written
        self._syncing = threading.Lock()
        self._appended = self._synced = 0  # entries
        self._broken = False
        self._settling: threading.Thread | None = None

    def append(self, name: str, content: bytes | bytearray | memoryview) -> bool:
        """Whether the instance is durable now; if not, there was no room: its file is to be synced itself."""
        with self._lock:
            number = self._write(name.encode(), content)
        if not number:
            return False
        with self._syncing:
            if self._synced < number and not self._broken:
                with self._lock:
                    reach, file = self._appended, self._current.file
                try:
                    os.fdatasync(file)
                except OSError as error:
                    self._break(error)
                else:
                    self._synced = reach
            return self._synced >= number

    def close(self) -> None:
        """Settle and remove the log; what cannot be settled stays, for the next start to recover from."""
        with self._lock:
            self._broken = True
        if self._settling is not None:
            self._settling.join()
        used = [segment for segment in self._segments if segment.file >= 0]
        if not used:
            return
        settled = True
        try:
            self._settle()
        except OSError as error:
            settled = False
            self._break(error)
        for segment in used:
            os.close(segment.file)
            segment.file = -1
            if settled or segment.settled:
                segment.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what is not settled lies there
            used[0].path.parent.rmdir()

    def _write(self, name: bytes, content: bytes | bytearray | memoryview) -> int:
        """The entry's number; 0 when it has no place."""
        length = _HEAD.size + len(name) + len(content)
        try:
            if self._broken or len(content) > LIMIT or not self._has_room(length):
                return 0
            segment = self._current
            _write_all(segment.file, _entry(segment.turn, name, content), segment.end)
        except OSError as error:  # a full disk most of all: the file's own sync will say so
            logger.warning("the log takes no entry", extra={"pons": {"reason": error.strerror}})
            return 0
        segment.end += length
        self._appended += 1
        return self._appended

    def _has_room(self, length: int) -> bool:
        segment = self._current
        if segment.file < 0 or segment.end + length > SEGMENT:
            other = next(one for one in self._segments if one is not segment)
            if segment.file >= 0:
                if not other.settled:
                    return False
                try:
                    os.fdatasync(segment.file)
                except OSError as error:
                    self._break(error)
                    return False
                self._settling = threading.Thread(target=self._settled, args=(segment,), name="pons-settle")
                self._settling.daemon = True
                self._settling.start()
                segment = other
            self._take(segment)
        while segment.allocated < segment.end + length:
            os.posix_fallocate(segment.file, segment.allocated, STEP)
            segment.allocated += STEP
        return True

    def _take(self, segment: _Segment) -> None:
        """Begin a turn: the first entry overwrites what was there, and the rest has an earlier number."""
        if segment.file < 0:
            segment.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            segment.file = os.open(segment.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _sync_names(segment.path.parent)
        self._turn += 1
        segment.turn, segment.end, segment.settled = self._turn, 0, False
        self._current = segment

    def _settled(self, segment: _Segment) -> None:
        try:
            self._settle()
        except OSError as error:
            self._break(error)
        else:
            segment.settled = True

    def _break(self, error: OSError) -> None:
        """A sync that failed once may seem to succeed the next time: it is never asked again."""
        self._broken = True
        what = "the log of instances failed; each is synced by itself now"
        logger.error(what, extra={"pons": {"reason": error.strerror}})


def entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """The names and bytes in a segment that a process has left, as far as its last turn goes."""
    with path.open("rb") as file:
        turn = None
        while True:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            magic, number, length, name_length, checksum = _HEAD.unpack(head)
            if magic != _MAGIC or not number or length > LIMIT or number != (turn or number):
                return
            turn = number
            name, content = file.read(name_length), file.read(length)
            if checksum != _checksum(number, name, content):
                return
            yield name.decode(), content


def turn_of(path: Path) -> int:
    """Which of two segments is the later one; 0 for one without entries."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    return _HEAD.unpack(head)[1] if len(head) == _HEAD.size and head.startswith(_MAGIC) else 0


def sync_file_system(folder: Path) -> None:
    """Return once everything written to the folder's file system is durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _entry(
    turn: int, name: bytes, content: bytes | bytearray | memoryview
) -> list[bytes | bytearray | memoryview]:
    checksum = _checksum(turn, name, content)
    return [_HEAD.pack(_MAGIC, turn, len(content), len(name), checksum) + name, content]


def _checksum(turn: int, name: bytes, content: bytes | bytearray | memoryview) -> int:
    return zlib.crc32(content, zlib.crc32(name, turn & 0xFFFFFFFF))


def _write_all(file: int, parts: list[bytes | bytearray | memoryview], offset: int) -> None:
    written = os.pwritev(file, parts, offset)
    if written != sum(map(len, parts)):
        raise OSError(28, "No space left on device")


def _sync_names(folder: Path) -> None:
    for one in (folder, folder.parent, folder.parent.parent):
        descriptor = os.open(one, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
