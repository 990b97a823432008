"""A minute in which everything breaks, on each database: no promise of the engine does.

Real engine processes, senders and receivers, see `bench/faults`; the ten-minute form is
`make bench NAME=faults`.
"""

from __future__ import annotations

import pytest

from bench.faults.__main__ import SHORT, told
from bench.faults.plan import NODE_FAULTS
from bench.faults.rig import EXPECTED, Kind, run

pytestmark = pytest.mark.faults

SEED = 20260301  # which faults, in which order; what they meet is up to the machine


@pytest.mark.parametrize(
    ("kind", "of_this_kind"), [("sqlite", set[str]()), ("postgres", {"database"})], ids=["sqlite", "postgres"]
)
def test_nothing_is_lost_overtaken_stuck_or_twice_unrecognisably(kind: Kind, of_this_kind: set[str]) -> None:
    outcome = run(kind, SHORT * 60, SEED)

    assert outcome.good, told(outcome)
    assert set(outcome.faults) == {*NODE_FAULTS, "disk", "weather"} | of_this_kind, "mounting needs root"
    assert outcome.verdict.acknowledged > 20, "hardly anything was sent while everything broke"
    assert outcome.verdict.delivered > len(EXPECTED)
    assert outcome.verdict.duplicates > 0, "no fault fell between a receipt and its answer"
