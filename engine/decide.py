"""Closed revisions are decided: facts read, routes matched, work queued, in one transaction.

Enter: a closed revision. Leave: a stored decision with its reasons, and what it causes: jobs for
processors, deliveries of the study itself, or a hold when nothing matched. A decision is by one table
from its facts to its record, whatever table is taken meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.channel import OutboundType
from engine.clock import Clock
from engine.config import Declared, Table
from engine.errors import DatabaseUnavailable
from engine.model import Study
from engine.order import order_key
from engine.overrides import as_step, in_facts
from engine.recorded_study import recorded_study
from engine.route import (
    Decision,
    RouteOutcome,
    decide,
    decision_to_json,
    forwards_of,
    outcome_to_json,
    runs_of,
    with_overrides,
)
from engine.schedule import UTC, waits_for, zone_of
from engine.spool import Spool
from engine.store import identity, lanes, studies, study_orders, work
from engine.store.database import Database
from engine.store.standing import left_standing
from engine.transform import Steps, for_delivery

logger = logging.getLogger("pons.decide")


def lineage(study_id: int, what: str) -> str:
    """What supersedes what: versions of one thing made of one study."""
    return f"{study_id}/{what}"


class Decider:
    """Decides what is closed."""

    def __init__(
        self, database: Database, spool: Spool, clock: Clock, table: Table, on_decided: Callable[[], None]
    ) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock
        self._table = table
        self._on_decided = on_decided
        self._wake = asyncio.Event()

    def take(self, table: Table) -> None:
        """What is decided from now on is decided by this table; what has begun ends by its own."""
        self._table = table

    def wake(self) -> None:
        """A revision may have been closed."""
        self._wake.set()

    async def run(self) -> None:
        """Decide until cancelled."""
        while True:
            try:
                await self.decide_closed()
            except DatabaseUnavailable as error:
                logger.warning("the database is away; trying again", extra={"pons": {"reason": str(error)}})
            except Exception:
                logger.exception("deciding failed; trying again")
            try:
                async with asyncio.timeout(5):  # a slow poll behind the wake-up
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def decide_closed(self) -> int:
        """Decide every closed revision; returns how many there were. One that breaks stops no other."""
        closed = await self._database.read(lambda c: studies.revisions_in(c, "closed"))
        for revision in closed:
            try:
                await self._decide(revision.study_id, revision.revision)
            except DatabaseUnavailable:
                raise
            except Exception:
                where = {"study": revision.study_id, "revision": revision.revision}
                logger.exception("a study could not be decided; trying again", extra={"pons": where})
        if closed:
            self._on_decided()
        return len(closed)

    async def _decide(self, study_id: int, revision: int) -> None:
        table = self._table
        overrides = await self._database.read(lambda c: study_orders.overrides_of(c, study_id, revision))
        study = in_facts(await self.facts(study_id, revision, table), overrides)
        decision = with_overrides(await asyncio.to_thread(decide, study, table), overrides)
        now = self._clock.now()
        if not await self._database.write(lambda c: _record(c, table, study_id, study, decision, now)):
            return
        logger.info(
            "study decided",
            extra={
                "pons": {
                    "study": study_id,
                    "revision": revision,
                    "verdict": decision.verdict,
                    "routes": [hit.route for hit in decision.hits],
                }
            },
        )

    @property
    def base(self) -> Path:
        """The folder that relative paths of the table start from."""
        return self._table.base

    async def facts(self, study_id: int, revision: int, table: Table | None = None) -> Study:
        """What routing may ask of a study revision; headers are read again for new questions.

        Args:
            table: whose questions; those of the table that runs when absent.
        """
        asking = table or self._table
        row = await self._database.read(lambda c: studies.study(c, study_id))
        members = await self._database.read(lambda c: studies.members(c, study_id, revision))
        return await asyncio.to_thread(
            recorded_study, row, members, revision, asking.keywords(), asking.sites, self._spool.path
        )


def _record(
    connection: Connection, table: Table, study_id: int, study: Study, decision: Decision, now: float
) -> bool:
    if not studies.awaits_decision(connection, study_id, study.revision):
        return False  # another process was faster, or an earlier revision comes first
    if study_orders.is_cancelled(connection, study_id, study.revision):
        studies.set_revision_state(connection, study_id, study.revision, "cancelled", now)
        return False
    if study_orders.overrides_of(connection, study_id, study.revision) != decision.overridden:
        return False  # an order was given other metadata meanwhile: at the next look
    work.record_decision(
        connection,
        study_id,
        study.revision,
        decision.table_version,
        decision_to_json(decision),
        now,
    )
    lineages = queue_jobs(connection, study_id, study.revision, decision.hits, now)
    for standing in left_standing(connection, study_id, lineages):
        studies.hold(connection, study_id, study.revision, standing.reason, now)
    _queue_study_deliveries(connection, table, study_id, study, decision, now)
    reasons = [hit.hold for hit in decision.hits if hit.hold is not None]
    if not any(not hit.shadow for hit in decision.hits):
        reasons = reasons or ["no route matched"]
    for reason in dict.fromkeys(reasons):
        studies.hold(connection, study_id, study.revision, reason, now)
    state = "held" if decision.verdict == "held" or reasons else "decided"
    studies.set_revision_state(connection, study_id, study.revision, state, now)
    return True


def _queue_study_deliveries(
    connection: Connection, table: Table, study_id: int, study: Study, decision: Decision, now: float
) -> None:
    def carries_study(destination: str) -> bool:
        return table.outbound[destination].type.carries == "study"

    for hit, sending in forwards_of(decision.hits, carries_study):
        enqueue_delivery(
            connection,
            now,
            study=study,
            study_id=study_id,
            destination=table.outbound[sending.to],
            after=sending.after,
            lineage=lineage(study_id, "study"),
            transform=(*as_step(hit.overrides), *for_delivery(hit.transform, sending.transform)),
            result_id=None,
            status="study",
            schedule=hit.schedule,
            zone=zone_of(table.sites, study.site),
        )


def queue_jobs(
    connection: Connection,
    study_id: int,
    revision: int,
    hits: Sequence[RouteOutcome],
    now: float,
    *,
    route: str | None = None,
) -> set[str]:
    """Queue what the routes want processed; those that ask the same of a processor share one run.

    Returns the lineages that receivers will be sent results of.

    Args:
        route: only the runs that this route has a share in, whole: a run keeps its lineage.
    """
    lineages: set[str] = set()
    for together in runs_of(hits):
        if route is not None and all(hit.route != route for hit in together):
            continue
        first = together[0]
        assert first.process is not None
        told = lineage(study_id, f"{first.process}/{first.route}")
        if not first.shadow:
            lineages.add(told)
        work.queue_job(
            connection,
            job_id=identity.job_id(connection, study_id, revision, told),
            study_id=study_id,
            revision=revision,
            processor=first.process,
            lineage=told,
            outcomes=[outcome_to_json(hit) for hit in together],
            now=now,
        )
    return lineages


def enqueue_delivery(
    connection: Connection,
    now: float,
    *,
    study: Study,
    study_id: int,
    destination: Declared[OutboundType],
    after: Sequence[str],
    lineage: str,
    transform: Steps,
    result_id: str | None,
    status: str,
    schedule: Sequence[str] = (),
    zone: ZoneInfo = UTC,
) -> None:
    """Queue one delivery in its lane (`engine.order`); its identifiers will derive from its id.

    The last gate before a wrong place: what belongs to one site is held rather than queued for a
    destination of another, whatever the table says.

    Args:
        schedule: the windows of its route in which it goes out; at once when empty.
        zone: the site's.
    """
    if destination.settings.site != study.site:
        reason = f"destination {destination.name} belongs to another site; nothing was sent there"
        studies.hold(connection, study_id, study.revision, reason, now)
        return
    order = destination.settings.order
    document = None
    if order == "patient" and result_id is not None:
        document = work.result_document(connection, result_id)
    lanes.enqueue(
        connection,
        now,
        delivery_id=identity.delivery_id(
            connection,
            study_id=study_id,
            revision=study.revision,
            result_id=result_id,
            destination=destination.name,
            lineage=lineage,
            transform=transform,
        ),
        destination=destination.name,
        order_key=order_key(order, study, lineage, document),
        lineage=lineage,
        study_id=study_id,
        study_revision=study.revision,
        result_id=result_id,
        status=status,
        transform=list(transform),
        after=list(after),
        **waits_for(schedule, now, zone),
    )
