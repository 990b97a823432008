"""One instance to send: a DICOM file, in memory or on disk, split into its head and its data set.

Enter: a `Part` whose content is a Part 10 file (PS3.10 7.1). Leave: the UIDs of its file meta, and
the data set's own bytes in chunks, exactly as they are filed, so that memory stays at one chunk.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import Refused, TryAgain
from engine.model import Part

CHUNK = 1 << 20  # bytes read at once

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_LONGEST_META = 1 << 20  # private information may be there; nothing sane is longer


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """What an association must know of a file before it offers it."""

    content: bytes | Path
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
            with _open(part.content) as file:
                size = file.seek(0, io.SEEK_END)
                found, offset = _read_meta(file)
        except FileNotFoundError as error:
            raise Refused(f"the file of instance {part.identifier} is gone", code="file") from error
        except OSError as error:  # too many open files, a disk that hiccups
            why = error.strerror
            raise TryAgain(f"instance {part.identifier} cannot be read: {why}", code="file") from error
        except ValueError as error:
            raise Refused(f"instance {part.identifier} cannot be sent: {error}", code="file") from error
        return cls(part.content, found[0x0002], found[0x0003], found[0x0010], offset, size)

    def data_set(self) -> AsyncGenerator[bytes, None]:
        """The bytes after the file meta, in chunks."""
        return self._chunks(self.offset)

    def whole(self) -> AsyncGenerator[bytes, None]:
        """Every byte of the file, in chunks."""
        return self._chunks(0)

    async def _chunks(self, start: int) -> AsyncGenerator[bytes, None]:
        if isinstance(self.content, bytes):
            for offset in range(start, self.size, CHUNK):
                yield self.content[offset : offset + CHUNK]
            return
        with await asyncio.to_thread(self.content.open, "rb") as file:
            file.seek(start)
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def reencoded(self, transfer_syntax_uid: str) -> AsyncGenerator[bytes, None]:
        """The data set in another uncompressed transfer syntax, for small objects of our own."""
        yield await asyncio.to_thread(self._reencode, transfer_syntax_uid)

    def _reencode(self, transfer_syntax_uid: str) -> bytes:
        from pydicom import dcmread  # late: it takes 150 ms
        from pydicom.uid import UID
        from pynetdicom.dsutils import encode

        syntax = UID(transfer_syntax_uid)
        with _open(self.content) as file:
            encoded = encode(dcmread(file), syntax.is_implicit_VR, syntax.is_little_endian)
        if encoded is None:
            raise Refused(
                f"instance {self.sop_instance_uid} cannot be encoded in {syntax.name}", code="encoding"
            )
        return encoded


def _open(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _read_meta(file: BinaryIO) -> tuple[dict[int, str], int]:
    """Walk group 0002, which is explicit VR little endian in every file; the group length may be absent."""
    found = {0x0002: "", 0x0003: "", 0x0010: ""}
    file.seek(128)
    if file.read(4) != b"DICM":
        raise ValueError("it is no DICOM file")
    while True:
        offset = file.tell()
        head = file.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            break
        _, element, vr, length = struct.unpack("<HH2sH", head)
        if vr in _LONG_VRS:
            (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\xff"))
        if file.tell() + length > _LONGEST_META:
            raise ValueError("its file meta information is malformed")
        value = file.read(length)
        if element in found:
            found[element] = value.strip(b" \0").decode("ascii", "replace")
    missing = [f"(0002,{element:04X})" for element, value in found.items() if not value]
    if missing:
        raise ValueError(f"its file meta information lacks {', '.join(missing)}")
    if not head:
        raise ValueError("it has no data set")
    return found, offset
