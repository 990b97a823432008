"""The time that engines on one database agree on: that of the database, whatever their own clocks say.

Enter: samples of the database's clock. Leave: its time at any moment, carried from sample to sample by
a clock that only counts. Where samples differ by little it never runs backwards. Where the database's
clock was set, all follow it, so that a lease means the same to each; what a clock set back leaves in
the future is brought back.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial

from engine.clock import counted
from engine.errors import DatabaseUnavailable
from engine.store.clock_set_back import bring_back, database_time
from engine.store.database import Database

logger = logging.getLogger("pons.clock")

EVERY = 15.0  # seconds between samples
STEP = 2.0  # seconds; a larger difference is a clock that was set, not one that drifts


class SharedClock:
    """An `engine.clock.Clock` on the time of a database; take a `sample` before the first use."""

    def __init__(self, database: Database, lease: float, steady: Callable[[], float] = counted) -> None:
        """
        Args:
            lease: seconds that what is claimed stays its owner's.
        """
        self._database = database
        self._lease = lease
        self._steady = steady
        self._offset: float | None = None
        self._not_before = -math.inf

    def now(self) -> float:
        """The current time in seconds since 1970-01-01 UTC."""
        assert self._offset is not None, "no sample was taken yet"
        return max(self._not_before, self._offset + self._steady())

    async def sample(self) -> float:
        """Read the database's clock; by how many seconds it is ahead of what we thought."""
        began = self._steady()
        told = await self._database.read(database_time)
        offset = told - (began + self._steady()) / 2
        ahead = 0.0 if self._offset is None else offset - self._offset
        self._not_before = self.now() if -STEP < ahead < 0 else -math.inf
        self._offset = offset
        return ahead

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                ahead = await self.sample()
                if ahead <= -STEP:
                    back = partial(bring_back, now=self.now(), lease=self._lease)
                    await self._database.write(back)
            except DatabaseUnavailable:
                continue  # counted on meanwhile
            if abs(ahead) >= STEP:
                logger.warning("the database's clock was set", extra={"pons": {"seconds": round(ahead)}})
