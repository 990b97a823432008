"""Storage commitment: what the engine promises to sites, and what it hears from destinations.

As provider (PS3.4 J.3, SCP): a request is recorded, and answered when its report is sent, by what is
on the disk at that moment: committed is what is recorded and there in full; 0112 what is not here,
0110 what is recorded and cannot be read, 0119 what is here under another SOP Class. As user: a
report moves on the delivery it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable
from engine.model import CommitmentReport, CommitmentRequest, OwedReport
from engine.retry import next_attempt
from engine.settings import Retry
from engine.spool import Spool
from engine.store import commitment_requests, commitments
from engine.store.database import Database

logger = logging.getLogger("pons.commitment")

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
RETRY = Retry()  # a report that cannot be sent is owed for three days
OVERDUE = 5.0  # seconds between looks for deliveries to ask about again


class Commitments:
    """The engine's `engine.channel.CommitmentDesk`."""

    def __init__(self, database: Database, spool: Spool, clock: Clock) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock

    async def requested(self, request: CommitmentRequest, *, hold: float = 0.0) -> None:
        """A site asks whether its instances are safe; durable on return."""
        now = self._clock.now()
        try:
            await self._database.write(lambda c: commitment_requests.record(c, request, now, hold))
        except DatabaseUnavailable as error:
            raise Busy(str(error), storage_full=error.storage_full) from None
        logger.info(
            "storage commitment requested",
            extra={
                "pons": {
                    "site": request.site,
                    "inbound": request.inbound,
                    "calling_ae_title": request.calling_ae_title,
                    "transaction_uid": request.transaction_uid,
                    "instances": len(request.references),
                }
            },
        )

    async def claim(self, site: str, transaction_uid: str) -> OwedReport | None:
        """The report on one transaction, answered at this moment."""
        now = self._clock.now()
        row = await self._database.write(lambda c: commitment_requests.claim(c, site, transaction_uid, now))
        return None if row is None else await self._answered(row)

    async def owed(self, inbound: str, limit: int) -> Sequence[OwedReport]:
        """The reports that are due to be sent by this inbound channel, each answered at this moment."""
        now = self._clock.now()
        if not await self._database.read(lambda c: commitment_requests.is_due(c, inbound, now)):
            return []
        rows = await self._database.write(lambda c: commitment_requests.claim_owed(c, inbound, now, limit))
        return [await self._answered(row) for row in rows]

    async def sent(self, report: OwedReport) -> None:
        """The site has taken this report."""
        now, failed = self._clock.now(), report.report.failed
        await self._database.write(lambda c: commitment_requests.finish(c, report, now))
        reasons = ", ".join(f"{code:04X}" for code in sorted({code for _, _, code in failed}))
        logger.log(
            logging.WARNING if failed else logging.INFO,
            "storage commitment reported",
            extra={
                "pons": {
                    **_facts(report),
                    "instances": len(report.report.committed),
                    **({"count": len(failed), "reason": reasons} if failed else {}),
                }
            },
        )

    async def not_sent(
        self, report: OwedReport, why: str, *, again: Literal["later", "at once", "never"] = "later"
    ) -> None:
        """The site has not taken it: owed again later, given up in the end."""
        now = self._clock.now()
        row = await self._database.read(lambda c: commitment_requests.request(c, report.request_id))
        if row is None:
            return
        due_at = {
            "at once": now,
            "never": None,
            "later": next_attempt(
                RETRY,
                attempt=report.attempt,
                created_at=row.requested_at,
                now=now,
                random=random.random(),  # noqa: S311 jitter, not a secret
            ),
        }[again]
        ours = await self._database.write(
            lambda c: commitment_requests.postpone(c, report, due_at, why[:2000])
        )
        if ours and again != "at once":
            logger.warning(
                "storage commitment report not sent" if due_at else "storage commitment report given up",
                extra={"pons": {**_facts(report), "attempt": report.attempt, "reason": why}},
            )

    async def reported(self, site: str, report: CommitmentReport) -> bool:
        """A peer of a site reports on what we asked of it; whether it is about one of ours."""
        now = self._clock.now()
        return await self._database.write(lambda c: commitments.apply(c, site, report, now))

    async def _answered(self, row: Any) -> OwedReport:
        references = [(str(sop_class), str(uid)) for sop_class, uid in row.references]
        uids = [uid for _, uid in references]
        kept = await self._database.read(lambda c: commitment_requests.kept(c, row.site, uids))
        report = await asyncio.to_thread(self._judge, row.transaction_uid, references, kept)
        return OwedReport(
            request_id=row.id,
            site=row.site,
            calling_ae_title=row.calling_ae_title,
            called_ae_title=row.called_ae_title,
            attempt=row.attempts,
            report=report,
        )

    def _judge(
        self, transaction_uid: str, references: list[tuple[str, str]], kept: Sequence[Any]
    ) -> CommitmentReport:
        by_uid: dict[str, list[Any]] = {}
        for row in kept:
            by_uid.setdefault(row.sop_instance_uid, []).append(row)
        committed: list[tuple[str, str]] = []
        failed: list[tuple[str, str, int]] = []
        for sop_class, uid in references:
            mine = by_uid.get(uid, [])
            of_class = [row for row in mine if row.sop_class_uid == sop_class]
            if not mine:
                failed.append((sop_class, uid, NO_SUCH_OBJECT_INSTANCE))
            elif not of_class:
                failed.append((sop_class, uid, CLASS_INSTANCE_CONFLICT))
            elif not all(self._spool.holds(row.path, row.size) for row in of_class):
                failed.append((sop_class, uid, PROCESSING_FAILURE))
            else:
                committed.append((sop_class, uid))
        return CommitmentReport(transaction_uid, tuple(committed), tuple(failed))


async def ask_again(
    database: Database,
    clock: Clock,
    give_up_after: Mapping[str, float],
    drained: asyncio.Event,
    on_moved: Callable[[], None],
) -> None:
    """Deliveries whose report is overdue, or that were denied, go out again when it is time; until drained.

    Args:
        give_up_after: seconds of age, by destination, past which one is a dead letter.
        on_moved: called when some came due.
    """
    while not drained.is_set():
        moved = 0
        try:
            expire = partial(commitments.expire, now=clock.now(), give_up_after=give_up_after)
            moved = await database.write(expire)
        except DatabaseUnavailable as error:
            logger.warning("storage commitments not looked at", extra={"pons": {"reason": str(error)}})
        if moved:
            logger.info("storage commitments asked for again", extra={"pons": {"count": moved}})
            on_moved()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OVERDUE):
                await drained.wait()


def _facts(report: OwedReport) -> dict[str, str]:
    return {
        "site": report.site,
        "calling_ae_title": report.calling_ae_title,
        "transaction_uid": report.report.transaction_uid,
    }
