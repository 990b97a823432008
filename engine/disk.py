"""The disk is watched: the engine says when it is low or full, shuts intake, and opens it again by itself.

Enter: free bytes, a few times a second; word of writes that failed for want of space. Leave: one log
line at each change of state, the reserve given up and taken back, the reasons that `/readyz` gives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum

from engine.reserve import Reserve, should_give_up, should_take
from engine.spool import Spool

logger = logging.getLogger("pons.disk")

EVERY = 0.5  # seconds between two looks


class State(StrEnum):
    """What the disk allows."""

    ROOMY = "roomy"
    LOW = "low"  # below the watermark: nothing new is taken in
    FULL = "full"  # and the reserve is given up


REASONS = {
    State.LOW: "the disk is below its watermark: instances are refused until space is free",
    State.FULL: "the disk is full and the reserve given up: instances are refused until space is free",
}


class Disk:
    """The watch over one data folder."""

    def __init__(self, spool: Spool, reserve: Reserve, min_free: int, *, on_low: Callable[[], None]) -> None:
        """
        Args:
            on_low: called at each look that finds the disk low or full.
        """
        self._spool = spool
        self._reserve = reserve
        self._min_free = min_free
        self._on_low = on_low
        self.state = State.ROOMY

    @property
    def reasons(self) -> list[str]:
        """Why the disk keeps instances out; empty when it does not."""
        return [REASONS[self.state]] if self.state in REASONS else []

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(EVERY)

    def look(self) -> State:
        """Look once and do what follows from it."""
        free, failed = self._spool.look_again(), self._spool.take_failure()
        reserve = self._reserve
        if reserve.held:
            if reserve.size and should_give_up(free=free, failed=failed):
                reserve.give_up()
        elif not failed and should_take(free=free, size=reserve.size):
            reserve.take()
        if not reserve.held:
            state = State.FULL
        elif failed or self._spool.look_again() < self._min_free:
            state = State.LOW
        else:
            state = State.ROOMY
        self._spool.shut = state is not State.ROOMY
        self._tell(state)
        if state is not State.ROOMY:
            self._on_low()
        return state

    def _tell(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        told = {"pons": {"bytes": self._spool.free}}
        if state is State.FULL:
            logger.error("disk full: the reserve is given up, instances are refused", extra=told)
        elif state is State.LOW:
            logger.error("disk below its watermark: instances are refused", extra=told)
        else:
            logger.warning("disk has space again: instances are taken in", extra=told)
