"""The bytes of one body to one file: chunks as they come in, a synced file and its digests out.

Pieces of a megabyte are written and hashed by a thread while the next ones arrive. Limits count before a byte
is written; a body that stands still is given up.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass

from channels.inbound.uploads.announced import Announced
from channels.inbound.uploads.completeness import refuse_too_large
from channels.inbound.uploads.ledger import full
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.taking import in_thread
from channels.transport.pace import Pace

PIECE = 1 << 20  # bytes gathered before a thread writes them
LOOK = 64 << 20  # bytes after which the disk is looked at again


@dataclass(frozen=True, slots=True)
class Body:
    """What is to be received, and within which limits."""

    chunks: AsyncIterable[bytes]
    announced: Announced
    limit: int  # bytes
    idle_timeout: float  # seconds
    min_rate: int  # bytes per second
    grow: Callable[[int], None]  # called before so many bytes are written; may raise
    check_disk: Callable[[], None]  # raises Busy when it is low


async def receive(body: Body, descriptor: int) -> tuple[int, str]:
    """Size and SHA-256 of what came; it is durable on return.

    Raises:
        UploadRefused: it is too large, stood still, or is not what was announced.
        Busy: the disk has no room.
    """
    refuse_too_large(body.announced.length or 0, body.limit)
    hashes = body.announced.hashes()

    def write(piece: bytearray) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise full() from None
            raise
        for one in hashes.values():
            one.update(piece)

    def end(piece: bytearray) -> None:
        write(piece)
        body.announced.check(size, hashes)
        os.fsync(descriptor)

    size, looked = 0, 0
    gathered = bytearray()
    writing: asyncio.Task[None] | None = None
    try:
        async for chunk in _patiently(body):
            size += len(chunk)
            refuse_too_large(size, body.limit)
            gathered += chunk
            if len(gathered) < PIECE:
                continue
            if writing is not None:
                await writing
            if size - looked > LOOK:
                body.check_disk()
                looked = size
            body.grow(len(gathered))
            writing, gathered = asyncio.create_task(in_thread(None, write, gathered)), bytearray()
    finally:
        if writing is not None:
            await asyncio.gather(writing, return_exceptions=True)
    if writing is not None:
        writing.result()
    body.grow(len(gathered))
    await in_thread(None, end, gathered)
    return size, hashes["sha256"].hexdigest()


async def _patiently(body: Body) -> AsyncIterator[bytes]:
    arriving = aiter(body.chunks)
    pace = Pace(body.min_rate, body.idle_timeout)
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(body.idle_timeout):
                chunk = await anext(arriving)
        except StopAsyncIteration:
            return
        except TimeoutError:
            said = f"nothing came for {body.idle_timeout:g} s; send it again"
            raise UploadRefused(Reason.SILENT, said) from None
        if pace.is_too_slow(time.monotonic() - began, len(chunk)):
            raise UploadRefused(Reason.SILENT, f"slower than {body.min_rate} bytes per second; send it again")
        yield chunk
