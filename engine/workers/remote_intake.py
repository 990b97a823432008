"""The intake of a worker process: bytes are made durable here, and recorded where the database is.

Enter: arrivals of this process's peers. Leave: files under their names, and over the link to the engine what
is to be recorded, what was refused, who left. The engine's rules hold here too: it says when nothing may
land and which attributes are to be recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Literal

from engine.channel import CommitmentDesk, SiteDirectory
from engine.errors import Busy
from engine.model import CommitmentReport, CommitmentRequest, OwedReport, Site
from engine.reception import Reception
from engine.spool import Spool
from engine.store.recording import NewInstance, Recorded
from engine.workers.link import Link
from engine.workers.orders import State


class RemoteIntake(Reception):
    """What the channel of a worker is given."""

    def __init__(self, spool: Spool, link: Link, state: State) -> None:
        super().__init__(spool, state.questions)
        self.commitments: CommitmentDesk = RemoteDesk(link)
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


class RemoteDesk(CommitmentDesk):
    """The engine's desk of storage commitment, asked over the link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def _ask(self, what: str, *arguments: Any, **named: Any) -> Any:
        return await asyncio.wrap_future(self._link.call("desk", what, arguments, named))

    async def requested(self, request: CommitmentRequest, *, hold: float = 0.0) -> None:
        """A site asks whether its instances are safe; durable on return."""
        await self._ask("requested", request, hold=hold)

    async def claim(self, site: str, transaction_uid: str) -> OwedReport | None:
        """The report on one transaction, answered at this moment."""
        owed: OwedReport | None = await self._ask("claim", site, transaction_uid)
        return owed

    async def owed(self, inbound: str, limit: int) -> Sequence[OwedReport]:
        """The reports that are due to be sent by this channel, to whichever of its processes asks first."""
        owed: Sequence[OwedReport] = await self._ask("owed", inbound, limit)
        return owed

    async def sent(self, report: OwedReport) -> None:
        """The site has taken this report."""
        await self._ask("sent", report)

    async def not_sent(
        self, report: OwedReport, why: str, *, again: Literal["later", "at once", "never"] = "later"
    ) -> None:
        """The site has not taken it."""
        await self._ask("not_sent", report, why, again=again)

    async def reported(self, site: str, report: CommitmentReport) -> bool:
        """A peer of a site reports on what we asked of it."""
        ours: bool = await self._ask("reported", site, report)
        return ours
