"""A clock that cannot jump."""

from __future__ import annotations

import time

from engine.clock import SteadyClock, counted


def test_what_happens_to_the_wall_clock_later_changes_nothing() -> None:
    wall, steady = [5000.0], [100.0]
    clock = SteadyClock(lambda: wall[0], lambda: steady[0])
    assert clock.now() == 5000
    wall[0] -= 3600
    steady[0] += 7
    assert clock.now() == 5007


def test_what_is_counted_goes_on_while_the_machine_is_suspended() -> None:
    assert abs(counted() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 10
