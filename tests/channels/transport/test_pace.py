"""How slow is too slow: tables of what came after how much waiting."""

from __future__ import annotations

import pytest

from channels.transport.pace import Pace


@pytest.mark.parametrize(
    ("came", "verdicts"),
    [
        ([(59.0, 0)], [False]),  # within the window nothing is said
        ([(60.0, 60_000)], [False]),  # just fast enough
        ([(60.0, 59_999)], [True]),  # just not
        ([(30.0, 1), (31.0, 1)], [False, True]),  # a byte now and then
        ([(1.0, 1 << 30), (59.0, 0), (60.0, 0)], [False, False, True]),  # fast at first buys nothing later
        ([(60.0, 60_000), (60.0, 60_000), (60.0, 0)], [False, False, True]),
        ([(300.0, 299_999)], [True]),  # a long wait is held to the same rate
        ([(0.0, 0)] * 1000, [False] * 1000),  # nothing came, but nobody waited either
    ],
)
def test_a_rate_is_kept_up_in_every_window_of_waiting(
    came: list[tuple[float, int]], verdicts: list[bool]
) -> None:
    pace = Pace(1000, 60.0)
    assert [pace.is_too_slow(waited, size) for waited, size in came] == verdicts


def test_another_message_begins_anew() -> None:
    pace = Pace(1000, 60.0)
    assert not pace.is_too_slow(59.0, 0)
    pace.restart()
    assert not pace.is_too_slow(59.0, 0)
    assert pace.is_too_slow(1.0, 0)


def test_no_rate_is_no_limit() -> None:
    assert not Pace(0, 60.0).is_too_slow(1e9, 0)
