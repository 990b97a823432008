"""The composition root: one table becomes one running engine.

Start: open the store, migrate it, collect what a crash left, build channels and processors, listen.
Stop: take nothing new, let what is under way end, release the rest, close. Either way nothing that
was acknowledged depends on this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from starlette.routing import BaseRoute

from engine.artefact_links import ArtefactDoor, ArtefactLinks, installed_exports, signing_key
from engine.assembly import Assembly, Quiet
from engine.channel import (
    HoldsKeys,
    Inbound,
    InboundContext,
    Links,
    Mounted,
    OutboundContext,
    ProcessorContext,
    no_links,
)
from engine.clock import Clock, SteadyClock
from engine.config import Directory, Table
from engine.data_folder import Tenancy, tenancy
from engine.decide import Decider
from engine.disk import Disk
from engine.dispatch import Destination, Dispatch
from engine.doors import opened
from engine.enrolment import EnrolmentDoor
from engine.errors import ConfigurationError
from engine.intake import DurableIntake
from engine.key_set import key_set_route
from engine.processing import Processing
from engine.reserve import Reserve, should_give_up
from engine.retention import Retention
from engine.shared_clock import SharedClock
from engine.spool import Spool
from engine.store import commitment_requests, deliveries, lanes, look, work
from engine.store import destinations as destination_rows
from engine.store.clock_set_back import bring_back
from engine.store.database import Database, is_shared, locate, open_database
from engine.store.migrate import migrate
from engine.store.reconcile import reconcile
from engine.store.watch import DatabaseWatch
from engine.study_context import tolerate_sloppy_values
from engine.tunnel_watch import TunnelWatch
from engine.vital_signs import measured
from engine.web import application, serving

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
    assembly: Assembly


@contextlib.asynccontextmanager
async def running(
    table: Table, clock: Clock | None = None, *, hurry: asyncio.Event | None = None
) -> AsyncIterator[Running]:
    """An engine, up while entered.

    Args:
        hurry: when set, leaving waits for nothing that is under way: it is cut off and comes again.
    """
    tolerate_sloppy_values()
    # Names are looked up in these threads, too: one that nobody answers for must not keep others waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS, "pons-work"))
    data = table.engine.data.absolute()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    reserve = _reserve(data, table)
    url = locate(table.engine)
    async with tenancy(data, shared=is_shared(url)) as place:
        database = open_database(url)
        try:
            await asyncio.to_thread(migrate, database.engine)
            clock = clock or await _clock(database, table)
            hurry = hurry or asyncio.Event()
            async with _assembled(table, clock, data, database, place, reserve, hurry) as engine:
                yield engine
        finally:
            database.close()


@contextlib.asynccontextmanager
async def _assembled(
    table: Table,
    clock: Clock,
    data: Path,
    database: Database,
    place: Tenancy,
    reserve: Reserve,
    hurry: asyncio.Event,
) -> AsyncIterator[Running]:
    node = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    settings = table.engine
    spool = Spool(data, max_instance=settings.max_instance, min_free=settings.min_free)
    retention = Retention(database, spool, clock, table.retention, data=data)
    disk = Disk(spool, reserve, settings.min_free, on_low=retention.wake)
    disk.look()
    watch = DatabaseWatch(database)
    await _take_over(database, spool, clock, table, alone=place.alone)
    links, doors = _artefact_links(table, data, database, clock)
    place.started()

    # Each stage wakes the next; what is made later is looked up when it is needed.
    def decided() -> None:
        processing.wake()
        dispatch.wake()

    decider = Decider(database, spool, clock, table, on_decided=decided)
    processing = Processing(
        database,
        clock,
        table,
        decider,
        {
            name: d.type.build(d.settings, ProcessorContext(name, table.base))
            for name, d in table.processors.items()
        },
        data=data,
        node=node,
        on_result=lambda: dispatch.wake(),
        lease=settings.lease,
    )
    destinations = {
        name: Destination(
            d,
            d.type.build(d.settings, _outbound_context(table, name, data, links)),
            ZoneInfo(table.sites[d.settings.site].timezone),
        )
        for name, d in table.outbound.items()
    }
    dispatch = Dispatch(database, clock, decider, destinations, data=data, node=node, lease=settings.lease)
    intake = DurableIntake(
        spool,
        database,
        clock,
        keywords=table.keywords(),
        keep_versions=table.assembly.on_conflict == "version",
        available=lambda: watch.available,
        node=node,
        lease=settings.lease,
    )
    assembly = Assembly(
        database,
        intake.sessions,
        clock,
        Quiet(table.assembly.stable_after, table.assembly.force_after, table.assembly.on_late),
        on_closed=decider.wake,
    )
    directory = Directory(table.sites)
    channels = {
        name: d.type.build(d.settings, InboundContext(name, directory, settings.max_instance))
        for name, d in table.inbound.items()
    }
    mounted = [route for c in channels.values() if isinstance(c, Mounted) for route in c.routes(intake)]
    mounted += doors
    if table.tunnel is not None:
        mounted.append(EnrolmentDoor(table, database, clock, intake.strangers).route())
    holders = {name: d.channel for name, d in destinations.items() if isinstance(d.channel, HoldsKeys)}
    mounted.append(key_set_route(holders))
    listeners: list[Any] = [c for c in channels.values() if not isinstance(c, Mounted)]

    tunnels = _tunnel_watch(table, database, clock)

    async def readiness() -> list[str]:
        return disk.reasons + watch.reasons + [reason for one in tunnels for reason in one.reasons]

    async def metrics() -> dict[str, float]:
        samples = measured(intake, spool, disk, watch, retention)
        samples |= intake.strangers.measured()
        for one in tunnels:
            samples |= one.measured()
        if watch.available:
            samples |= await database.read(lambda c: look.metrics(c, list(table.outbound), clock.now()))
        return samples

    app = application(mounted, readiness, metrics)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(spool.close)
        stack.callback(intake.close)
        parts: list[Part] = [assembly, decider, processing, intake, intake.sessions, intake.strangers]
        parts += [retention, disk, watch, *tunnels]
        if isinstance(clock, SharedClock):
            parts.append(clock)
        await stack.enter_async_context(_background(parts, dispatch, hurry))
        ways_in = [*(_bound(listener, intake) for listener in listeners), _served(app, settings.http)]
        gave = await stack.enter_async_context(opened(ways_in, on_closing=intake.drain, hurry=hurry))
        port = gave[-1]
        logger.info("engine running", extra={"pons": {"table": table.version, "port": port}})
        yield Running(port, database, assembly)
        logger.info("engine stopping")


def _reserve(data: Path, table: Table) -> Reserve:
    """Before anything is opened: on a full disk, the reserve is what the start itself needs."""
    reserve = Reserve(data / "reserve", table.engine.reserve)
    if should_give_up(free=shutil.disk_usage(data).free, failed=False):
        reserve.give_up()
    return reserve


async def _clock(database: Database, table: Table) -> Clock:
    """Our own clock, or, where several engines must agree, that of the database they share."""
    if not database.shared:
        return SteadyClock()
    shared = SharedClock(database, table.engine.lease)
    await shared.sample()
    return shared


async def _take_over(database: Database, spool: Spool, clock: Clock, table: Table, *, alone: bool) -> None:
    """Before anything runs: settle what an earlier process left, cleanly ended or not.

    Beside living processes only the landings of ended ones go; what those had leased comes due by itself.
    """
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
    stranded = await database.read(lambda c: deliveries.stranded(c, list(table.outbound)))
    for name, count in stranded.items():
        logger.warning(
            "deliveries wait for a destination that the table no longer has",
            extra={"pons": {"destination": name, "count": count}},
        )


def _artefact_links(
    table: Table, data: Path, database: Database, clock: Clock
) -> tuple[Links, list[BaseRoute]]:
    """What makes links for channels, and what opens them; neither without a public address."""
    if table.engine.public_url is None:
        return no_links, []
    key, exports = signing_key(data), installed_exports()
    door = ArtefactDoor(database, clock, data, key, exports)
    return ArtefactLinks(table.engine.public_url, key, exports).links, [door.route()]


def _tunnel_watch(table: Table, database: Database, clock: Clock) -> list[TunnelWatch]:
    """What tells of the tunnels, where the table has them."""
    if table.tunnel is None:
        return []
    return [TunnelWatch(table.tunnel.folder / "status.json", database, clock)]


def _outbound_context(table: Table, name: str, data: Path, links: Links) -> OutboundContext:
    declared = table.outbound[name]
    return OutboundContext(
        name, table.sites[declared.settings.site], table.engine.ae_title, data / "payloads", links
    )


@contextlib.asynccontextmanager
async def _bound(listener: Inbound, intake: DurableIntake) -> AsyncIterator[None]:
    try:
        context = listener.listening(intake)
        await context.__aenter__()
    except OSError as error:
        raise ConfigurationError(f"a channel cannot listen: {error.strerror or error}") from None
    try:
        yield
    finally:
        await context.__aexit__(None, None, None)


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
