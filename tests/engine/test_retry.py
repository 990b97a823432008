"""When the next attempt is: a table of cases."""

from __future__ import annotations

import pytest

from engine.retry import next_attempt
from engine.settings import Retry

POLICY = Retry.model_validate({"first": "10s", "factor": 2, "cap": "100s", "give_up_after": "1000s"})


@pytest.mark.parametrize(
    ("attempt", "now", "random", "after", "expected"),
    [
        (1, 0, 0.0, None, 10),  # the first wait, unjittered
        (1, 0, 1.0, None, 5),  # jitter takes up to a half
        (2, 0, 0.0, None, 20),
        (4, 0, 0.0, None, 80),
        (5, 0, 0.0, None, 100),  # capped
        (5000, 0, 0.0, None, 100),  # and never an overflow
        (1, 0, 0.0, 60, 60),  # the peer asked for more
        (1, 0, 0.0, 1, 10),  # or for less: our own wait holds
        (5, 950, 0.0, None, 1000),  # the last try comes at the age limit
        (1, 0, 0.0, 1e9, 1000),  # no Retry-After reaches beyond it
        (5, 1000, 0.0, None, None),  # given up
    ],
)
def test_next_attempt(
    attempt: int, now: float, random: float, after: float | None, expected: float | None
) -> None:
    assert (
        next_attempt(POLICY, attempt=attempt, created_at=0, now=now, random=random, after=after) == expected
    )
