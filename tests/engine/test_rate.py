"""The pace of a destination: never faster than its rate, never slower for want of an exact clock."""

from __future__ import annotations

import random

import pytest

from engine.rate import TOLERANCE, after_taking, free_slots
from engine.settings import parse_rate


def begin(rate: float, moments: list[float], wanted: int = 100) -> list[float]:
    """When deliveries begin, if somebody looks at these moments."""
    begun: list[float] = []
    next_slot_at = 0.0
    for now in moments:
        taken = min(wanted, free_slots(rate, next_slot_at, now))
        next_slot_at = after_taking(rate, next_slot_at, now, taken)
        begun += [now] * taken
    return begun


@pytest.mark.parametrize(("text", "rate"), [("10/s", 10.0), ("120/m", 2.0), ("3600/h", 1.0), ("0.5/s", 0.5)])
def test_a_rate_is_kept_over_any_span(text: str, rate: float) -> None:
    assert parse_rate(text) == rate
    dice = random.Random(7)
    now, moments = 1000.0, []
    while now < 1120.0:  # a busy engine looks at uneven moments
        now += dice.expovariate(50)
        moments.append(now)
    begun = begin(rate, moments)

    for first in range(len(begun)):
        for last in range(first, min(len(begun), first + 40)):
            span = begun[last] - begun[first]
            assert last - first + 1 <= rate * (span + TOLERANCE) + 1 + 1e-6
    assert len(begun) >= 0.97 * rate * 120, "slots missed by a late look are made up for"


def test_a_long_rest_saves_up_no_burst() -> None:
    assert free_slots(10, 1000.0, 5000.0) == 2
    assert free_slots(1, 1000.0, 5000.0) == 1


def test_slots_that_nothing_took_stay_free() -> None:
    assert after_taking(10, 1000.0, 5000.0, 0) == 1000.0
    one = after_taking(10, 0.0, 5000.0, 1)

    assert free_slots(10, one, 5000.0) == 1


def test_a_slot_comes_at_its_time() -> None:
    next_slot_at = after_taking(2, 0.0, 100.0, free_slots(2, 0.0, 100.0))

    assert free_slots(2, next_slot_at, next_slot_at - 0.001) == 0
    assert free_slots(2, next_slot_at, next_slot_at) == 1
