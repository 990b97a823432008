"""What keeps a destination, or one delivery, from going out now: in words, and until when.

Pure. Enter: what is known of a destination, its windows, a delivery's row, a clock. Leave: sentences
for an operator, without patient data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.breaker import CLOSED, HALF_OPEN
from engine.clock import at
from engine.store.destinations import Standing


def state_of(standing: Standing, closed_until: datetime | None) -> tuple[str, str]:
    """`open`, `paused`, `breaker` or `maintenance`, and why."""
    if standing.paused_at is not None:
        return "paused", f"paused by {standing.paused_by}: {standing.pause_reason}"
    circuit = standing.circuit
    if circuit.state != CLOSED:
        failed = f"down after {circuit.failures} failures in a row"
        if circuit.state == HALF_OPEN or circuit.probe_at is None:
            return "breaker", f"{failed}; one delivery tries"
        return "breaker", f"{failed}; one delivery tries at {moment(circuit.probe_at)}"
    if closed_until is not None:
        return "maintenance", f"maintenance until {closed_until.isoformat(timespec='minutes')}"
    return "open", ""


def of_delivery(
    row: Any,
    standing: Standing,
    closed_until: datetime | None,
    blockers: Sequence[tuple[str, str]],
    now: float,
) -> tuple[str, float | None]:
    """Why a delivery has not gone out, and when it is tried next, where that is known.

    Args:
        row: of `look.list_deliveries`.
        blockers: (destination, state) of what it waits for and cannot get: dead, or discarded.
        now: seconds.
    """
    if row.state == "waiting":
        opens_at = row.not_before if row.transaction_uid is None and not row.after else None
        return waits(row, dict(blockers)), opens_at
    if row.state != "queued":
        return "", None
    if row.head is not None and row.head != row.seq:
        return "behind an earlier delivery of its lane", None
    if row.owner is not None and row.due_at > now:
        return "under way", None
    state, why = state_of(standing, closed_until)
    if state == "paused":
        return why, None
    ready_at = float(row.due_at)
    if state == "breaker":
        ready_at = max(ready_at, standing.circuit.probe_at or now)
    if state == "maintenance" and closed_until is not None:
        ready_at = max(ready_at, closed_until.timestamp())
    if state == "open" and ready_at > now:
        why = "waits for its next attempt"
    return why or "due", max(ready_at, now)


def waits(row: Any, blockers: Mapping[str, str]) -> str:
    """What a waiting delivery waits for; ``blockers`` as in `of_delivery`, by destination."""
    if row.transaction_uid is not None:
        return "stored; waits for the peer's word that it has committed"
    words = {"dead": "which is a dead letter", "discarded": "which was given up"}
    named = [f"{one}, {words[blockers[one]]}" if one in blockers else one for one in row.after]
    hours = [row.reason] if row.not_before is not None else []  # `engine.schedule` has put it into words
    return "; and ".join([f"waits for {'; '.join(named)}", *hours] if named else hours)


def moment(seconds: float) -> str:
    """A time for people."""
    return at(seconds).isoformat(timespec="seconds")
