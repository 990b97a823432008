"""The intake of a worker process: bytes are made durable here, and recorded where the database is.

Enter: arrivals of this process's peers. Leave: files under their names, and over the link to the engine what
is to be recorded, what was refused, who left. The engine's rules hold here too: it says when nothing may
land and which attributes are to be recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, cast

from engine.channel import CommitmentDesk, OrderDesk, SiteDirectory
from engine.errors import Busy
from engine.model import Site
from engine.reception import Reception
from engine.spool import Spool
from engine.store.recording import NewInstance, Recorded
from engine.workers.assignment import State
from engine.workers.link import Link


class RemoteIntake(Reception):
    """What the channel of a worker is given."""

    def __init__(self, spool: Spool, link: Link, state: State) -> None:
        super().__init__(spool, state.questions)
        self.commitments = cast(CommitmentDesk, RemoteDesk(link, "commitments"))
        self.orders = cast(OrderDesk, RemoteDesk(link, "orders"))
        self._link = link
        self._state = state

    def take(self, state: State) -> None:
        """The engine says what holds from now on."""
        self._state = state
        self.questions = state.questions

    def shut_by(self) -> Busy | None:
        """Why nothing may land at this moment, as the engine said last."""
        return self._state.refusal()

    @property
    def draining(self) -> bool:
        """Whether the engine is shutting down."""
        return self._state.draining

    def begin_to_record(self, session: str, new: NewInstance, answered: int) -> Future[Recorded]:
        """Ask the engine to record; it has heard of the file already (see `Spool.before_naming`)."""
        return self._link.call("record", session, new, answered)

    def refuse(self, reason: str) -> None:
        """Have the engine count it."""
        self._link.tell("refused", reason)

    def leave(self, session: str) -> None:
        """The association is over."""
        self._link.tell("left", session)

    def turned_away(
        self, inbound: str, unknown: str, remote_address: str, calling_ae_title: str, called_ae_title: str
    ) -> None:
        """A peer was rejected for what it is; see `engine.channel.Intake.turned_away`."""
        self._link.tell("turned_away", inbound, unknown, remote_address, calling_ae_title, called_ae_title)


class RemoteSites(SiteDirectory):
    """The sites of the table that the engine runs by at the moment of each question."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def identify(self, address: str, calling_ae_title: str | None = None) -> Site:
        """The one site this peer can be; UnknownPeer says which fact did not match."""
        site: Site = self._link.call("identify", address, calling_ae_title).result()
        return site

    def get(self, key: str) -> Site:
        """The site with this key; KeyError when there is none."""
        site: Site = self._link.call("site", key).result()
        return site

    def every(self) -> Sequence[Site]:
        """All sites of the table, in its order."""
        sites: Sequence[Site] = self._link.call("sites").result()
        return sites


class RemoteDesk:
    """A desk of the engine, whichever questions it takes: each is a coroutine function."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name

    def __getattr__(self, question: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def ask(*arguments: Any, **named: Any) -> Any:
            asked = self._link.call("desk", self._name, question, arguments, named)
            return await asyncio.wrap_future(asked)

        return ask
