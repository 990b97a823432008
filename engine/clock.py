"""What time it is: wall clock that cannot jump.

Leases, retries and quiet periods are stored as times. A clock set back by an hour must not strand
them, so wall time is read once and carried forward by a clock that only counts: the one that counts
on while the machine is suspended, where there is one. What a clock set back between two runs leaves
in the future is for `engine.store.clock_set_back`. Engines that share a database take its time
instead of their own (`engine.shared_clock`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, never running backwards."""

    def now(self) -> float:
        """The current time in seconds since 1970-01-01 UTC."""
        ...


def counted() -> float:
    """Seconds since some moment, at one pace whatever becomes of the wall clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """Wall time at construction plus what has been counted since."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = counted) -> None:
        """
        Args:
            wall: seconds since the epoch; read once.
            steady: seconds that only count up.
        """
        self._steady = steady
        self._offset = wall() - steady()

    def now(self) -> float:
        """The current time in seconds since 1970-01-01 UTC."""
        return self._offset + self._steady()


def at(seconds: float) -> datetime:
    """An aware UTC datetime for stored seconds."""
    return datetime.fromtimestamp(seconds, UTC)
