"""One instance to send: a DICOM file in memory, on disk or in an archive, split into head and data set.

Enter: the content of a Part 10 file (PS3.10 7.1). Leave: the UIDs of its file meta, and the data set's own
bytes exactly as they are filed, so that memory stays at one chunk.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.channel import Openable
from engine.errors import Refused, TryAgain
from engine.model import Part

CHUNK = 1 << 20  # bytes read at once

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_HEAD = 4096  # bytes; file meta without private information is far shorter
_LONGEST_META = 1 << 20  # private information may be there; nothing sane is longer


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """What an association must know of a file before it offers it."""

    content: bytes | Path | Openable
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int  # where the data set starts
    size: int  # of the whole file

    @classmethod
    def of(cls, part: Part) -> InstanceFile:
        """Read the head of a part; blocks shortly.

        Raises:
            Refused: the content is no DICOM file, or its file meta lacks what C-STORE needs.
            TryAgain: the file is there and cannot be read now.
        """
        try:
            return cls.read(part.content)
        except FileNotFoundError as error:
            raise Refused(f"the file of instance {part.identifier} is gone", code="file") from error
        except OSError as error:  # too many open files, a disk that hiccups
            why = error.strerror
            raise TryAgain(f"instance {part.identifier} cannot be read: {why}", code="file") from error
        except ValueError as error:
            raise Refused(f"instance {part.identifier} cannot be sent: {error}", code="file") from error

    @classmethod
    def read(cls, content: bytes | Path | Openable) -> InstanceFile:
        """The same of any content; ValueError says what is wrong with it, OSError what kept it from us."""
        with _open(content) as file:
            found, offset = _read_meta(file)
            size = content.size if isinstance(content, Openable) else file.seek(0, io.SEEK_END)
        return cls(content, found[0x0002], found[0x0003], found[0x0010], offset, size)

    def open(self) -> BinaryIO:
        """The data set, from its first byte; unbuffered where it is a file."""
        file = _open(self.content)
        try:
            if isinstance(self.content, Openable):
                file.read(self.offset)  # an archive is read forwards
            else:
                file.seek(self.offset)
        except BaseException:
            file.close()
            raise
        return file

    def source(self) -> BinaryIO:
        """The file, from its first byte; it may be read forwards only."""
        return _open(self.content)

    def whole(self) -> AsyncGenerator[bytes, None]:
        """Every byte of the file, in chunks."""
        return self._chunks()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        if isinstance(self.content, bytes):
            for offset in range(0, self.size, CHUNK):
                yield self.content[offset : offset + CHUNK]
            return
        with await asyncio.to_thread(_open, self.content) as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk


def _open(content: bytes | Path | Openable) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    if isinstance(content, Path):
        return io.FileIO(content)
    return content.open()


def _read_meta(file: BinaryIO) -> tuple[dict[int, str], int]:
    """Walk group 0002, which is explicit VR little endian in every file; the group length may be absent."""
    found = {0x0002: "", 0x0003: "", 0x0010: ""}
    data = file.read(_HEAD)
    if data[128:132] != b"DICM":
        raise ValueError("it is no DICOM file")
    offset = 132
    while True:
        if offset + 12 > len(data):
            data += file.read(_HEAD)
        head = data[offset : offset + 12]
        if len(head) < 8 or head[:2] != b"\x02\x00":
            break
        _, element, vr, length = struct.unpack_from("<HH2sH", head)
        start = offset + 8
        if vr in _LONG_VRS:
            (length,) = struct.unpack("<I", head[8:].ljust(4, b"\xff"))
            start += 4
        offset = start + length
        if offset > _LONGEST_META:
            raise ValueError("its file meta information is malformed")
        if offset > len(data):
            data += file.read(offset - len(data) + _HEAD)
        if element in found:
            found[element] = data[start:offset].strip(b" \0").decode("ascii", "replace")
    missing = [f"(0002,{element:04X})" for element, value in found.items() if not value]
    if missing:
        raise ValueError(f"its file meta information lacks {', '.join(missing)}")
    if not head:
        raise ValueError("it has no data set")
    return found, offset
