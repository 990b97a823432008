"""Requests of every kind beside a sender that does all as it should: none harms another, nothing is left.

Each example is one connection: a request that is nearly right, changed in some bytes, cut off, or in chunks
of any size, and left by its client in any way. Beside it another client stores study after study. No answer
is ever 500, every legitimate request succeeds, what is recorded is whole, and in the end there are as
many sockets, files, threads and landings as before (PS3.18 10.5, RFC 2046 5.1, RFC 9112).
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.peers.part10 import data_set_bytes

EXAMPLES = int(os.environ.get("PONS_STOW_FUZZ", "80"))
BUDGET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
START = b"POST /dicomweb/studies HTTP/1.1\r\nHost: pons\r\nConnection: close\r\n"
PART = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n"
RELATED = 'multipart/related; type="application/dicom"; boundary=frontier'


@dataclass(frozen=True, slots=True)
class Case:
    """One connection of a client that is not to be trusted."""

    parts: tuple[int, ...]  # numbers of instances; 0 is none at all
    header: bytes  # before each part
    closing: bytes
    head: bytes  # beside the length
    length: int  # added to the right one
    chunked: bool
    changes: tuple[tuple[float, int], ...]  # where, and to which byte
    keep: float  # how much of it is sent
    pieces: int  # bytes of each write
    reset: bool

    @property
    def is_intact(self) -> bool:
        """Whether it ends where it says, so that there must be an answer."""
        return not self.changes and self.length == 0 and self.keep > 0.99

    def request(self, files: dict[int, bytes]) -> bytes:
        """The bytes that are written."""
        body = b"".join(self.header + files[number] + b"\r\n" for number in self.parts) + self.closing
        framing = b"Content-Length: %d\r\n" % max(0, len(body) + self.length)
        if self.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in cut(body, 500)) + b"0\r\n\r\n"
        raw = bytearray(START + framing + self.head + b"\r\n" + body)
        for where, byte in self.changes:
            raw[int(where * len(raw))] = byte
        return bytes(raw[: int(self.keep * len(raw)) + 1])


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


fraction = st.floats(0, 1, exclude_max=True)
cases = st.builds(
    Case,
    parts=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    header=st.sampled_from(
        [
            *([PART] * 6),
            b"--frontier\r\n\r\n",
            b"--frontier\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
            b"--frontier\r\nContent-Type: \xff\xfe\r\n\r\n",
            b"--frontier\r\nno colon\r\n\r\n",
            b"--frontier\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
            b"--frontier",
            b"",
        ]
    ),
    closing=st.sampled_from([*([b"--frontier--\r\n"] * 4), b"--frontier-", b"", b"--frontier--\r\nepilogue"]),
    head=st.sampled_from(
        [
            *([b"Content-Type: " + RELATED.encode() + b"\r\n"] * 6),
            b"Content-Type: multipart/related\r\n",
            b"Content-Type: multipart/related; boundary*=utf-8''%C4%80\r\n",
            b"Content-Type: " + RELATED.encode() + b"\r\nExpect: 100-continue\r\n",
            b"Content-Type: " + RELATED.encode() + b"\r\nContent-Encoding: gzip\r\n",
            b"Content-Type: " + RELATED.encode() + b"\r\nAccept: \xff;q=nan\r\n",
            b"Content-Type: \xff\xff; boundary=\xff\r\n",
            b"",
        ]
    ),
    length=st.sampled_from([0, 0, 0, 0, -1, -50, 1, 50, 1 << 40]),
    chunked=st.booleans(),
    changes=st.one_of(st.just(()), st.lists(st.tuples(fraction, st.integers(0, 255)), max_size=6).map(tuple)),
    keep=st.one_of(st.just(0.999999), st.just(0.999999), fraction),
    pieces=st.sampled_from([60, 700, 1 << 16]),
    reset=st.booleans(),
)


class Stranger:
    """Sends cases, and counts what is answered."""

    def __init__(self, port: int, files: dict[int, bytes]) -> None:
        self._port = port
        self._files = files
        self.answers: Counter[int] = Counter()

    def send(self, case: Case) -> None:
        received = b""
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            try:
                for piece in cut(case.request(self._files), case.pieces):
                    connection.sendall(piece)
                if not case.is_intact:
                    connection.settimeout(0.1)  # it may wait for more, in vain
                while piece := connection.recv(1 << 16):
                    received += piece
            except ConnectionError:
                pass  # the service had heard enough
            except TimeoutError:
                assert not case.is_intact
            if case.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for answer in received.split(b"HTTP/1.1 ")[1:]:
            self.answers[int(answer[:3])] += 1


def legitimate(port: int, file: Callable[..., bytes], over: threading.Event) -> dict[str, bytes]:
    """Store two instances a request until told to stop; what was stored, by SOP Instance UID."""
    stored: dict[str, bytes] = {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=("127.0.0.2", 0))
    number = 0
    while not over.is_set() or number < 4:
        number += 2
        files = [file(one, study="1.2.9", bulk=30_000) for one in (number - 1, number)]
        body = b"".join(PART + one + b"\r\n" for one in files) + b"--frontier--\r\n"
        connection.request("POST", "/dicomweb/studies", body, {"Content-Type": RELATED})
        answer = connection.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (200, True)
        stored |= {
            f"1.2.9.1.{one}": content for one, content in zip((number - 1, number), files, strict=True)
        }
    connection.close()
    return stored


def open_here() -> Counter[str]:
    """Sockets and landings that this process has open."""
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the listing's own
        kinds["socket"] += target.startswith("socket:")
        kinds["landing"] += "/landing/" in target and "(deleted)" not in target
    return kinds


async def test_no_request_harms_another_or_leaves_anything(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    files = {0: b"", 1: instance(1), 2: instance(2, bulk=70_000), 3: instance(3)[:-9], 4: b"x" * 3000}
    over = threading.Event()
    async with posting(receive_timeout="2s", max_requests=1000, max_requests_per_site=1000) as url:
        port = urlsplit(url).port
        assert port is not None
        stranger = Stranger(port, files)
        before = open_here()

        def fuzz() -> None:
            @BUDGET
            @given(case=cases)
            def examine(case: Case) -> None:
                stranger.send(case)

            examine()

        sender = asyncio.create_task(asyncio.to_thread(legitimate, port, instance, over))
        try:
            await asyncio.to_thread(fuzz)
        finally:
            over.set()
            stored = await sender
        await eventually(lambda: open_here() == before and not house.landing and not house.open_sessions)

    assert stranger.answers[200] > 0
    assert stranger.answers[400] > 0
    assert not [status for status in stranger.answers if status >= 500]
    kept = {path.name.partition("-")[0]: data_set_bytes(path.read_bytes()) for path in house.stored}
    assert {uid: kept[uid] for uid in stored} == {uid: data_set_bytes(one) for uid, one in stored.items()}
