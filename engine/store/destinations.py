"""What is known of each destination beside its configuration, shared by every process that serves it.

A pause, the circuit and the next free slot of its rate are one row. Who claims obeys it in the claim's
own transaction. The row is locked only where it decides something: while a destination has no rate and
a closed circuit, claiming and acknowledging only read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, literal, or_, select, update

from engine import breaker
from engine.breaker import CLOSED, HALF_OPEN, Circuit, Evidence, judged, probing
from engine.rate import after_taking, free_slots
from engine.settings import Breaker
from engine.store import lanes as lane_rows
from engine.store.dialect import insert_unless_there
from engine.store.lanes import OPEN, Claim
from engine.store.tables import deliveries, destinations, lanes

NOTED = 5.0  # seconds within which the time of the last acknowledgement is kept


@dataclass(frozen=True, slots=True)
class Standing:
    """One destination at a moment; times in seconds."""

    paused_at: float | None = None
    paused_by: str = ""
    pause_reason: str = ""
    circuit: Circuit = field(default_factory=Circuit)
    next_slot_at: float = 0.0
    last_acknowledged_at: float | None = None
    due_at: float | None = None  # when its next lane is due; None when nothing is queued

    def look_again_at(self, rate: float | None, now: float) -> float | None:
        """When there may be something to claim; None when only news can change that."""
        if self.paused_at is not None or self.due_at is None:
            return None
        moments = [self.due_at]
        if self.circuit.state != CLOSED:
            moments.append(self.circuit.probe_at or now)
        if rate is not None and not free_slots(rate, self.next_slot_at, now):
            moments.append(self.next_slot_at)
        return max(moments)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What lies at a destination: counts, and when the oldest of what has not gone out was queued."""

    queued: int = 0
    waiting: int = 0
    dead: int = 0
    oldest_at: float | None = None


def standing(connection: Connection, destination: str) -> Standing:
    """What is known of a destination, and when its next lane is due; one query."""
    due = (
        select(func.min(lanes.c.due_at))
        .where(lanes.c.destination == destination, lanes.c.pending > 0)
        .scalar_subquery()
    )
    always = select(literal(1).label("one")).subquery()
    query = select(due.label("due_at"), destinations).select_from(
        always.outerjoin(destinations, destinations.c.destination == destination)
    )
    return _standing(connection.execute(query).one())


def claim(
    connection: Connection,
    destination: str,
    owner: str,
    now: float,
    lease: float,
    limit: int,
    rate: float | None = None,
    *,
    whole: bool = False,
) -> tuple[list[Claim], bool]:
    """Take up to ``limit`` due lanes, as far as pause, circuit and rate allow.

    Args:
        lease: seconds that what is taken stays ours.
        rate: deliveries a second; None without a limit. Slots for which nothing was due stay free.
        whole: several go as one, so that a half open circuit lets them through as one.

    Returns:
        What was taken, and whether it is the one delivery that a half open circuit lets through.
    """
    seen = standing(connection, destination)
    if rate is not None or seen.circuit.state != CLOSED:
        seen = _locked(connection, destination)
    probe = seen.circuit.state != CLOSED
    if seen.paused_at is not None or (probe and not seen.circuit.may_probe(now)):
        return [], False
    if probe and not whole:
        limit = 1
    if rate is not None:
        limit = min(limit, free_slots(rate, seen.next_slot_at, now))
    claims = lane_rows.claim(connection, destination, owner, now, lease, limit) if limit else []
    if claims and probe:
        _set_circuit(connection, destination, probing(seen.circuit, now + lease))
    if claims and rate is not None:
        next_slot_at = after_taking(rate, seen.next_slot_at, now, len(claims))
        _set(connection, destination, next_slot_at=next_slot_at)
    return claims, probe and bool(claims)


def judge(
    connection: Connection, destination: str, policy: Breaker, evidence: Evidence, now: float, *, probe: bool
) -> tuple[Circuit, Circuit] | None:
    """What an attempt means for the circuit: before and after, None when nothing changed.

    When it closes, what waited for another attempt is due at once.
    """
    if evidence is Evidence.NONE and not probe:
        return None
    if evidence is Evidence.ANSWERED and not _is_troubled(connection, destination):
        return None
    before = _locked(connection, destination).circuit
    after = judged(before, policy, evidence, now, probe=probe)
    if after == before:
        return None
    _set_circuit(connection, destination, after)
    if before.state != CLOSED and after.state == CLOSED:
        _make_due(connection, destination, now)
    return before, after


def extend_probe(connection: Connection, destination: str, due_at: float) -> None:
    """The one delivery that a half open circuit let through is still under way."""
    connection.execute(
        update(destinations)
        .where(destinations.c.destination == destination, destinations.c.breaker == HALF_OPEN)
        .values(probe_at=due_at)
    )


def acknowledged(connection: Connection, destination: str, now: float) -> None:
    """Note when a peer last took something, to within ``NOTED`` seconds: not every time, it is one row."""
    insert_unless_there(connection, destinations, destination=destination, breaker=CLOSED)
    last = destinations.c.last_acknowledged_at
    connection.execute(
        update(destinations)
        .where(destinations.c.destination == destination, or_(last.is_(None), last < now - NOTED))
        .values(last_acknowledged_at=now)
    )


def pause(connection: Connection, destination: str, *, by: str, reason: str, now: float) -> bool:
    """Let nothing more go out; False when it was paused already, which is left as it was."""
    if _locked(connection, destination).paused_at is not None:
        return False
    _set(connection, destination, paused_at=now, paused_by=by[:128], pause_reason=reason[:500])
    return True


def resume(connection: Connection, destination: str, now: float) -> Standing:
    """Let it go out again; an open circuit is probed at once. Returns how it stood before."""
    before = _locked(connection, destination)
    _set(connection, destination, paused_at=None, paused_by="", pause_reason="")
    if before.circuit.state != CLOSED:
        _set(connection, destination, probe_at=now)
    return before


def free_probes(connection: Connection, now: float) -> None:
    """At the start of the only process on this database: no probe of an earlier one is under way."""
    connection.execute(
        update(destinations)
        .where(destinations.c.breaker == HALF_OPEN)
        .values(breaker=breaker.OPEN, probe_at=now)
    )


def all_standings(connection: Connection) -> dict[str, Standing]:
    """What is known of every destination that has a row, by name; without what is due."""
    rows = connection.execute(select(destinations, literal(None).label("due_at")))
    return {row.destination: _standing(row) for row in rows}


def numbers(connection: Connection) -> dict[str, Numbers]:
    """What lies at every destination that has something, by name."""
    rows = connection.execute(
        select(
            deliveries.c.destination,
            deliveries.c.state,
            func.count().label("n"),
            func.min(deliveries.c.created_at).label("oldest_at"),
        )
        .where(deliveries.c.state.in_((*OPEN, "dead")))
        .group_by(deliveries.c.destination, deliveries.c.state)
    ).all()
    made: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = made.setdefault(row.destination, {})
        one[row.state] = row.n
        if row.state in OPEN:
            one["oldest_at"] = min(row.oldest_at, one.get("oldest_at", row.oldest_at))
    return {name: Numbers(**values) for name, values in made.items()}


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────


def _standing(row: Any) -> Standing:
    if row.destination is None:
        return Standing(due_at=row.due_at)
    return Standing(
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        pause_reason=row.pause_reason,
        circuit=Circuit(row.breaker, row.failures, row.opened_at, row.probe_at, row.openings),
        next_slot_at=row.next_slot_at,
        last_acknowledged_at=row.last_acknowledged_at,
        due_at=row.due_at,
    )


def _is_troubled(connection: Connection, destination: str) -> bool:
    trouble = or_(destinations.c.breaker != CLOSED, destinations.c.failures > 0)
    query = select(destinations.c.failures).where(destinations.c.destination == destination, trouble)
    return connection.execute(query).first() is not None


def _locked(connection: Connection, destination: str) -> Standing:
    """The row, ours until the transaction ends; made when it is not there."""
    query = (
        select(destinations, literal(None).label("due_at"))
        .where(destinations.c.destination == destination)
        .with_for_update()
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        insert_unless_there(connection, destinations, destination=destination, breaker=CLOSED)
        row = connection.execute(query).one()
    return _standing(row)


def _set(connection: Connection, destination: str, **values: Any) -> None:
    connection.execute(update(destinations).where(destinations.c.destination == destination).values(**values))


def _set_circuit(connection: Connection, destination: str, circuit: Circuit) -> None:
    _set(
        connection,
        destination,
        breaker=circuit.state,
        failures=circuit.failures,
        opened_at=circuit.opened_at,
        probe_at=circuit.probe_at,
        openings=circuit.openings,
    )


def _make_due(connection: Connection, destination: str, now: float) -> None:
    """Every lane that waits for a later attempt is due; one that is being written is left alone."""
    later = (
        select(lanes.c.order_key)
        .where(
            lanes.c.destination == destination,
            lanes.c.pending > 0,
            lanes.c.due_at > now,
            lanes.c.owner.is_(None),
        )
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == destination, lanes.c.order_key.in_(later))
        .values(due_at=now)
    )


def waits_for_the_dead(connection: Connection, study_id: int | None = None) -> Sequence[Any]:
    """Deliveries that wait for a destination at which the same result is a dead letter, or was given up.

    Rows of seq, destination, blocker (the destination waited for) and state (of the delivery there).
    """
    there = deliveries.alias("there")
    query = (
        select(
            deliveries.c.seq,
            deliveries.c.destination,
            deliveries.c.after,
            there.c.destination.label("blocker"),
            there.c.state,
        )
        .join(
            there,
            (there.c.study_id == deliveries.c.study_id)
            & (there.c.study_revision == deliveries.c.study_revision),
        )
        .where(
            there.c.state.in_(("dead", "discarded")),
            or_(there.c.result_id == deliveries.c.result_id, there.c.result_id.is_(None)),
            deliveries.c.state == "waiting",
            deliveries.c.transaction_uid.is_(None),
        )
    )
    if study_id is not None:
        query = query.where(deliveries.c.study_id == study_id)
    return [row for row in connection.execute(query) if row.blocker in row.after]
