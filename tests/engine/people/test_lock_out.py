"""How long somebody who guesses has to wait: tables of times, then any sequence of times."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.people.lock_out import FORGOTTEN, NONE, Tries, charged, current, given_back, until, wait
from engine.people_section import LockOutSettings

POLICY = LockOutSettings()
MOST = POLICY.failures
BEGAN = 1_700_000_000.0


def tried(*times: float, tries: Tries = NONE) -> Tries:
    for at in times:
        tries = charged(tries, BEGAN + at, MOST, POLICY)
    return tries


@pytest.mark.parametrize(
    ("times", "then", "seconds"),
    [
        ((0, 1, 2, 3), 4, 0),  # four are forgiven
        ((0, 1, 2, 3, 4), 4, 60),  # the fifth locks for a minute
        ((0, 1, 2, 3, 4), 63, 1),
        ((0, 1, 2, 3, 4), 64, 0),
        ((0, 1, 2, 3, 901), 901, 0),  # the first counts no more after a quarter of an hour
        ((0, 1, 2, 3, 4, 64, 65, 66, 67), 67, 0),  # a lock is served: five more
        ((0, 1, 2, 3, 4, 64, 65, 66, 67, 68), 68, 120),  # and then for twice as long
        ((0, 1, 2, 3, 4, 90000, 90001, 90002, 90003, 90004), 90004, 60),  # after a day it is the first again
    ],
)
def test_how_long_it_takes_until_a_try_is_looked_at(
    times: tuple[float, ...], then: float, seconds: float
) -> None:
    assert wait(tried(*times), BEGAN + then) == seconds


def test_a_lock_never_lasts_longer_than_the_longest() -> None:
    tries, at = NONE, 0.0
    waits = []
    for _ in range(40):
        tries = tried(*(at + step for step in range(MOST)), tries=tries)
        waits.append(wait(tries, BEGAN + at + MOST - 1))
        at += MOST - 1 + waits[-1]
    assert waits[:7] == [60, 120, 240, 480, 960, 1920, 3600]
    assert set(waits[6:]) == {3600}


def test_a_try_that_was_right_counts_no_more_and_those_before_it_do() -> None:
    four, five = tried(0, 1, 2, 3), tried(0, 1, 2, 3, 4)
    assert wait(five, BEGAN + 4) == 60
    assert given_back(five, BEGAN + 4) == four  # the lock was its own
    assert given_back(four, BEGAN + 4) == four
    assert wait(charged(given_back(five, BEGAN + 4), BEGAN + 5, MOST, POLICY), BEGAN + 5) == 60


def test_of_a_hundred_at_once_a_few_are_looked_at() -> None:
    tries, looked_at = NONE, 0
    for _ in range(100):
        if not wait(tries, BEGAN):
            tries, looked_at = charged(tries, BEGAN, MOST, POLICY), looked_at + 1
    assert looked_at == MOST


steps = st.lists(st.floats(0, 5000, allow_nan=False), min_size=1, max_size=120)
policies = st.builds(
    LockOutSettings,
    failures=st.integers(3, 20),
    within=st.sampled_from(["1m", "15m", "24h"]),
    first=st.sampled_from(["1s", "1m", "10m"]),
    longest=st.sampled_from(["10m", "1h", "24h"]),
)


@settings(max_examples=200, deadline=None)
@given(steps, policies)
def test_whatever_is_tried_a_lock_comes_in_time_and_ends(gaps: list[float], policy: LockOutSettings) -> None:
    """Who tries whenever he is let: never more than so many within a while, and never shut out for ever."""
    tries, now, looked_at = NONE, BEGAN, list[float]()
    for gap in gaps:
        now += gap
        waits = wait(tries, now)
        assert 0 <= waits <= policy.longest
        if waits:
            continue
        looked_at.append(now)
        tries = charged(tries, now, policy.failures, policy)
        assert len(tries.failures) <= policy.failures
        assert until(tries, policy) > now
    spans = zip(looked_at, itertools.islice(looked_at, policy.failures, None), strict=False)
    assert all(later - first >= min(policy.first, policy.within) for first, later in spans)
    quiet = until(tries, policy)
    assert not current(tries, quiet, policy).any  # what is forgotten at its end counted no more


@settings(max_examples=200, deadline=None)
@given(steps, st.data())
def test_one_that_is_right_leaves_what_there_was(gaps: list[float], data: st.DataObject) -> None:
    tries, now = NONE, BEGAN
    for gap in gaps:
        now += gap
        if not wait(tries, now):
            tries = charged(tries, now, MOST, POLICY)
    now += data.draw(st.floats(3601, 2 * FORGOTTEN))
    before = current(tries, now, POLICY)
    assert given_back(charged(tries, now, MOST, POLICY), now) == Tries(
        before.failures, before.locks, *((0.0, 0.0) if len(before.failures) == MOST - 1 else
                                         (before.locked_at, before.locked_until)),
    )  # fmt: skip
