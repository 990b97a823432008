"""The engine's side of one worker process: what it asks is answered, what it says is taken.

Enter: calls and words over the link, in its thread. Leave: records, counts, sites, sockets. A session of a
worker ends for the engine when the worker says so or is gone, and never before the last of its records.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from engine.channel import SiteDirectory
from engine.intake import DurableIntake
from engine.store.recording import NewInstance, Recorded
from engine.workers.assignment import State

Bind = Callable[[str, int], socket.socket]


class Counter:
    """Where one worker is served."""

    def __init__(
        self, intake: DurableIntake, sites: SiteDirectory, bind: Bind, descriptors: socket.socket
    ) -> None:
        """
        Args:
            bind: a listening socket for an address, the same for every worker of the channel.
            descriptors: where sockets are handed over.
        """
        self.samples: Mapping[str, float] = {}
        """What the worker measured last."""
        self.home = ""
        """The name of the worker's folders (`Spool.home`), once it has them."""
        self.on_state: Callable[[State], object] = lambda state: None
        """Called when the worker is to go by another state."""
        self.state = state_of(intake)
        self._intake = intake
        self._sites = sites
        self._bind = bind
        self._descriptors = descriptors
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._recording: Tally[str] = Tally()  # records under way, by session
        self._open: set[str] = set()  # sessions that have sent something
        self._over: set[str] = set()  # of them, those that have ended
        self._keeping: set[str] = set()  # paths that may have a file and are not with the recorder yet
        self._words: Mapping[str, Callable[..., Any]] = {
            "record": self._record,
            "keeping": self._keeping.add,
            "abandoned": self._abandoned,
            "identify": self._identify,
            "site": sites.get,
            "sites": sites.every,
            "desk": self._desk,
            "bind": self._hand_over,
            "left": self._left,
            "refused": intake.refuse,
            "turned_away": intake.turned_away,
            "disk_full": intake.disk_full,
            "samples": partial(setattr, self, "samples"),
            "home": partial(setattr, self, "home"),
        }

    def serve(self, name: str, arguments: Sequence[Any]) -> Any:
        """One call or word; in the link's thread."""
        return self._words[name](*arguments)

    def refresh(self) -> None:
        """Have the worker told what has changed; from any thread."""
        with self._lock:
            state = state_of(self._intake)
            if state != self.state:
                self.state = state
                self.on_state(state)

    def over(self) -> None:
        """The worker is gone: its sessions have ended, what it kept and did not have recorded goes."""
        with self._lock:
            sessions, keeping = set(self._open), set(self._keeping)
            self._keeping.clear()
        self._intake.doubt(keeping)
        for session in sessions:
            self._left(session)

    def _identify(self, address: str, calling_ae_title: str | None) -> Any:
        self.refresh()  # whoever begins now finds things as they are
        return self._sites.identify(address, calling_ae_title)

    def _record(self, session: str, new: NewInstance, answered: int) -> Future[Recorded]:
        with self._lock:
            self._open.add(session)
            self._recording[session] += 1
        try:
            future = self._intake.begin_to_record(session, new, answered)
        except BaseException:
            self._recorded(session)
            raise
        self._keeping.discard(new.path)  # the recorder has it, whatever comes of it
        future.add_done_callback(lambda done: self._recorded(session))
        return future

    def _abandoned(self, path: str) -> None:
        """The worker could not keep this."""
        self._keeping.discard(path)
        self._intake.doubt([path])

    def _recorded(self, session: str) -> None:
        with self._lock:
            self._recording[session] -= 1
        self._end(session)

    def _left(self, session: str) -> None:
        with self._lock:
            self._over.add(session)
        self._end(session)

    def _end(self, session: str) -> None:
        """A record that is still under way would hold the study open for a session that nobody ends."""
        with self._lock:
            if session not in self._over or self._recording[session] > 0:
                return
            self._over.discard(session)
            self._open.discard(session)
            del self._recording[session]
        self._intake.leave(session)

    def _desk(
        self, desk: str, question: str, arguments: Sequence[Any], named: Mapping[str, Any]
    ) -> Future[Any]:
        work = getattr(getattr(self._intake, desk), question)(*arguments, **named)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _hand_over(self, host: str, port: int) -> None:
        socket.send_fds(self._descriptors, [b"s"], [self._bind(host, port).fileno()])


def state_of(intake: DurableIntake) -> State:
    """What holds now."""
    shut_by = intake.shut_by()
    if shut_by is None:
        return State(intake.questions, draining=intake.draining)
    return State(intake.questions, str(shut_by), shut_by.storage_full, intake.draining)
