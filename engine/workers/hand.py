"""One worker process as the engine sees it: started, asked, told, and buried when it ends.

Enters: an assignment. Leave: a process that serves, and the event of its end. It inherits two sockets and
nothing else: the pipe, and one on which it is handed the socket to listen on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys

from engine.channel import SiteDirectory
from engine.intake import DurableIntake
from engine.workers.assignment import Assignment, State
from engine.workers.counter import Bind, Counter
from engine.workers.link import Link

logger = logging.getLogger("pons.workers")

END = 10.0  # seconds that a process may take to end once it has nothing to do


class Hand:
    """One process and its link; lives on the event loop."""

    def __init__(self, intake: DurableIntake, sites: SiteDirectory, bind: Bind) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        """The process has ended, or is about to: its end of the pipe is closed."""
        self.began = self._loop.time()
        ours, theirs = socket.socketpair()
        self._descriptors, to_inherit = socket.socketpair()
        self._intake = intake
        self.counter = Counter(intake, sites, bind, self._descriptors)
        self.counter.on_state = self._tell_state
        self._link = Link(ours, self.counter.serve, self._has_ended, queued=True)
        with theirs, to_inherit:
            inherited = (theirs.fileno(), to_inherit.fileno())
            # -P: the folder that the engine was started in holds no modules of ours.
            argv = [sys.executable, "-P", "-m", "engine.workers.process", *map(str, inherited)]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=inherited)  # noqa: S603
        self._link.start()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def _tell_state(self, state: State) -> None:
        self._link.tell("state", state)

    def _has_ended(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to know
            self._loop.call_soon_threadsafe(self.ended.set)

    async def listen(self, assignment: Assignment) -> None:
        """Done when it serves; raises what the channel raised, or LinkLost when the process has ended."""
        await asyncio.wrap_future(self._link.call("listen", assignment))
        self.counter.refresh()

    async def retire(self) -> None:
        """Done when what it had is over; raises LinkLost."""
        await asyncio.wrap_future(self._link.call("retire"))

    async def leave(self) -> None:
        """Nothing new; done when what ran has ended. Cancelled, it is cut off."""
        leaving = asyncio.wrap_future(self._link.call("leave"))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            self._link.tell("cut")
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(leaving, END)
            raise
        except ConnectionError:  # it is gone already
            pass

    def dismiss(self) -> None:
        """It ends at once, whatever it does."""
        self._link.close()

    async def bury(self) -> int:
        """See the process ended and nothing of it left; its exit status."""
        self._link.close()
        self._descriptors.close()
        try:
            status = await asyncio.to_thread(self._process.wait, END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = await asyncio.to_thread(self._process.wait)
        await self.ended.wait()
        self.counter.over()
        try:
            if self.counter.home:
                await asyncio.to_thread(self._intake.settle, self.counter.home)
        except OSError as error:  # the next start does it
            logger.warning("what a process has left stays", extra={"pons": {"reason": error.strerror}})
        return status


def shown_end(status: int) -> str:
    """How a process ended, in an operator's words."""
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
