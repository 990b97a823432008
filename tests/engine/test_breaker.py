"""The circuit of a destination, one step after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.breaker import CLOSED, HALF_OPEN, OPEN, Circuit, Evidence, judged, probing, wait
from engine.settings import Breaker

POLICY = Breaker(failures=3, open_for="10s", cap="60s")
ANSWERED, FAILED, NONE = Evidence.ANSWERED, Evidence.FAILED, Evidence.NONE
DOWN = Circuit(OPEN, failures=3, opened_at=100.0, probe_at=110.0, openings=1)
TRYING = probing(DOWN, lease_ends_at=170.0)


def after(*evidence: Evidence, circuit: Circuit | None = None) -> Circuit:
    circuit = circuit or Circuit()
    for one in evidence:
        circuit = judged(circuit, POLICY, one, 100.0, probe=False)
    return circuit


@pytest.mark.parametrize(
    ("evidence", "state", "failures"),
    [
        ([FAILED, FAILED], CLOSED, 2),
        ([FAILED, FAILED, FAILED], OPEN, 3),
        ([FAILED, FAILED, ANSWERED, FAILED, FAILED], CLOSED, 2),  # in a row
        ([FAILED, NONE, FAILED, NONE, FAILED], OPEN, 3),  # what never asked the peer interrupts nothing
        ([NONE] * 9, CLOSED, 0),
    ],
)
def test_it_opens_after_failures_in_a_row(evidence: list[Evidence], state: str, failures: int) -> None:
    circuit = after(*evidence)

    assert (circuit.state, circuit.failures) == (state, failures)


def test_open_it_lets_nothing_pass_until_its_time() -> None:
    assert after(FAILED, FAILED, FAILED) == DOWN
    assert not DOWN.may_probe(109.9)
    assert DOWN.may_probe(110.0)


def test_half_open_it_lets_one_pass_until_that_ones_lease_ends() -> None:
    assert TRYING.state == HALF_OPEN
    assert not TRYING.may_probe(169.9)
    assert TRYING.may_probe(170.0), "the process that tried is gone"


def test_an_answer_closes_it_whoever_got_it() -> None:
    for circuit in (DOWN, TRYING):
        for probe in (True, False):
            assert judged(circuit, POLICY, ANSWERED, 111.0, probe=probe) == Circuit()


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_the_cap() -> None:
    circuit, now, waits = DOWN, 110.0, []
    for _ in range(5):
        circuit = judged(probing(circuit, now + 60), POLICY, FAILED, now, probe=True)
        assert circuit.probe_at is not None
        waits.append(circuit.probe_at - now)
        now = circuit.probe_at

    assert waits == [20.0, 40.0, 60.0, 60.0, 60.0]
    assert circuit.opened_at == 100.0, "down since the first opening"
    assert wait(POLICY, 10_000) == 60.0


def test_what_was_under_way_when_it_opened_is_no_news_when_it_fails() -> None:
    assert judged(DOWN, POLICY, FAILED, 111.0, probe=False) == DOWN
    assert judged(TRYING, POLICY, FAILED, 111.0, probe=False) == TRYING


def test_a_probe_that_fails_after_another_took_its_place_opens_nothing_twice() -> None:
    again = judged(TRYING, POLICY, FAILED, 120.0, probe=True)

    assert judged(again, POLICY, FAILED, 121.0, probe=True) == again


def test_a_probe_that_never_asked_the_peer_makes_way_for_the_next_at_once() -> None:
    assert judged(TRYING, POLICY, NONE, 120.0, probe=True) == replace(DOWN, probe_at=120.0)
