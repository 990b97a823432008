"""A message is cut into PDUs that a peer takes, whatever the sizes, and put together again it is itself."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.transport import message_pdus
from channels.transport.message_pdus import Buffers, Truncated, pieces

COMMAND = bytes(range(200))


def put_together(pdus: bytes, fragment: int) -> tuple[bytes, bytes]:
    """Command set and data set, every rule of PS3.8 9.3.5 and E.2 looked at."""
    streams = {1: b"", 0: b""}
    ended: list[int] = []
    at = 0
    while at < len(pdus):
        kind, _, length, value, context, control = struct.unpack_from(">BBLLBB", pdus, at)
        assert (kind, context) == (4, 7)
        assert value == length - 4
        assert value - 2 <= fragment
        assert (value - 2) % 2 == 0 or control & 2  # only the last fragment may be odd here
        assert control & 1 or ended == [1]  # the command set is over before the data set begins
        streams[control & 1] += pdus[at + 12 : at + 10 + value]
        if control & 2:
            ended.append(control & 1)
        at += 6 + length
    assert ended == [1, 0]
    return streams[1], streams[0]


def sent(parts: Iterable[tuple[bytes | bytearray | memoryview, bool]]) -> bytes:
    """Each piece is copied when it comes, as a socket would; only the last says that it is."""
    copied = [(bytes(data), ends) for data, ends in parts]
    assert [ends for _, ends in copied] == [False] * (len(copied) - 1) + [True]
    return b"".join(data for data, _ in copied)


@settings(deadline=None)
@given(
    data=st.binary(max_size=3000),
    fragment=st.integers(1, 700).map(lambda half: half * 2),
    piece=st.integers(2, 1500),
)
def test_any_data_set_arrives_whole_in_fragments_of_any_length(
    data: bytes, fragment: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message_pdus, "PIECE", piece)
        pdus = sent(pieces(7, COMMAND, io.BytesIO(data), len(data), Buffers(fragment)))

    assert put_together(pdus, fragment) == (COMMAND, data)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_001])
@pytest.mark.parametrize("fragment", [4090, 16_378, 131_066])
def test_a_file_is_read_into_place(tmp_path: Path, size: int, fragment: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path = tmp_path / "data"
    path.write_bytes(data)

    with path.open("rb", buffering=0) as file:
        pdus = sent(pieces(7, COMMAND, file, size, Buffers(fragment)))  # type: ignore[arg-type]

    assert put_together(pdus, fragment) == (COMMAND, data)


class Dripping(io.BytesIO):
    """Gives less than it is asked for, as a network share may."""

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview)
        return super().readinto(buffer[:7])


def test_a_source_may_give_less_than_it_is_asked_for() -> None:
    data = bytes(range(256))
    pdus = sent(pieces(7, COMMAND, Dripping(data), len(data), Buffers(100)))
    assert put_together(pdus, 100) == (COMMAND, data)


def test_a_file_that_has_shrunk_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    sources: list[BinaryIO] = [io.BytesIO(bytes(1000)), io.FileIO(path)]  # type: ignore[list-item]

    for source in sources:
        with source, pytest.raises(Truncated):
            sent(pieces(7, COMMAND, source, 1001, Buffers(100)))


def test_large_data_sets_take_turns_in_two_buffers() -> None:
    buffers = Buffers(131_066)
    size = buffers.capacity * 5
    seen = [
        data.obj
        for data, _ in pieces(7, COMMAND, io.BytesIO(bytes(size)), size, buffers)
        if isinstance(data, memoryview)
    ]

    assert len(seen) == 5
    assert len({id(buffer) for buffer in seen}) == 2
    assert all(earlier is not later for earlier, later in pairwise(seen))
