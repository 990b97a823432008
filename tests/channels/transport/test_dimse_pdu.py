"""Data values come off the socket whole and in order, however the stream is cut, plain and under TLS."""

from __future__ import annotations

import contextlib
import fcntl
import random
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from channels.transport.dimse_pdu import AssociationLost, PduSocket, ProtocolError, Released
from tests.channels.inbound.dimse_wire import (
    ABORTING,
    COMMAND,
    LAST,
    P_DATA,
    RELEASE,
    pdu,
    request,
    value,
)

Value = tuple[int, bool, bool, bytes]
"""Context id, whether it is of a command, whether it is the last, and the bytes."""

VALUES: list[Value] = [
    (1, True, True, b"command"),
    (1, False, False, b"d"),
    (1, False, False, b""),
    (1, False, True, bytes(range(60))),
]
CONTENT = (
    pdu(P_DATA, value(1, COMMAND | LAST, b"command") + value(1, 0, b"d"))
    + pdu(P_DATA, b"")
    + pdu(P_DATA, value(1, 0, b""))
    + pdu(P_DATA, value(1, LAST, bytes(range(60))))
)
WAIT = 30.0  # seconds for what comes at once


class Pair:
    """A peer and, once its request is read, the association's socket."""

    def __init__(self, tls: tuple[Path, Path] | None, *, max_pdu: int = 4096, timeout: float = WAIT) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer: socket.socket = socket.create_connection(server.getsockname(), timeout=WAIT)
            self._ours, _ = server.accept()
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pdus = PduSocket(self._ours, max_pdu, timeout)
        if tls is not None:
            ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ours.load_cert_chain(*tls)
            theirs = ssl.create_default_context(cafile=tls[0])
            shaking = threading.Thread(target=self.pdus.start_tls, args=(ours, WAIT))
            shaking.start()
            self.peer = theirs.wrap_socket(self.peer, server_hostname="127.0.0.1")
            shaking.join()
        self.peer.sendall(request())
        assert self.pdus.read_request(WAIT) == request()

    def taken(self) -> bool:
        """Whether the kernel has nothing left for us."""
        left = bytearray(4)
        fcntl.ioctl(self.pdus.fileno(), termios.FIONREAD, left)
        return not any(left)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Each once the one before has been read: on its own it makes a read of ours."""
        for chunk in chunks:
            self.peer.sendall(chunk)
            deadline = time.monotonic() + WAIT
            while not self.taken() and time.monotonic() < deadline:
                time.sleep(0)

    def read(self, count: int) -> list[Value]:
        """So many data values."""
        values = (self.pdus.read_value() for _ in range(count))
        return [(one.context_id, one.is_command, one.is_last, bytes(one.data)) for one in values]

    def close(self) -> None:
        self.peer.close()
        self.pdus.close()


Opening = Callable[..., Pair]


@pytest.fixture(params=["plain", "tls"])
def opened(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[Opening]:
    """A function that opens a pair; with ``max_pdu`` and ``timeout`` where they matter."""
    pairs: list[Pair] = []

    def opening(**limits: float) -> Pair:
        tls = certificate if request.param == "tls" else None
        pairs.append(Pair(tls, **limits))  # type: ignore[arg-type]
        return pairs[-1]

    yield opening
    for pair in pairs:
        pair.close()


@contextlib.contextmanager
def writing(pair: Pair, chunks: Sequence[bytes]) -> Iterator[None]:
    """The peer writes while we read."""
    writer = threading.Thread(target=pair.write, args=(chunks,))
    writer.start()
    yield
    writer.join(WAIT)
    assert not writer.is_alive()


def test_a_message_may_be_cut_between_any_two_bytes(opened: Opening) -> None:
    pair = opened(max_pdu=70)  # so that the buffer's end falls everywhere, too
    chunks = [piece for at in range(1, len(CONTENT)) for piece in (CONTENT[:at], CONTENT[at:])]
    with writing(pair, chunks):
        for at in range(1, len(CONTENT)):
            assert pair.read(len(VALUES)) == VALUES, f"cut at {at}"
    assert not pair.pdus.has_data


def test_a_message_may_come_byte_by_byte(opened: Opening) -> None:
    pair = opened()
    with writing(pair, [bytes([byte]) for byte in CONTENT]):
        assert pair.read(len(VALUES)) == VALUES


def test_many_messages_may_come_at_once(opened: Opening) -> None:
    pair = opened()
    pair.peer.sendall(CONTENT * 50 + RELEASE)
    for number in range(50):
        assert pair.read(len(VALUES)) == VALUES, f"message {number}"
    with pytest.raises(Released):
        pair.pdus.read_value(between_messages=True)


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_is_what_was_sent_whatever_its_pieces(opened: Opening, seed: int) -> None:
    dice = random.Random(seed)
    max_pdu = dice.choice([256, 4096, 131072])
    content, sent = b"", []
    while len(content) < 6 * max_pdu:
        packed = b""
        for _ in range(dice.randint(1, 4)):
            room = max_pdu - len(packed) - 6
            if room > 0:
                data = dice.randbytes(dice.choice([0, 1, room // 3, room // 2, room]))
                sent.append((1, False, False, data))
                packed += value(1, 0, data)
        content += pdu(P_DATA, packed)
    chunks, start = [], 0
    while start < len(content):
        step = dice.choice([1, 5, 6, 7, 11, 12, 13, max_pdu - 1, max_pdu, max_pdu + 6, 3 * max_pdu])
        chunks.append(content[start : start + step])
        start += step
    pair = opened(max_pdu=max_pdu)
    with writing(pair, chunks):
        assert pair.read(len(sent)) == sent


def test_the_longest_pdu_fits_and_a_longer_one_is_refused(opened: Opening) -> None:
    pair = opened(max_pdu=256)
    pair.peer.sendall(
        CONTENT + pdu(P_DATA, value(1, LAST, bytes(250))) + pdu(P_DATA, value(1, LAST, bytes(400)))
    )
    assert pair.read(len(VALUES)) == VALUES
    assert pair.read(1) == [(1, False, True, bytes(250))]
    with pytest.raises(ProtocolError, match="406 bytes, 256 were agreed"):
        pair.read(1)


def test_an_abort_is_heard_by_its_first_bytes(opened: Opening) -> None:
    """The rest of it may never come, and nothing has to be waited for (PS3.8 9.3.8)."""
    pair = opened()
    pair.peer.sendall(CONTENT + ABORTING[:6])
    assert pair.read(len(VALUES)) == VALUES
    with pytest.raises(AssociationLost, match="aborted by the peer"):
        pair.read(1)


@pytest.mark.parametrize("sent", [b"", CONTENT[:3], CONTENT[:6], CONTENT[:20]])
def test_a_peer_that_closes_is_lost_wherever_it_stopped(opened: Opening, sent: bytes) -> None:
    pair = opened()
    pair.peer.sendall(sent)
    pair.peer.close()
    with pytest.raises(AssociationLost, match="closed by the peer"):
        pair.read(1)


@pytest.mark.parametrize("sent", [b"", CONTENT[:3], CONTENT[:6], CONTENT[:20]])
def test_a_peer_that_falls_silent_is_not_waited_for(opened: Opening, sent: bytes) -> None:
    pair = opened(timeout=0.2)
    pair.peer.sendall(sent)
    with pytest.raises(ProtocolError, match=r"silent|too slow"):
        pair.read(1)


def test_a_pdu_has_its_time_however_steadily_it_trickles(opened: Opening) -> None:
    pair = opened(timeout=0.5)
    over = threading.Event()

    def trickle() -> None:
        pair.peer.sendall(pdu(P_DATA, b"", length=4000))
        with contextlib.suppress(OSError):
            while not over.wait(0.02):
                pair.peer.sendall(b"\0")

    trickling = threading.Thread(target=trickle)
    trickling.start()
    with pytest.raises(ProtocolError, match="inside a PDU"):
        pair.read(1)
    over.set()
    trickling.join(WAIT)


def test_a_peer_that_does_not_read_is_not_waited_for(opened: Opening) -> None:
    pair = opened(timeout=0.2)
    with pytest.raises(AssociationLost, match="does not read"):
        pair.pdus.send(bytes(64 << 20))


def test_a_long_message_goes_out_whole(opened: Opening) -> None:
    pair = opened()
    data_set = random.Random(1).randbytes(3 << 20)
    sending = threading.Thread(target=pair.pdus.send_message, args=(5, b"command", 16384, data_set))
    sending.start()
    came = {COMMAND: b"", 0: b""}
    last = False
    with pair.peer.makefile("rb") as stream:
        while not last:
            kind, length = struct.unpack(">BxI", stream.read(6))
            assert (kind, length <= 16384) == (P_DATA, True)
            one, context_id, control = struct.unpack(">IBB", stream.read(6))
            assert (one, context_id) == (length - 4, 5)
            came[control & COMMAND] += stream.read(length - 6)
            last = control == LAST
    sending.join(WAIT)
    assert came == {COMMAND: b"command", 0: data_set}


def test_another_thread_ends_a_read(opened: Opening) -> None:
    pair = opened()
    pair.peer.sendall(CONTENT[:20])
    cutting = threading.Timer(0.05, pair.pdus.cut)
    cutting.start()
    with pytest.raises(AssociationLost):
        pair.read(len(VALUES))
    cutting.join()
