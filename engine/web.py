"""The one ASGI application: mounted channels, health, readiness, metrics.

`/healthz` says that the process lives, `/readyz` that it can take and keep instances, `/metrics`
counts for Prometheus. None of them tells anything of a patient.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.http_connections import PromptProtocol

Readiness = Callable[[], Awaitable[list[str]]]
Metrics = Callable[[], Awaitable[dict[str, float]]]


def application(mounted: Sequence[BaseRoute], readiness: Readiness, metrics: Metrics) -> Starlette:
    """The application with its channels.

    Args:
        readiness: what keeps the engine from taking instances; empty when nothing does.
        metrics: sample name (with labels) to value.
    """

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        reasons = await readiness()
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(body, status_code=503 if reasons else 200)

    async def metricsz(_request: Request) -> Response:
        samples = await metrics()
        text = "".join(f"{name} {value:g}\n" for name, value in sorted(samples.items()))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metricsz),
            *sorted(mounted, key=_takes_all),
        ]
    )


def _takes_all(route: BaseRoute) -> bool:
    """Whether a channel is mounted at `/`: it has what no other has, and is looked at last."""
    return isinstance(route, Mount) and route.path == ""


class Front:
    """Passes every request to the application of the moment; it is answered by that one to its end."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    def show(self, application: ASGIApp) -> None:
        """Another application, from the next request on."""
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._application(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the engine decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listen: str) -> AsyncIterator[int]:
    """Serve while entered; yields the port. Leaving lets running requests end (10 s at most).

    Cancelled while it is left, it waits for none of them.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    # Handed down to its connections: asyncio sets it only where the listener names its protocol. Without it
    # an answer's body waits for its headers to be acknowledged, 40 ms where that is delayed (RFC 9293 3.7.4).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        http=PromptProtocol,
        proxy_headers=False,  # the address decides the site: nobody may claim another
        lifespan="off",
        ws="none",
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():
            await asyncio.wait([task], timeout=0.01)  # uvicorn tells of its start by a flag only
        if task.done():
            await task
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        try:
            await asyncio.wait([task])
        finally:
            server.force_exit = True  # told to hurry, or over already
            await task
            listener.close()
