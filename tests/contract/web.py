"""An HTTP receiver on starlette and uvicorn that answers as it is told."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

METHODS = ["GET", "HEAD", "POST", "PUT"]


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]
    body: bytes

    def parts(self) -> list[bytes]:
        """The parts of a multipart body (RFC 2046 5.1)."""
        header = Message()
        header["Content-Type"] = self.headers["content-type"]
        cut = self.body.split(f"--{header.get_boundary()}".encode())
        assert cut[0] == b"", "nothing stands before the first boundary"
        assert cut[-1] == b"--\r\n", "the last boundary closes"
        found = []
        for piece in cut[1:-1]:
            headers, _, content = piece.partition(b"\r\n\r\n")
            assert headers.strip() == b"Content-Type: application/dicom"
            assert content.endswith(b"\r\n")
            found.append(content[:-2])
        return found


class _Cut(Response):
    """Announces more than it sends; the server then drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionAbortedError


STALL, CLOSE = Response(), _Cut()

Respond = Callable[[Seen], Response]


class WebPeer:
    """Serves on a thread of its own until stopped; ``respond`` decides every answer.

    ``hold`` keeps every answer back until the peer is stopped; so does the answer `STALL`. The
    answer `CLOSE` drops the connection in the middle of itself.
    """

    def __init__(self, respond: Respond, *, hold: bool = False, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.respond = respond
        self._go = threading.Event()
        self._hold = hold
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=METHODS)])
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline, "the HTTP receiver did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self._go.set()
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        assert not self._thread.is_alive(), "the HTTP receiver did not end"

    async def _answer(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        query = f"?{request.url.query}" if request.url.query else ""
        seen = Seen(request.method, request.url.path + query, dict(request.headers), body)
        self.seen.append(seen)
        answer = self.respond(seen)
        if answer is STALL or self._hold:
            await asyncio.to_thread(self._go.wait, 30)
        return answer


@contextmanager
def receiving(respond: Respond, *, hold: bool = False) -> Iterator[WebPeer]:
    """Stop it, whatever happens."""
    peer = WebPeer(respond, hold=hold)
    try:
        yield peer
    finally:
        peer.stop()


def in_turn(*answers: Response) -> Respond:
    """These answers in order, the last one for ever after."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
