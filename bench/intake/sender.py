"""One association that sends as fast as the receiver takes: messages are encoded before the clock starts.

Enter: a port, a kind and how many. Leave: seconds from the first byte to the last answer; every answer
must be success. `TCP_NODELAY` is set and each message leaves in as few writes as it can. PS3.8 9.3.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from bench.intake import objects
from bench.intake.objects import Kind

EXPLICIT = "1.2.840.10008.1.2.1"
LONGEST = 131072  # bytes of a PDU, where the receiver takes so many
PIXELS = bytes(range(256)) * 4096  # a mebibyte


def associate(
    port: int, called: str, kind: Kind, calling: str = "BENCH", certificate: str = ""
) -> tuple[socket.socket, int]:
    """An open association with context 1, and the longest P-DATA fragment that the receiver takes.

    With the path of the receiver's ``certificate`` it is one over TLS.
    """
    from pynetdicom.pdu import A_ASSOCIATE_AC

    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if certificate:
        tls = ssl.create_default_context(cafile=certificate)
        connection = tls.wrap_socket(connection, server_hostname="127.0.0.1")
    connection.sendall(request(called, calling, kind))
    pdu = A_ASSOCIATE_AC()
    raw = exactly(connection, 6)
    raw += exactly(connection, struct.unpack(">L", raw[2:])[0])
    if raw[0] != 2:
        raise RuntimeError(f"the receiver rejects the association: {raw[:10].hex()}")
    pdu.decode(raw)
    assert pdu.user_information is not None
    longest = pdu.user_information.maximum_length or LONGEST
    return connection, min(longest, LONGEST) - 6


def request(called: str, calling: str, kind: Kind) -> bytes:
    """A-ASSOCIATE-RQ with one presentation context."""

    def item(number: int, body: bytes) -> bytes:
        return struct.pack(">BBH", number, 0, len(body)) + body

    context = b"\1\0\0\0" + item(0x30, kind.sop_class_uid.encode()) + item(0x40, EXPLICIT.encode())
    user = item(0x51, struct.pack(">L", LONGEST)) + item(0x52, objects.ROOT.encode())
    body = struct.pack(">H2x16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def command_set(kind: Kind, sop_instance_uid: str, message_id: int) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1), implicit little endian."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    body = element(0x0002, kind.sop_class_uid.encode()) + element(0x0100, b"\1\0")
    body += element(0x0110, struct.pack("<H", message_id % 65536)) + element(0x0700, b"\0\0")
    body += element(0x0800, b"\0\0") + element(0x1000, sop_instance_uid.encode())
    return element(0x0000, struct.pack("<L", len(body))) + body


def fragments(
    data: memoryview, longest: int, control: int, *, last: bool = True
) -> Iterator[bytes | memoryview]:
    """P-DATA-TF PDUs of one stream: a header and a slice for each."""
    for start in range(0, len(data), longest):
        piece = data[start : start + longest]
        ends = control | (2 if last and start + longest >= len(data) else 0)
        yield struct.pack(">BBLLBB", 4, 0, len(piece) + 6, len(piece) + 2, 1, ends)
        yield piece


def message(kind: Kind, run: int, sender: int, number: int, longest: int) -> bytes:
    """A whole C-STORE request as it goes over the wire."""
    command = command_set(kind, objects.sop_instance_uid(kind, run, sender, number), number + 1)
    data = objects.head(kind, run, sender, number) + PIXELS[: kind.pixels]
    return b"".join([*fragments(memoryview(command), longest, 1), *fragments(memoryview(data), longest, 0)])


def send(
    port: int,
    called: str,
    kind_name: str,
    run: int,
    sender: int,
    count: int,
    start: Barrier,
    said: Queue[tuple[float, float, int]],
    certificate: str = "",
) -> None:
    """A process that sends `count` objects on one association, begun together with the others."""
    kind = objects.KINDS[kind_name]
    connection, longest = associate(port, called, kind, certificate=certificate)
    ready = [] if kind.frames > 1 else [message(kind, run, sender, n, longest) for n in range(count)]
    start.wait(300)
    began = time.monotonic()
    stored = 0
    for number in range(count):
        if kind.frames > 1:
            send_big(connection, kind, run, sender, number, longest)
        else:
            connection.sendall(ready[number])
        stored += answer(connection) == 0
    ended = time.monotonic()
    connection.sendall(b"\5\0\0\0\0\4\0\0\0\0")
    connection.settimeout(5)
    with contextlib.suppress(OSError):
        exactly(connection, 10)
    connection.close()
    said.put((began, ended, stored))


def send_big(connection: socket.socket, kind: Kind, run: int, sender: int, number: int, longest: int) -> None:
    """An object that is not held in memory: its pixels are one block, again and again."""
    command = command_set(kind, objects.sop_instance_uid(kind, run, sender, number), number + 1)
    connection.sendall(b"".join(fragments(memoryview(command), longest, 1)))
    first = objects.head(kind, run, sender, number)
    connection.sendall(b"".join(fragments(memoryview(first), longest, 0, last=False)))
    block = memoryview(PIXELS)[: longest // 2 * 2]
    pdu = b"".join(fragments(block, longest, 0, last=False))
    whole, rest = divmod(kind.pixels, len(block))
    if not rest:
        whole, rest = whole - 1, len(block)
    for _ in range(whole):
        connection.sendall(pdu)
    connection.sendall(b"".join(fragments(block[:rest], longest, 0)))


def answer(connection: socket.socket) -> int:
    """The status of the next response (0000,0900)."""
    command = b""
    while True:
        kind, _, length = struct.unpack(">BBL", exactly(connection, 6))
        body = exactly(connection, length)
        if kind != 4:
            raise RuntimeError(f"the receiver sent PDU type {kind} instead of an answer")
        command += body[6:]
        if body[5] & 2:
            break
    at = 0
    while True:
        element, length = struct.unpack_from("<2xHL", command, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes; the kernel forgets to acknowledge at once with every delayed acknowledgement."""
    parts = bytearray()
    while len(parts) < count:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        piece = connection.recv(count - len(parts))
        if not piece:
            raise ConnectionError("the receiver closed the connection")
        parts += piece
    return bytes(parts)
