"""The composition root: one table becomes one running engine, and another table changes it while it runs.

Start: open the store, migrate it, choose the table, collect what a crash left, build channels and
processors, listen. Change: everything that came from the table is exchanged at once (`Stages.take`). Stop:
take nothing new, let what is under way end, release the rest, close. None of it puts anything at risk that
was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from starlette.types import ASGIApp

from engine.clock import Clock
from engine.config import Table
from engine.data_folder import Tenancy, make_data_folder, tenancy
from engine.disk import Disk
from engine.dispatch import Dispatch
from engine.doors import opened
from engine.errors import ConfigurationError
from engine.first_table import table_to_run
from engine.live_table import LiveTable
from engine.reserve import Reserve
from engine.retention import Retention
from engine.shared_clock import SharedClock
from engine.spool import Spool
from engine.stages import Ground, Stages
from engine.start import clock_of, reserve_of, take_over
from engine.store import look
from engine.store.database import Database, is_shared, locate, open_database
from engine.store.migrate import migrate
from engine.store.watch import DatabaseWatch
from engine.study_context import tolerate_sloppy_values
from engine.tunnel_watch import TunnelWatch
from engine.vital_signs import measured
from engine.web import Front, application, serving

logger = logging.getLogger("pons.run")

DRAIN = 20.0  # seconds that deliveries under way get at shutdown
WORKERS = 64  # threads for what blocks: files, rendering, name lookups; made when needed


class Part(Protocol):
    """What runs behind the intake for as long as the engine does."""

    async def run(self) -> None:
        """Until cancelled, or nothing is left to do."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """What a caller of `running` may ask of the engine."""

    http_port: int
    database: Database
    table: LiveTable


@contextlib.asynccontextmanager
async def running(
    table: Table, clock: Clock | None = None, *, hurry: asyncio.Event | None = None
) -> AsyncIterator[Running]:
    """An engine, up while entered.

    Args:
        table: as read from the file that the engine is given; it runs another one where that was applied
            since (`engine.first_table`).
        hurry: when set, leaving waits for nothing that is under way: it is cut off and comes again.
    """
    tolerate_sloppy_values()
    # Names are looked up in these threads, too: one that nobody answers for must not keep others waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS, "pons-work"))
    data = table.engine.data.absolute()
    make_data_folder(data)
    reserve = reserve_of(data, table)
    url = locate(table.engine)
    node = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    async with tenancy(data, shared=is_shared(url)) as place:
        database = open_database(url)
        try:
            await asyncio.to_thread(migrate, database.engine)
            clock = clock or await clock_of(database, table)
            first = await table_to_run(table, database, data, clock.now(), node)
            live = LiveTable(table, first, database, clock, data, node)
            hurry = hurry or asyncio.Event()
            async with _assembled(live, database, clock, data, node, place, reserve, hurry) as engine:
                yield engine
        finally:
            database.close()


@contextlib.asynccontextmanager
async def _assembled(
    live: LiveTable,
    database: Database,
    clock: Clock,
    data: Path,
    node: str,
    place: Tenancy,
    reserve: Reserve,
    hurry: asyncio.Event,
) -> AsyncIterator[Running]:
    table, settings = live.running, live.running.engine
    spool = Spool(data, max_instance=settings.max_instance, min_free=settings.min_free)
    retention = Retention(database, spool, clock, table.retention, data=data)
    disk = Disk(spool, reserve, settings.min_free, on_low=retention.wake)
    disk.look()
    watch = DatabaseWatch(database)
    await take_over(database, spool, clock, table, alone=place.alone)
    place.started()
    ground = Ground(
        database,
        clock,
        spool,
        data,
        node,
        settings,
        available=lambda: watch.available,
        file=live.file,
        troubles=lambda: disk.reasons + watch.reasons,
    )
    stages = Stages(ground, table, retention, on_taken=lambda: web.show(shown()))
    tunnels = _tunnel_watch(table, database, clock)

    async def readiness() -> list[str]:
        return disk.reasons + watch.reasons + [reason for one in tunnels for reason in one.reasons]

    async def metrics() -> dict[str, float]:
        samples = measured(stages.intake, spool, disk, watch, retention) | live.measured()
        samples |= stages.intake.strangers.measured() | stages.ways.measured()
        for one in tunnels:
            samples |= one.measured()
        if watch.available:
            names = list(stages.table.outbound)
            samples |= await database.read(lambda c: look.metrics(c, names, clock.now()))
        return samples

    def shown() -> ASGIApp:
        return application(stages.routes(), readiness, metrics)

    web = Front(shown())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(spool.close)
        stack.callback(stages.intake.close)
        stack.push_async_callback(live.leave)
        parts: list[Part] = [stages.assembly, stages.decider, stages.processing]
        parts += [stages.intake, stages.intake.sessions, stages.intake.strangers]
        parts += [retention, disk, watch, *tunnels]
        if isinstance(clock, SharedClock):
            parts.append(clock)
        await stack.enter_async_context(_background(parts, stages.dispatch, hurry))
        ways_in = [stages.ways.opened(stages.fitting.ways), _served(web, settings.http)]
        gave = await stack.enter_async_context(opened(ways_in, on_closing=stages.intake.drain, hurry=hurry))
        await stack.enter_async_context(live.following(stages.exchanging))
        port = gave[-1]
        logger.info("engine running", extra={"pons": {"table": table.version, "port": port}})
        yield Running(port, database, live)
        logger.info("engine stopping")


def _tunnel_watch(table: Table, database: Database, clock: Clock) -> list[TunnelWatch]:
    """What tells of the tunnels, where the table has them."""
    if table.tunnel is None:
        return []
    return [TunnelWatch(table.tunnel.folder / "status.json", database, clock)]


@contextlib.asynccontextmanager
async def _served(app: Any, listen: str) -> AsyncIterator[int]:
    server = serving(app, listen)
    try:
        port = await server.__aenter__()
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise ConfigurationError(f"engine.http: {listen} cannot be bound: {why}") from None
    try:
        yield port
    finally:
        await server.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def _background(parts: Sequence[Part], dispatch: Dispatch, hurry: asyncio.Event) -> AsyncIterator[None]:
    """The loops behind the intake; deliveries under way get a moment to end."""
    loops = [asyncio.create_task(supervised(part.run)) for part in parts]
    deliveries_loop = asyncio.create_task(supervised(dispatch.run))
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        dispatch.drain()
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait([deliveries_loop, hurrying], timeout=DRAIN, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        deliveries_loop.cancel()
        await asyncio.gather(deliveries_loop, return_exceptions=True)


async def supervised(run: Callable[[], Awaitable[None]], pause: float = 1.0) -> None:
    """Run until it ends by itself; what breaks it is logged and it starts again after ``pause`` seconds.

    A database that fails for a moment must not leave an engine that takes studies and sends nothing.
    """
    while True:
        try:
            return await run()
        except Exception:
            logger.exception("a part of the engine broke; starting it again")
            await asyncio.sleep(pause)
