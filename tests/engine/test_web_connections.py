"""How the web server treats its connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from starlette.applications import Starlette

from engine.web import serving


def connections_from(client: tuple[str, int]) -> list[socket.socket]:
    """Duplicates of the sockets of this process that are connected to an address."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # gone again, or not connected
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as duplicate:
                if duplicate.getpeername() == client:
                    found.append(duplicate.dup())
    return found


async def test_no_answer_waits_for_its_headers_to_be_acknowledged() -> None:
    """TCP_NODELAY: the body is a write of its own, and a client acknowledges its headers 40 ms late."""
    async with serving(Starlette(), "127.0.0.1:0") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        served = connections_from(writer.get_extra_info("sockname"))
        assert [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in served] == [1]
        for one in served:
            one.close()
        writer.close()
        await writer.wait_closed()
