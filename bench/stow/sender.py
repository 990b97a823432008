"""One connection that posts as fast as the service takes: requests are encoded before the clock starts.

Enter: a port, a path, a kind, how many requests and how many instances in each. Leave: seconds from the
first byte to the last answer; each must be 200 and name every instance as stored. The connection is kept,
`TCP_NODELAY` is set, and pixels are sent from one block that all objects share. PS3.18 10.5, RFC 2387.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from bench.intake import objects
from bench.intake.objects import Kind
from bench.intake.sender import EXPLICIT, PIXELS
from channels.transport.file_meta import encode_file_meta

BOUNDARY = b"b7f1c0de9a2e4d53b0c4f6f2a1d0e9c8"
PART = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
CLOSING = b"--" + BOUNDARY + b"--\r\n"


def instance_head(kind: Kind, run: int, sender: int, number: int) -> bytes:
    """A Part 10 file up to its pixels."""
    meta = encode_file_meta(
        sop_class_uid=kind.sop_class_uid,
        sop_instance_uid=objects.sop_instance_uid(kind, run, sender, number),
        transfer_syntax_uid=EXPLICIT,
        calling_ae_title="BENCH",
        called_ae_title="BENCH",
    )
    return meta + objects.head(kind, run, sender, number)


def request(path: str, heads: Sequence[bytes], pixels: int) -> list[bytes]:
    """What is sent before the pixels of each instance, and after those of the last."""
    between = [PART + heads[0], *(b"\r\n" + PART + head for head in heads[1:]), b"\r\n" + CLOSING]
    length = sum(map(len, between)) + pixels * len(heads)
    start = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}\r\n'
        f"Content-Length: {length}\r\n\r\n"
    )
    return [start.encode() + between[0], *between[1:]]


def send(
    port: int,
    path: str,
    kind_name: str,
    run: int,
    sender: int,
    requests: int,
    batch: int,
    start: Barrier,
    said: Queue[tuple[float, float, int]],
) -> None:
    """A process that posts `requests` of `batch` instances on one connection, begun together with others."""
    kind = objects.KINDS[kind_name]
    numbers = range(requests * batch)
    heads = [instance_head(kind, run, sender, number) for number in numbers]
    ready = [request(path, heads[at : at + batch], kind.pixels) for at in range(0, len(heads), batch)]
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start.wait(300)
    began = time.monotonic()
    stored = 0
    for one in ready:
        post(connection, one, kind.pixels)
        stored += answer(connection)
    ended = time.monotonic()
    connection.close()
    said.put((began, ended, stored))


def post(connection: socket.socket, between: Sequence[bytes], pixels: int) -> None:
    """One request; nothing but its last byte asks the kernel to send a short segment."""
    for piece in between[:-1]:
        connection.sendall(piece, socket.MSG_MORE)
        for block in _blocks(pixels):
            connection.sendall(block, socket.MSG_MORE)
    connection.sendall(between[-1])


def _blocks(pixels: int) -> Iterator[memoryview]:
    whole, rest = divmod(pixels, len(PIXELS))
    for _ in range(whole):
        yield memoryview(PIXELS)
    if rest:
        yield memoryview(PIXELS)[:rest]


def answer(connection: socket.socket) -> int:
    """How many instances the next answer says are stored; RuntimeError unless all were."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers["content-length"]):
        body += _more(connection)
    if status.split()[1] != "200":
        raise RuntimeError(f"the service answers {status}")
    found = json.loads(body)
    return len(found["00081199"]["Value"])


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    if not received:
        raise ConnectionError("the service closed the connection")
    return received
