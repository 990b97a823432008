"""A client's requests in the long run and in a burst, by a clock that the test turns."""

from __future__ import annotations

from channels.inbound.rest_gate import Buckets


def test_a_burst_passes_and_the_long_run_is_kept() -> None:
    now = [100.0]
    buckets = Buckets(5.0, lambda: now[0])
    assert [buckets.take("his") for _ in range(10)] == [0.0] * 10  # twice what a second has
    assert buckets.take("his") == 0.2
    assert buckets.take("ris") == 0.0  # nobody pays for another
    now[0] += 0.2
    assert buckets.take("his") == 0.0
    assert buckets.take("his") > 0
    now[0] += 3600
    assert sum(buckets.take("his") == 0.0 for _ in range(20)) == 10


def test_who_has_not_asked_for_long_is_forgotten_and_who_has_is_not() -> None:
    now = [0.0]
    buckets = Buckets(0.5, lambda: now[0])
    for number in range(10_000):
        assert buckets.take(f"early {number}") == 0.0
    now[0] += 10
    assert buckets.take("late") == 0.0
    assert buckets.take("late") > 0
    assert len(buckets) == 1


def test_less_than_one_request_a_second_lets_one_through() -> None:
    now = [0.0]
    buckets = Buckets(0.1, lambda: now[0])
    assert (buckets.take("his"), buckets.take("his")) == (0.0, 10.0)
    now[0] += 10
    assert buckets.take("his") == 0.0
