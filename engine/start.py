"""What a start settles before anything runs: room on the disk, one clock, what an earlier process left.

Enter: a table, an open database, a spool. Leave: nothing half-written, no lease of a process that is gone
where this one is alone, and a word on deliveries that wait for a destination that is no longer there.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from engine.clock import Clock, SteadyClock
from engine.reserve import Reserve, should_give_up
from engine.shared_clock import SharedClock
from engine.spool import Spool
from engine.store import commitment_requests, deliveries, lanes, work
from engine.store import destinations as destination_rows
from engine.store.clock_set_back import bring_back
from engine.store.database import Database
from engine.store.reconcile import reconcile
from engine.store.recovery import recover
from engine.table import Table

logger = logging.getLogger("pons.run")


def reserve_of(data: Path, table: Table) -> Reserve:
    """Before anything is opened: on a full disk, the reserve is what the start itself needs."""
    reserve = Reserve(data / "reserve", table.engine.reserve)
    if should_give_up(free=shutil.disk_usage(data).free, failed=False):
        reserve.give_up()
    return reserve


async def clock_of(database: Database, table: Table) -> Clock:
    """Our own clock, or, where several engines must agree, that of the database they share."""
    if not database.shared:
        return SteadyClock()
    shared = SharedClock(database, table.engine.lease)
    await shared.sample()
    return shared


async def take_over(database: Database, spool: Spool, clock: Clock, table: Table, *, alone: bool) -> None:
    """Before anything runs: settle what an earlier process left, cleanly ended or not.

    Beside living processes only the landings of ended ones go; what those had leased comes due by itself.
    """
    await asyncio.to_thread(recover, database, spool)
    removed = spool.collect_leftovers()
    if alone:
        removed += await asyncio.to_thread(reconcile, database, spool)
        now = clock.now()
        set_back_by = await database.write(lambda c: bring_back(c, now, table.engine.lease))
        if set_back_by:
            what = "the clock was set back since the last run; what waits comes due as much earlier"
            logger.warning(what, extra={"pons": {"seconds": round(set_back_by)}})
        await database.write(lambda c: lanes.free_all(c, now))
        await database.write(lambda c: work.free_jobs(c, now))
        await database.write(lambda c: commitment_requests.due_now(c, now))
        await database.write(lambda c: destination_rows.free_probes(c, now))
    if removed:
        what = "unfinished or unrecorded instances of an earlier run removed; none was acknowledged"
        logger.warning(what, extra={"pons": {"count": removed}})
    await tell_of_stranded(database, table)


async def tell_of_stranded(database: Database, table: Table) -> None:
    """Deliveries queued for destinations that a table has not: they wait until one has them again."""
    stranded = await database.read(lambda c: deliveries.stranded(c, list(table.outbound)))
    for name, count in stranded.items():
        logger.warning(
            "deliveries wait for a destination that the table no longer has",
            extra={"pons": {"destination": name, "count": count}},
        )
