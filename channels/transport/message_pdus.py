"""P-DATA-TF PDUs of one message, laid out so that a file is read straight into them (PS3.8 9.3.5, E.1).

Pure but for reading. Enter: a command set, a file whose length is known, and the longest fragment that the
peer takes. Leave: pieces of about a megabyte that go to the socket as they are. Between the headers there
are gaps of a fragment's length, which one `readv` fills: no byte of a data set is copied in this process.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

PIECE = 1 << 20  # bytes of a data set in one piece

_P_DATA = 4
_HEADER = struct.Struct(">BBLLBB")  # PDU type, reserved, length; PDV length, context, message control header
_LAST, _COMMAND = 0x02, 0x01  # message control header (PS3.8 E.2)
_MOST_GAPS = 512  # of one piece; the kernel takes 1024 at once


class Truncated(Exception):
    """A file ended before its length; what is on the wire already cannot be taken back."""


def command_pdus(context_id: int, command: bytes, fragment: int) -> bytes:
    """A whole command set."""
    pieces = []
    for offset in range(0, len(command), fragment):
        part = command[offset : offset + fragment]
        control = _COMMAND | (_LAST if offset + len(part) == len(command) else 0)
        pieces += [_header(len(part), context_id, control), part]
    return b"".join(pieces)


class Buffers:
    """The two buffers that large data sets of one association take turns in: one fills, one is sent."""

    def __init__(self, fragment: int) -> None:
        self.fragment = fragment
        self._gaps = max(1, min(PIECE // fragment, _MOST_GAPS))
        self._made: list[bytearray] = []
        self._turn = 1

    @property
    def capacity(self) -> int:
        """Bytes of a data set in one piece."""
        return self._gaps * self.fragment

    def next(self) -> bytearray:
        """The one that was not handed out last."""
        self._turn = 1 - self._turn
        if len(self._made) == self._turn:
            self._made.append(bytearray(self._gaps * (self.fragment + _HEADER.size)))
        return self._made[self._turn]


def pieces(
    context_id: int, command: bytes, file: BinaryIO, size: int, buffers: Buffers
) -> Iterator[tuple[bytes | bytearray | memoryview, bool]]:
    """The message, command set first, and whether a piece is the last; one piece when the data set is small.

    Args:
        file: open where the data set starts, which has ``size`` bytes from there.

    Raises:
        Truncated: the file is shorter, possibly after some pieces have left.
    """
    head = command_pdus(context_id, command, buffers.fragment)
    if size <= buffers.capacity:
        whole = bytearray(len(head) + size + _HEADER.size * max(1, -(-size // buffers.fragment)))
        whole[: len(head)] = head
        _fill(file, memoryview(whole)[len(head) :], size, context_id, buffers.fragment, last=True)
        yield whole, True
        return
    yield head, False
    left = size
    while left:
        part = min(left, buffers.capacity)
        length = part + _HEADER.size * -(-part // buffers.fragment)
        view = memoryview(buffers.next())[:length]
        left -= part
        _fill(file, view, part, context_id, buffers.fragment, last=not left)
        yield view, not left


def _fill(file: BinaryIO, view: memoryview, size: int, context_id: int, fragment: int, *, last: bool) -> None:
    """Headers into a view, and the next bytes of a file between them."""
    gaps = []
    at = 0
    for offset in range(0, max(size, 1), fragment):  # an empty data set is one empty fragment
        length = min(fragment, size - offset)
        ends = last and offset + length == size
        view[at : at + _HEADER.size] = _header(length, context_id, _LAST if ends else 0)
        at += _HEADER.size
        gaps.append(view[at : at + length])
        at += length
    _read_into(file, gaps, size)


def _read_into(file: BinaryIO, gaps: list[memoryview], size: int) -> None:
    if isinstance(file, io.FileIO):
        count = os.readv(file.fileno(), gaps)
        if count == size:
            return
        file.seek(-count, io.SEEK_CUR)  # a network share may give less than there is
    for gap in gaps:
        filled = 0
        while filled < len(gap):
            count = file.readinto(gap[filled:])  # type: ignore[attr-defined]
            if not count:
                raise Truncated
            filled += count


def _header(length: int, context_id: int, control: int) -> bytes:
    return _HEADER.pack(_P_DATA, 0, length + 6, length + 2, context_id, control)
