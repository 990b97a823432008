"""STOW-RS as it goes over the wire: requests written by hand, whole, cut off and lying about their length.

RFC 9112 (HTTP/1.1) and RFC 9110 10.1.1 (Expect). What is asked each time: is the answer right, is nothing
left in the landing, and is nothing recorded that was not whole?
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.peers.part10 import data_set_bytes

TYPE = b'Content-Type: multipart/related; type="application/dicom"; boundary=frontier\r\n'
PART = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
START = b"POST /dicomweb/studies HTTP/1.1\r\nHost: pons\r\n" + TYPE


def body(*files: bytes) -> bytes:
    return b"".join(PART + file + b"\r\n" for file in files) + b"--frontier--\r\n"


def sized(content: bytes, *, start: bytes = START, length: int | None = None) -> bytes:
    """A request that tells the length of its body, rightly unless another is given."""
    told = len(content) if length is None else length
    return start + b"Content-Length: %d\r\n\r\n" % told + content


def in_chunks(content: bytes, size: int, *, size_line: bytes | None = None) -> bytes:
    """A request in chunked transfer coding (RFC 9112 7.1)."""
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    coded = b"".join((size_line or b"%x\r\n" % len(piece)) + piece + b"\r\n" for piece in pieces)
    return START + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


class Wire:
    """One connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, url: str) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", urlsplit(url).port))

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            content = await self.reader.readexactly(int(length[0].split(b":")[1])) if length else b""
        return status, content

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        self.writer.write(request)
        await self.writer.drain()
        return await self.answer()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    def reset(self) -> None:
        """RST instead of FIN."""
        linger = self.writer.get_extra_info("socket")
        linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


def nothing_is_left(house: Any) -> bool:
    return not house.landing and not house.open_sessions


@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
async def test_a_chunked_body_is_stored(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], size: int
) -> None:
    async with posting() as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(in_chunks(body(instance(1), instance(2, bulk=5000)), size))
        await wire.close()
    assert (status, len(house.stored)) == (200, 2)
    assert house.stored[1].read_bytes() == instance(2, bulk=5000)


async def test_requests_one_after_the_other_on_one_connection_are_answered_in_order(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    """Pipelined: all are sent before the first answer is read (RFC 9112 9.3.2)."""
    async with posting() as url:
        wire = await Wire.to(url)
        requests = [sized(body(instance(1))), sized(body(b"no instance")), in_chunks(body(instance(2)), 50)]
        wire.writer.write(b"".join(requests))
        answers = [await wire.answer() for _ in requests]
        await wire.close()
    assert [status for status, _ in answers] == [200, 409, 200]
    assert b"1.2.3.1.1" in answers[0][1]
    assert b"1.2.3.1.2" in answers[2][1]
    assert len(house.stored) == 2
    assert nothing_is_left(house)


async def test_a_client_that_expects_100_is_told_to_go_on(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = body(instance(1))
    async with posting() as url:
        wire = await Wire.to(url)
        head = sized(b"", start=START + b"Expect: 100-continue\r\n", length=len(content))
        assert (await wire.exchange(head))[0] == 100
        status, _ = await wire.exchange(content)
        await wire.close()
    assert (status, len(house.stored)) == (200, 1)


async def test_a_client_that_expects_100_and_may_not_store_sends_nothing(
    posting: Callable[..., Any], house: Any
) -> None:
    async with posting(site="web-only") as url:
        wire = await Wire.to(url)
        head = sized(b"", start=START + b"Expect: 100-continue\r\n", length=1 << 30)
        status, _ = await wire.exchange(head)
        await wire.close()
    assert (status, house.stored) == (403, [])


async def test_http_1_0_is_served(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(
            sized(body(instance(1)), start=START.replace(b"HTTP/1.1", b"HTTP/1.0"))
        )
        async with asyncio.timeout(60):
            assert await wire.reader.read() == b""  # and the connection ends
        await wire.close()
    assert (status, len(house.stored)) == (200, 1)


async def test_a_part_without_a_content_type_is_taken_for_dicom(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(sized(b"--frontier\r\n\r\n" + instance(1) + b"\r\n--frontier--\r\n"))
        await wire.close()
    assert (status, len(house.stored)) == (200, 1)


async def test_a_content_length_that_is_too_short_ends_the_body_there(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    """What follows is no request: the connection goes, the part that was not whole as well."""
    content = body(instance(1), instance(2))
    async with posting() as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(sized(content, length=len(content) - 100))
        await wire.close()
        await eventually(lambda: nothing_is_left(house))
    assert status == 400
    assert {path.name.split("-")[0] for path in house.stored} <= {"1.2.3.1.1"}


async def test_a_content_length_that_is_too_long_keeps_what_was_whole(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = body(instance(1))
    async with posting(receive_timeout="300ms") as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(sized(content, length=len(content) + 100))
        await wire.close()
    assert status == 408
    assert len(house.stored) == 1
    assert nothing_is_left(house)


# Requests that no HTTP server may take: two framings, a chunk that lies, no number.
UNFRAMED = {
    "length and chunks": lambda b: sized(b, start=START + b"Transfer-Encoding: chunked\r\n"),
    "two lengths": lambda b: sized(b, start=START + b"Content-Length: 5\r\n"),
    "a length that is none": lambda b: START + b"Content-Length: many\r\n\r\n" + b,
    "a chunk size that is none": lambda b: in_chunks(b, 100, size_line=b"zz\r\n"),
    "a chunk longer than its size": lambda b: in_chunks(b, 100, size_line=b"10\r\n"),
}


@pytest.mark.parametrize("make", UNFRAMED.values(), ids=UNFRAMED.keys())
async def test_a_body_whose_end_is_in_doubt_is_not_taken(
    posting: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    make: Callable[[bytes], bytes],
) -> None:
    async with posting() as url:
        wire = await Wire.to(url)
        status, _ = await wire.exchange(make(body(instance(1))))
        await wire.close()
        await eventually(lambda: nothing_is_left(house))
    assert status == 400
    assert house.stored == []


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_may_vanish_at_any_byte(
    posting: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    eventually: Callable[..., Any],
    leave: str,
) -> None:
    """Nothing is left in the landing, and what is recorded is whole."""
    files = {f"1.2.3.1.{number}": instance(number) for number in (1, 2, 3)}
    request = sized(body(*files.values()))
    # every byte of the head of the body, of the last boundary, and a good many between
    edges = {len(request) - len(body(*files.values())) + at for at in range(90)}
    places = sorted(edges | set(range(1, len(request), 37)) | set(range(len(request) - 40, len(request))))
    async with posting(max_requests=1000, max_requests_per_site=1000) as url:

        async def vanish(at: int) -> None:
            wire = await Wire.to(url)
            wire.writer.write(request[:at])
            await wire.writer.drain()
            if leave == "reset":
                wire.reset()
            else:
                await wire.close()

        for start in range(0, len(places), 8):
            await asyncio.gather(*(vanish(at) for at in places[start : start + 8]))
        await eventually(lambda: nothing_is_left(house))
        wire = await Wire.to(url)
        status, _ = await wire.exchange(request)  # the same again is taken, whatever is here of it
        await wire.close()
    assert status == 200
    assert nothing_is_left(house)
    assert {path.name.split("-")[0]: data_set_bytes(path.read_bytes()) for path in house.stored} == {
        uid: data_set_bytes(content) for uid, content in files.items()
    }
