"""After the clock was set back: times that it left in the future come back, so that nothing waits for them.

Enter: the time now. What happened last (an instance, an attempt, a run) cannot have happened later than
that; by as much as it did, the clock was set back, and so much earlier does everything come due. Only
what is still open is looked at; what is over keeps the times it was written with.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Float, Table, case, cast, extract, func, literal, select, update

from engine.store.dialect import is_shared
from engine.store.tables import (
    attempts,
    commitment_requests,
    commitments,
    deliveries,
    destinations,
    jobs,
    lanes,
    studies,
)

OPEN = ("queued", "waiting")
JOB_WAIT = 900.0  # seconds that a job waits for its next run at most


def database_time(connection: Connection) -> float:
    """The database's own clock, in seconds since 1970-01-01 UTC; of a shared database only."""
    assert is_shared(connection)
    return float(
        connection.execute(select(cast(extract("epoch", func.clock_timestamp()), Float))).scalar_one()
    )


def set_back_by(connection: Connection, now: float) -> float:
    """How many seconds before the last event on record it is now; 0 when it is after all of them."""
    events = (
        select(func.max(studies.c.last_at)).where(studies.c.state == "receiving"),
        select(func.max(deliveries.c.created_at)).where(deliveries.c.state.in_(OPEN)),
        select(func.max(attempts.c.started_at))
        .join(deliveries, deliveries.c.delivery_id == attempts.c.delivery_id)
        .where(deliveries.c.state.in_(OPEN)),
        select(func.max(jobs.c.queued_at)).where(jobs.c.state.in_(("queued", "running"))),
    )
    latest = max((connection.execute(query).scalar_one() or 0.0) for query in events)
    return max(0.0, latest - now)


def bring_back(connection: Connection, now: float, lease: float) -> float:
    """Bring what is open back to a clock that was set back; by how many seconds it was.

    May be repeated: what is claimed stays claimed for one ``lease`` (seconds), what waits comes due
    early at worst.
    """
    connection.execute(  # a job's last run leaves no time behind, but it never waits longer than this
        update(jobs).where(jobs.c.state == "queued", jobs.c.due_at > now + JOB_WAIT).values(due_at=now)
    )
    back = set_back_by(connection, now)
    if not back:
        return 0.0
    lease_end = literal(now + lease, Float)
    _pull(connection, lanes, "due_at", now, back, lanes.c.pending > 0, lanes.c.owner.is_(None))
    _cap(connection, lanes, "due_at", lease_end, lanes.c.owner.is_not(None))
    _pull(connection, jobs, "due_at", now, back, jobs.c.state == "queued")
    _cap(connection, jobs, "due_at", lease_end, jobs.c.state == "running")
    _pull(connection, destinations, "probe_at", now, back, destinations.c.breaker == "open")
    _cap(connection, destinations, "probe_at", lease_end, destinations.c.breaker == "half_open")
    _pull(connection, destinations, "next_slot_at", now, back)
    _pull(connection, commitments, "expires_at", now, back, commitments.c.state == "requested")
    _pull(connection, commitment_requests, "due_at", now, back, commitment_requests.c.state == "owed")
    at_most = literal(now, Float)
    for name in ("last_at", "opened_at"):
        _cap(connection, studies, name, at_most, studies.c.state == "receiving")
    _cap(connection, deliveries, "age_from", at_most, deliveries.c.state.in_(OPEN))
    # Whether its window is open is looked at again when it would go out.
    _cap(connection, deliveries, "not_before", at_most, deliveries.c.state == "waiting")
    _cap(connection, jobs, "queued_at", at_most, jobs.c.state.in_(("queued", "running")))
    return back


def _pull(connection: Connection, table: Table, name: str, now: float, back: float, *only: Any) -> None:
    """Times in the future come as much earlier, none before now."""
    column: Column[float] = table.c[name]
    earlier = case((column - back > now, column - back), else_=literal(now, Float))
    connection.execute(update(table).where(column > now, *only).values({name: earlier}))


def _cap(connection: Connection, table: Table, name: str, at_most: Any, *only: Any) -> None:
    """No time is later than this."""
    column: Column[float] = table.c[name]
    connection.execute(update(table).where(column > at_most, *only).values({name: at_most}))
