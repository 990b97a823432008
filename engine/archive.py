"""A ZIP archive read where it lies: an archive in, its members as streams out. Nothing is unpacked to a path.

What an archive announces is checked before any of it is read: how many members, how large they would become,
and how that compares with the archive itself (a bomb of a megabyte unpacks to terabytes). A member that turns
out otherwise than announced ends in an OSError, as a damaged disk would.
"""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, BinaryIO

MOST_MEMBERS = 1_000_000
ARCHIVES = (b"PK\3\4", b"PK\5\6")  # how one starts, with members and without (APPNOTE 4.3.7, 4.3.16)
RATIO = 200  # unpacked to packed; images come to 2 to 10, empty masks to 1000
LEEWAY = 1 << 30  # bytes that any archive may unpack to

_STEP = 1 << 16  # bytes
_ENCRYPTED = 0x1  # general purpose bit flag (APPNOTE 4.4.4)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive; closed with the last that holds it."""

    file: zipfile.ZipFile
    counting: Lock  # zipfile counts its open members, but not for several threads


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive; `engine.sender.Openable`."""

    archive: Archive
    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        """Its path in the archive."""
        return self.info.filename

    @property
    def size(self) -> int:
        """Bytes unpacked; a stream gives no more than these."""
        return self.info.file_size

    @property
    def is_encrypted(self) -> bool:
        """Whether it takes a password."""
        return bool(self.info.flag_bits & _ENCRYPTED)

    def open(self) -> BinaryIO:
        """A stream of its own, from the first byte."""
        try:
            return _Stream(self.archive, self.info)  # type: ignore[return-value]  # a BinaryIO in all but name
        except _DAMAGED as error:
            raise _damaged() from error


def is_archive(path: Path) -> bool:
    """Whether a file starts as a ZIP archive does; OSError when it cannot be read."""
    with path.open("rb") as file:
        return file.read(4) in ARCHIVES


def opened(source: Path | BinaryIO) -> Archive:
    """An archive with its directory read.

    Args:
        source: a file, or a stream that its owner closes after the archive.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        return Archive(zipfile.ZipFile(source), Lock())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise ValueError("it is a damaged ZIP archive") from error


def members(path: Path) -> Iterator[Member]:
    """The files of an archive, in the order of its directory.

    Raises:
        ValueError: it is damaged, or announces more than an archive of its size should.
        OSError: it cannot be read.
    """
    archive = opened(path)
    files = [info for info in archive.file.infolist() if not info.is_dir()]
    if len(files) > MOST_MEMBERS:
        raise ValueError(f"it is a ZIP archive of more than {MOST_MEMBERS} files: send it in parts")
    unpacked, packed = sum(info.file_size for info in files), path.stat().st_size
    if unpacked > packed * RATIO + LEEWAY:
        raise ValueError(
            f"it is a ZIP archive of {packed / 1e6:.1f} MB that announces {unpacked / 1e9:.0f} GB:"
            " unpack it yourself if that is meant"
        )
    for info in files:
        yield Member(archive, info)


def _damaged() -> OSError:
    return OSError(errno.EIO, "the archive is damaged there, or packed in a way that is not known here")


class _Stream(io.RawIOBase):
    """A member's bytes; what is wrong with them is an OSError."""

    def __init__(self, archive: Archive, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self._source = self._opened()

    def _opened(self) -> IO[bytes]:
        with self._archive.counting:
            return self._archive.file.open(self._info)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]  # any buffer
        """As many bytes as there are, up to the buffer's length."""
        try:
            data = self._source.read(len(buffer))
        except _DAMAGED as error:
            raise _damaged() from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Forwards all is unpacked, so that its checksum counts; backwards again from its start."""
        place = self._source.tell()
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: place, io.SEEK_END: self._info.file_size}[whence]
        if target < place:
            self._source.close()
            self._source, place = self._opened(), 0
        buffer = bytearray(_STEP)
        while place < target:
            count = self.readinto(memoryview(buffer)[: target - place])
            if not count:
                break
            place += count
        return place

    def tell(self) -> int:
        return self._source.tell()

    def close(self) -> None:
        with self._archive.counting:
            self._source.close()
        super().close()
