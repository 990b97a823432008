"""A worker process: one channel of the table, as ever, on an intake that records in the engine.

Started by `engine.workers.hand` as `python -m engine.workers.process PIPE DESCRIPTORS`, two sockets that it
inherits. Its life is the engine's: when the pipe ends it ends at once, and nothing that the engine has not
recorded was acknowledged. SIGTERM and SIGINT are for the engine, which lets its workers finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from engine.channel import Inbound, InboundContext, InFlight, Measures, Mounted, Retires
from engine.log import start_logging
from engine.spool import Spool
from engine.study_context import tolerate_sloppy_values
from engine.workers.assignment import Assignment, State
from engine.workers.link import Link
from engine.workers.remote_intake import RemoteIntake, RemoteSites
from engine.workers.shared_socket import SharedSocket

logger = logging.getLogger("pons.workers")

LOOK = 0.25  # seconds between two looks at what the engine should know


class Worker:
    """The process's side of what the engine asks of it."""

    def __init__(self, pipe: int, descriptors: int) -> None:
        self._link = Link(socket.socket(fileno=pipe), self._serve, self._end_at_once, queued=False)
        self._descriptors = socket.socket(fileno=descriptors)
        self._binding = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._close = asyncio.Event()
        self._intake: RemoteIntake | None = None
        self._state: State | None = None
        self._channel: Inbound | None = None
        self._held: asyncio.Task[None] | None = None
        self._has_left = False

    async def run(self) -> None:
        """Serve the engine until it lets go of the pipe."""
        self._link.start()
        await asyncio.Event().wait()

    def _serve(self, name: str, arguments: Sequence[Any]) -> Any:
        """In the link's thread."""
        if name == "state":
            (self._state,) = arguments
            if self._intake is not None:
                self._intake.take(self._state)
            return None
        if name == "cut":
            self._loop.call_soon_threadsafe(self._cut)
            return None
        work: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "listen": self._listen,
            "retire": self._retire,
            "leave": self._leave,
        }
        return asyncio.run_coroutine_threadsafe(work[name](*arguments), self._loop)

    # ── on the loop ──

    async def _listen(self, assignment: Assignment) -> None:
        """Open the channel; done when it serves."""
        start_logging(text=assignment.text, level=assignment.log_level)
        premises = assignment.premises
        spool = Spool(
            premises.data,
            max_instance=premises.max_instance,
            min_free=premises.min_free,
            before_naming=lambda path: self._link.tell("keeping", path),
        )
        self._link.tell("home", spool.home)
        self._intake = intake = RemoteIntake(spool, self._link, assignment.state)
        if self._state is not None:  # told since
            intake.take(self._state)
        lent = InboundContext(
            assignment.name,
            RemoteSites(self._link),
            premises.max_instance,
            self._bind,
            in_flight=InFlight(assignment.max_bytes_in_flight),
            processes=premises.workers,
        )
        channel = assignment.type.build(assignment.settings, lent)
        assert not isinstance(channel, Mounted)  # what `InboundType.processes` says
        self._channel = channel
        entered: asyncio.Future[None] = self._loop.create_future()
        self._held = asyncio.create_task(self._hold(channel, intake, spool, lent.in_flight, entered))
        await entered

    async def _hold(
        self,
        channel: Inbound,
        intake: RemoteIntake,
        spool: Spool,
        in_flight: InFlight,
        entered: asyncio.Future[None],
    ) -> None:
        telling = asyncio.create_task(self._tell(channel, spool, in_flight))
        try:
            async with channel.listening(intake):
                entered.set_result(None)
                await self._close.wait()
        except Exception as error:
            if entered.done():
                self._broke()
                raise
            entered.set_exception(error)
        finally:
            telling.cancel()
            intake.close()
            spool.close()

    def _broke(self) -> None:
        """A process whose channel is no more must not stay: another one takes its place."""
        if not self._close.is_set():
            logger.exception("defect: a channel broke while it listened")
            os._exit(1)

    async def _tell(self, channel: Inbound, spool: Spool, in_flight: InFlight) -> None:
        """What the engine watches and only this process knows."""
        told: dict[str, float] = {}
        while True:
            if spool.take_failure():
                self._link.tell("disk_full")
            while spool.abandoned:
                self._link.tell("abandoned", spool.abandoned.popleft())
            samples = dict(in_flight.measured())
            if isinstance(channel, Measures):
                samples.update(channel.measured())
            if samples != told:
                told = samples
                self._link.tell("samples", told)
            await asyncio.sleep(LOOK)

    async def _retire(self) -> None:
        """Serve what is open to its end, and nothing new."""
        if isinstance(self._channel, Retires):
            await self._channel.retire()

    async def _leave(self) -> None:
        """Take nothing new; done when what ran has ended."""
        self._close.set()
        if self._held is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._held)
        self._has_left = True

    def _cut(self) -> None:
        """Wait for nothing that is under way."""
        if self._held is not None:
            self._held.cancel()

    # ── from any thread ──

    def _bind(self, host: str, port: int) -> socket.socket:
        """The engine binds, once for all workers: each accepts on the same socket."""
        with self._binding:
            asked: Future[None] = self._link.call("bind", host, port)
            asked.result()
            _, (descriptor, *_), _, _ = socket.recv_fds(self._descriptors, 1, 1)
        return SharedSocket(descriptor)

    def _end_at_once(self) -> None:
        """The engine has let go of the pipe, or is gone: what still runs here is nobody's any more."""
        os._exit(0 if self._has_left else 1)


def main() -> None:
    """The process."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tolerate_sloppy_values()
    pipe, descriptors = map(int, sys.argv[1:3])

    async def run() -> None:
        await Worker(pipe, descriptors).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
