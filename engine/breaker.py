"""When a destination counts as down: (circuit, policy, what an attempt came to, a clock) in, circuit out.

Pure. A circuit is closed until a number of attempts in a row fail because of the destination. Open,
nothing goes out until a wait is over; half open, exactly one delivery tries. What it comes to closes
the circuit or opens it again for twice as long, up to a cap. What fails because of one payload says
that the peer is well and counts as an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from engine.settings import Breaker

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class Evidence(Enum):
    """What an attempt says of its destination."""

    ANSWERED = "the peer took it, refused it, or could not process this payload: it is there"
    FAILED = "no connection, no answer in time, or none that says that the peer works"
    NONE = "the peer was not asked"


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of a destination; times in seconds."""

    state: str = CLOSED
    failures: int = 0  # in a row
    opened_at: float | None = None
    probe_at: float | None = None  # open: when one may try; half open: when the lease of that one ends
    openings: int = 0  # in a row

    def may_probe(self, now: float) -> bool:
        """Whether one delivery may try: the wait is over, or the one that tried has vanished."""
        return self.state != CLOSED and (self.probe_at is None or now >= self.probe_at)


def probing(circuit: Circuit, lease_ends_at: float) -> Circuit:
    """One delivery is on its way; nobody else until it has ended or its lease has."""
    return replace(circuit, state=HALF_OPEN, probe_at=lease_ends_at)


def judged(circuit: Circuit, policy: Breaker, evidence: Evidence, now: float, *, probe: bool) -> Circuit:
    """The circuit after an attempt.

    Args:
        now: seconds.
        probe: the attempt was the one that a half open circuit let through. What was under way when
            the circuit opened may end later: its failure is no news.
    """
    if evidence is Evidence.ANSWERED:
        return Circuit()
    if circuit.state == CLOSED:
        if evidence is Evidence.NONE:
            return circuit
        failures = circuit.failures + 1
        if failures < policy.failures:
            return replace(circuit, failures=failures)
        return Circuit(OPEN, failures, opened_at=now, probe_at=now + wait(policy, 1), openings=1)
    if not probe or circuit.state != HALF_OPEN:
        return circuit
    if evidence is Evidence.NONE:  # it proved nothing: let the next one try at once
        return replace(circuit, state=OPEN, probe_at=now)
    openings = circuit.openings + 1
    return replace(
        circuit,
        state=OPEN,
        failures=circuit.failures + 1,
        probe_at=now + wait(policy, openings),
        openings=openings,
    )


def wait(policy: Breaker, openings: int) -> float:
    """Seconds that the circuit stays open at its n-th opening in a row."""
    return min(policy.cap, policy.open_for * 2.0 ** min(openings - 1, 64))
