"""What time it is: wall clock that cannot jump.

Leases, retries and quiet periods are stored as times. A clock set back by an hour must not strand
them, so wall time is read once and carried forward by the monotonic clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, never running backwards."""

    def now(self) -> float:
        """The current time in seconds since 1970-01-01 UTC."""
        ...


class SteadyClock:
    """Wall time at construction plus monotonic time since."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The current time in seconds since 1970-01-01 UTC."""
        return self._offset + time.monotonic()


def at(seconds: float) -> datetime:
    """An aware UTC datetime for stored seconds."""
    return datetime.fromtimestamp(seconds, UTC)
