"""Claim, deliver, settle: how queued deliveries leave the house.

Enter: due lanes. Leave: acknowledged, retried or dead deliveries, each attempt on record. Every
destination has its own slots, so one that is slow or dead costs the others nothing; a delivery
that waits is a row, not a task. A destination takes nothing while it is paused, in maintenance, or
down but for one probe, and no more than its rate allows; see `engine.store.destinations`.

The destinations are those of the table that runs and may be others at any moment: what is under way ends
by the channel it began with, and what waits for a destination that is gone waits until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection

from engine.attempt import Attempts, Destination, UnderWay
from engine.bundle import Bundle, gather
from engine.channel import Gathers, Outbound
from engine.clock import Clock, at
from engine.commitment import ask_again
from engine.decide import Decider
from engine.errors import DatabaseUnavailable
from engine.rendering import Rendering
from engine.schedule import open_windows, within_hours
from engine.store import destinations
from engine.store.astray import turn_back
from engine.store.database import Database
from engine.store.lanes import Claim
from engine.window import closed_until

__all__ = ["Destination", "Dispatch"]

logger = logging.getLogger("pons.dispatch")

IDLE = 2.0  # seconds between looks when nothing wakes us


class Dispatch:
    """Delivers what is due, one runner a destination."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decider: Decider,
        destinations: Mapping[str, Destination],
        *,
        data: Path,
        node: str,
        lease: float = 60.0,
    ) -> None:
        """
        Args:
            lease: seconds an attempt stays ours unless renewed, which it is while it is under way.
        """
        self._database = database
        self._clock = clock
        self._destinations = dict(destinations)
        self._lease = lease
        self._attempts = Attempts(
            database,
            clock,
            Rendering(database, clock, decider, data),
            lease=lease,
            on_acknowledged=self.wake,
        )
        self._node = node
        self._wakes = defaultdict[str, asyncio.Event](asyncio.Event)
        # Even where the table asks nobody to commit any more: what was asked under an earlier one waits.
        self._ages = _ages(self._destinations)
        self._changed = asyncio.Event()
        self._draining = False
        self._drained = asyncio.Event()

    def take(self, destinations: Mapping[str, Destination]) -> None:
        """Deliver by these from now on; one that is the same object goes on as if nothing had happened."""
        self._destinations = dict(destinations)
        self._ages.update(_ages(self._destinations))
        self._changed.set()
        self.wake()

    def wake(self) -> None:
        """A delivery may have been queued or a lane come free."""
        for event in list(self._wakes.values()):
            event.set()

    def drain(self) -> None:
        """Claim nothing more; `run` ends when what is under way has ended."""
        self._draining = True
        self._drained.set()
        self._changed.set()
        self.wake()

    async def run(self) -> None:
        """Deliver until drained or cancelled."""
        async with asyncio.TaskGroup() as runners:
            runners.create_task(ask_again(self._database, self._clock, self._ages, self._drained, self.wake))
            runners.create_task(open_windows(self._database, self._clock, self._drained, self.wake))
            running: dict[str, asyncio.Task[None]] = {}
            while not self._draining:
                self._changed.clear()
                for name in self._destinations:
                    if name not in running or running[name].done():
                        running[name] = runners.create_task(self._run_destination(name))
                await self._changed.wait()

    async def _run_destination(self, name: str) -> None:
        """Deliver to one destination for as long as there is a table that has it."""
        under_way: set[asyncio.Task[None]] = set()
        wake = self._wakes[name]
        try:
            while not self._draining:
                wake.clear()  # before we look: what comes meanwhile is seen at the next look
                destination = self._destinations.get(name)
                if destination is None:
                    if not under_way:
                        return
                    await wake.wait()
                    continue
                free = _free(destination, len(under_way))
                started, again_at = await self._claim(name, destination, free) if free else ([], None)
                for one in started:
                    task = asyncio.create_task(self._attempts.make(one))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    task.add_done_callback(lambda done: self._has_ended(done, wake))
                if not started:
                    await self._rest(wake, again_at)
        finally:
            await _ended(under_way, cancel=not self._draining)

    async def _claim(
        self, name: str, destination: Destination, free: int
    ) -> tuple[list[UnderWay], float | None]:
        """What we take now, or when to look again; None: in a while, or when woken."""
        settings, now = destination.declared.settings, self._clock.now()
        until = asyncio.get_running_loop().time() + self._lease
        if self._attempts.unwritten:  # first what was answered: its lanes may look abandoned
            return [], None
        closed = closed_until(settings.maintenance, at(now), destination.zone)
        if closed is not None:
            return [], closed.timestamp()
        try:
            standing = await self._database.read(lambda c: destinations.standing(c, name))
            again_at = standing.look_again_at(settings.rate, now)
            if again_at is None or again_at > now:
                return [], again_at

            channel = destination.channel

            def take(connection: Connection) -> tuple[Sequence[Claim], bool, Mapping[str, Bundle]]:
                claims, probe = destinations.claim(
                    connection,
                    name,
                    self._node,
                    now,
                    self._lease,
                    free,
                    settings.rate,
                    whole=gathers(channel),
                )
                own = turn_back(connection, claims, name, settings.site, now)
                own = within_hours(connection, own, now, destination.zone)
                if isinstance(channel, Gathers) and channel.most > 1:
                    gathered = gather(connection, own, channel, now, destination.zone, one=probe)
                    return gathered.claims, probe, gathered.bundles
                return own, probe, {}

            claims, probe, bundles = await self._database.write(take)
        except DatabaseUnavailable as error:
            extra = {"pons": {"destination": name, "reason": str(error)}}
            logger.warning("nothing claimed: the database is away", extra=extra)
            return [], None
        except Exception:
            logger.exception("claiming failed; trying again", extra={"pons": {"destination": name}})
            return [], None
        return [
            UnderWay(destination, claimed, probe, until, bundles.get(claimed.delivery.delivery_id))
            for claimed in claims
        ], None

    def _has_ended(self, task: asyncio.Task[None], wake: asyncio.Event) -> None:
        wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # What it came to is not on record: it goes again when its lease ends, which nobody renews.
            logger.error("an attempt broke", exc_info=error)

    async def _rest(self, wake: asyncio.Event, again_at: float | None) -> None:
        wait = IDLE if again_at is None else min(IDLE, max(0.001, again_at - self._clock.now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await wake.wait()


def gathers(channel: Outbound) -> bool:
    """Whether deliveries go together there."""
    return isinstance(channel, Gathers) and channel.most > 1


def _free(destination: Destination, under_way: int) -> int:
    """How many more deliveries may begin."""
    channel = destination.channel
    if isinstance(channel, Gathers) and channel.most > 1:
        return 0 if under_way else int(channel.most)  # one bundle after the other
    most: int = destination.declared.settings.concurrency
    return max(0, most - under_way)


def _ages(destinations: Mapping[str, Destination]) -> dict[str, float]:
    """Seconds at which each gives a delivery up."""
    return {name: one.declared.settings.retry.give_up_after for name, one in destinations.items()}


async def _ended(tasks: set[asyncio.Task[None]], *, cancel: bool) -> None:
    """Wait for attempts under way; when we are cancelled meanwhile, until they have given back theirs."""
    for task in tasks if cancel else ():
        task.cancel()
    try:
        await asyncio.gather(*tasks, return_exceptions=True)  # cancels them when it is cancelled
    except asyncio.CancelledError:
        if tasks:
            await asyncio.wait(tasks)
        raise
