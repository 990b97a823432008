"""The desk of those who look after an engine: every question and every order of `engine.operations_desk`.

It asks the modules that the commands ask. Reading is beside the writers; what is changed is one transaction.
What blocks for long (a proposed table, a message's file) runs in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from engine import audit, pause
from engine.clock import Clock, at
from engine.delivery_model import (
    ActionPlan,
    DeliveryDetails,
    DeliveryPage,
    DeliveryQuery,
    HeldRow,
    Message,
    ReplayQuery,
)
from engine.operations import again, deliveries, overview, routes, standing, tables
from engine.operations.message import message
from engine.operations_model import (
    DestinationStanding,
    Happening,
    OperationRefused,
    OperationRefusedReason,
    Overview,
    Sites,
    SiteStanding,
    TrailEvent,
    TrailPage,
    TrailProof,
    TrailQuery,
)
from engine.proposal import Place
from engine.store import browse, look, trail
from engine.store.database import Database
from engine.story import tell
from engine.table import Table
from engine.table_model import (
    Explained,
    TableApplied,
    TableChange,
    TableInForce,
    TableProposal,
    ToldLine,
)

FRESH = 2.0  # seconds that an overview serves all who ask
MAX_PAGE = 1000


class Operations:
    """Looks after one engine."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        data: Path,
        table: Callable[[], Table],
        place: Place,
        troubles: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """
        Args:
            table: the one in force, at any moment.
            place: the file that the engine was given.
            troubles: what keeps this process from taking studies, in words.
        """
        self._database = database
        self._clock = clock
        self._data = data.absolute()
        self._table = table
        self._place = place
        self._troubles = troubles
        self._overviews: dict[frozenset[str] | None, tuple[float, Overview]] = {}
        self._looking = asyncio.Lock()

    # ── how it stands ──

    async def overview(self, sites: Sites = None) -> Overview:
        """How the engine stands."""
        key = None if sites is None else frozenset(sites)
        async with self._looking:  # one at a time, however many dashboards are open
            made = self._overviews.get(key)
            if made is not None and time.monotonic() - made[0] < FRESH:
                return made[1]
            table, now, troubles = self._table(), self._clock.now(), list(self._troubles())
            found = await self._database.read(lambda c: overview.overview(c, table, now, troubles, key))
            self._overviews = {
                one: kept for one, kept in self._overviews.items() if time.monotonic() - kept[0] < FRESH
            }
            self._overviews[key] = (time.monotonic(), found)
            return found

    async def sites(self, sites: Sites = None) -> Sequence[SiteStanding]:
        """Every site of the table."""
        table, now = self._table(), self._clock.now()
        return await self._database.read(lambda c: standing.sites(c, table, now, sites))

    async def destinations(self, sites: Sites = None) -> Sequence[DestinationStanding]:
        """Every way out."""
        table, now = self._table(), self._clock.now()
        return await self._database.read(lambda c: standing.destinations(c, table, now, sites))

    async def pause(self, destination: str, *, actor: str, reason: str, sites: Sites = None) -> None:
        """Let nothing more go out to a destination."""
        self._demand_destination(destination, sites)
        words, now = again.reason_of(reason), self._clock.now()
        work = lambda c: pause.pause(c, destination, actor=actor, reason=words, now=now)  # noqa: E731
        if not await self._database.write(work):
            raise OperationRefused(OperationRefusedReason.CHANGED, f"{destination} is paused already")

    async def resume(self, destination: str, *, actor: str, reason: str = "", sites: Sites = None) -> None:
        """Let it go on."""
        self._demand_destination(destination, sites)
        words, now = again.reason_of(reason) if reason.strip() else "", self._clock.now()
        work = lambda c: pause.resume(c, destination, actor=actor, reason=words, now=now)  # noqa: E731
        if not await self._database.write(work):
            raise OperationRefused(
                OperationRefusedReason.CHANGED, f"{destination} is neither paused nor down by now"
            )

    def _demand_destination(self, name: str, sites: Sites) -> None:
        declared = self._table().outbound.get(name)
        if declared is None or (sites is not None and declared.settings.site not in sites):
            raise OperationRefused(OperationRefusedReason.NOT_FOUND, "no such destination here")

    # ── studies and deliveries ──

    async def trace(self, study_instance_uid: str, sites: Sites = None) -> Sequence[Happening]:
        """A study's whole story."""

        def work(connection: Connection) -> list[Happening]:
            return [
                Happening(at(event.at), event.what, event.text, row.site, study_instance_uid)
                for row in look.list_studies(
                    connection, ids=browse.study_ids(connection, study_instance_uid), limit=100
                )
                if sites is None or row.site in sites
                for event in tell(connection, row)
            ]

        found = await self._database.read(work)
        if not found:
            raise OperationRefused(OperationRefusedReason.NOT_FOUND, "no such study here")
        return found

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of deliveries."""
        table, now = self._table(), self._clock.now()
        return await self._database.read(lambda c: deliveries.page(c, query, table, now))

    async def delivery(self, delivery_id: str, sites: Sites = None) -> DeliveryDetails:
        """A delivery with its attempts."""
        table, now = self._table(), self._clock.now()
        return await self._database.read(
            lambda c: deliveries.details(c, delivery_id, sites, table, self._data, now)
        )

    async def message(
        self, delivery_id: str, part: int = 0, *, revealed: bool = False, sites: Sites = None
    ) -> Message:
        """What a delivery sends, as text."""
        table, now = self._table(), self._clock.now()
        one = await self._database.read(lambda c: deliveries.found(c, delivery_id, sites, table, now))
        manifest = one.row.payload
        if manifest is None:
            early = "nothing is rendered yet: that is done when it is first about to go out"
            raise OperationRefused(OperationRefusedReason.NOT_FOUND, early)
        if not 0 <= part < len(manifest):
            raise OperationRefused(OperationRefusedReason.NOT_FOUND, "this delivery has no such part")
        entry, file = manifest[part], self._data / manifest[part]["path"]
        piece = await asyncio.to_thread(deliveries.part_of, part, entry, self._data)
        return await asyncio.to_thread(message, deliveries.row_of(one), piece, file, revealed=revealed)

    # ── what waits for a person ──

    async def holds(
        self, sites: Sites = None, *, study: str | None = None, released: bool = False, limit: int = 500
    ) -> Sequence[HeldRow]:
        """Holds."""
        most = max(1, min(limit, MAX_PAGE))
        return await self._database.read(
            lambda c: again.holds(c, sites, study=study, released=released, limit=most)
        )

    async def plan_release(
        self, ids: Sequence[int], then: Literal["route", "process"] | None = None, sites: Sites = None
    ) -> ActionPlan:
        """What releasing holds would do."""
        table = self._table()
        return await self._database.read(lambda c: again.plan_release(c, ids, then, sites, table))

    async def release(
        self,
        ids: Sequence[int],
        then: Literal["route", "process"] | None = None,
        *,
        actor: str,
        reason: str,
        sites: Sites = None,
    ) -> ActionPlan:
        """Answer holds."""
        table, words, now = self._table(), again.reason_of(reason), self._clock.now()
        return await self._database.write(
            lambda c: again.release_holds(c, ids, then, sites, table, now, actor=actor, reason=words)
        )

    async def discard(self, ids: Sequence[str], *, actor: str, reason: str, sites: Sites = None) -> int:
        """Give dead letters up."""
        words, now = again.reason_of(reason), self._clock.now()
        return await self._database.write(
            lambda c: again.discard(c, ids, sites, now, actor=actor, reason=words)
        )

    async def plan_replay(self, query: ReplayQuery) -> ActionPlan:
        """What a replay would do."""
        table = self._table()
        return await self._database.read(lambda c: again.plan_replay(c, query, table))

    async def replay(self, query: ReplayQuery, *, expect: int, actor: str, reason: str) -> ActionPlan:
        """Carry a replay out."""
        table, words, now = self._table(), again.reason_of(reason), self._clock.now()
        return await self._database.write(
            lambda c: again.carry_out(c, query, table, now, expect=expect, actor=actor, reason=words)
        )

    # ── the table ──

    async def table(self, sites: Sites = None) -> TableInForce:
        """The table that runs."""
        table, now = self._table(), self._clock.now()
        return await self._database.read(lambda c: routes.in_force(c, table, now, sites))

    async def explain(
        self, study_instance_uid: str, sites: Sites = None, *, revealed: bool = False
    ) -> Sequence[Explained]:
        """Why a study goes where it goes."""
        table = self._table()
        return await self._database.read(
            lambda c: routes.explained(c, table, study_instance_uid, sites, revealed=revealed)
        )

    async def versions(self, limit: int = 50) -> Sequence[TableChange]:
        """Every change of the running table."""
        return await self._database.read(lambda c: tables.versions(c, max(1, min(limit, MAX_PAGE))))

    async def files(self, version: str) -> Mapping[str, str]:
        """The files of a version."""
        return await self._database.read(lambda c: tables.files(c, version))

    async def compare(self, old: str, new: str) -> Sequence[ToldLine]:
        """The difference of two versions."""
        return await self._database.read(lambda c: tables.compare(c, old, new))

    async def propose(self, edits: Mapping[str, str], studies: int = 100) -> TableProposal:
        """What another table would change."""
        most = max(0, min(studies, MAX_PAGE))
        return await asyncio.to_thread(tables.proposed, self._database, self._place, edits, most)

    async def apply(
        self,
        edits: Mapping[str, str],
        *,
        expect: int | None,
        actor: str,
        message: str,
        force: bool = False,
    ) -> TableApplied:
        """Make it the running table."""
        words = again.reason_of(message)

        def work() -> TableApplied:
            return tables.applied(
                self._database, self._place, edits, expect=expect, actor=actor, message=words, force=force
            )

        return await asyncio.to_thread(work)

    # ── the trail ──

    async def trail(self, query: TrailQuery) -> TrailPage:
        """A page of the audit trail."""
        limit = max(1, min(query.limit, MAX_PAGE))
        rows = await self._database.read(
            lambda c: browse.trail_page(
                c,
                action=query.action,
                actor=query.actor,
                subject=query.subject,
                since=_seconds(query.since),
                until=_seconds(query.until),
                before=query.before,
                limit=limit + 1,
            )
        )
        shown = rows[:limit]
        events = tuple(
            TrailEvent(row.id, at(row.at), row.actor, row.action, row.subject, row.detail) for row in shown
        )
        return TrailPage(events, shown[-1].id if len(rows) > limit else None)

    async def verify_trail(self) -> TrailProof:
        """Whether the trail is whole."""
        broken, events = await self._database.read(lambda c: (audit.verify(c), trail.count(c)))
        return TrailProof(events, broken)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
