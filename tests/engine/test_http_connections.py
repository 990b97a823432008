"""Connections on which no request comes, beside clients that ask for something."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.http_connections import PromptProtocol
from engine.web import serving
from tests.peers.process import wait_until

STRANGER = "127.0.0.9"
Opened = Callable[[], AbstractAsyncContextManager[int]]


@pytest.fixture
def opened() -> Opened:
    """A function: ``async with opened() as port``; `/slow` answers after half a second."""

    async def answer(_request: Request) -> Response:
        return PlainTextResponse("here")

    async def slow(_request: Request) -> Response:
        await asyncio.sleep(0.5)
        return PlainTextResponse("here")

    @asynccontextmanager
    async def serve() -> AsyncIterator[int]:
        app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"]), Route("/slow", slow)])
        async with serving(app, "127.0.0.1:0") as port:
            yield port

    return serve


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def rest(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = b""
    with connection, contextlib.suppress(ConnectionError):
        while more := connection.recv(1 << 16):
            received += more
    return received


def exchange(port: int, *, sent: bytes) -> bytes:
    connection = connect(port)
    with contextlib.suppress(ConnectionError):  # it may hang up while we send
        connection.sendall(sent)
    return rest(connection)


async def test_a_connection_that_asks_for_nothing_is_closed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptProtocol, "head_timeout", 0.2)
    async with opened() as port:
        assert await asyncio.to_thread(exchange, port, sent=b"") == b""


async def test_a_head_that_does_not_come_to_its_end_is_answered_with_408(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptProtocol, "head_timeout", 0.2)
    async with opened() as port:
        answer = await asyncio.to_thread(exchange, port, sent=b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_so_is_one_of_a_later_request(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptProtocol, "head_timeout", 0.2)
    async with opened() as port:
        sent = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo"
        answer = await asyncio.to_thread(exchange, port, sent=sent)
        first, _, second = answer.partition(b"here")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert second.startswith(b"HTTP/1.1 408 ")


async def test_a_head_without_end_is_answered_with_431(opened: Opened) -> None:
    async with opened() as port:
        sent = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: " + b"x" * (1 << 20)
        answer = await asyncio.to_thread(exchange, port, sent=sent)
        assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # unless a reset overtook it


async def test_a_body_may_take_longer_and_be_larger_than_a_head(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptProtocol, "head_timeout", 0.1)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.1)  # together longer than a head may take
            yield b"x" * (1 << 17)

    async with opened() as port, httpx.AsyncClient(timeout=30) as client:
        assert (await client.post(f"http://127.0.0.1:{port}/", content=body())).status_code == 200


async def test_a_head_behind_a_request_that_is_served_waits_for_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptProtocol, "head_timeout", 0.1)
    async with opened() as port:
        sent = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo"
        answer = await asyncio.to_thread(exchange, port, sent=sent)
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_flood_of_idle_connections_keeps_no_client_out(opened: Opened) -> None:
    async with opened() as port:
        flood = await asyncio.to_thread(lambda: [connect(port, STRANGER) for _ in range(300)])

        def still_open() -> int:
            count = 0
            for connection in flood:
                connection.setblocking(False)
                try:
                    connection.recv(1)
                except BlockingIOError:
                    count += 1
                except ConnectionError:
                    continue
            return count

        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
        await asyncio.to_thread(wait_until, lambda: still_open() == 64, "the oldest to be closed", 30)
        for connection in flood:
            connection.close()
