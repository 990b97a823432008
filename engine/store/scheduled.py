"""Deliveries that wait for a window of their route's schedule, outside their lanes until it opens.

`not_before` is when it opens; it stays with the delivery and tells those of a schedule from others. One that
also waits for an acknowledgement (`after:`) comes back when both are there (`waiting.wake`).
"""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import Connection, String, case, cast, delete, func, literal, select, update

from engine.store import lane_rows
from engine.store.lanes import Claim
from engine.store.tables import attempts, deliveries, lanes

SOME = 1000  # deliveries that come back in one transaction

_WAITS = (
    deliveries.c.state == "waiting",
    deliveries.c.not_before.is_not(None),
    deliveries.c.transaction_uid.is_(None),
    cast(deliveries.c.after, String) == "[]",
)


def next_due(connection: Connection) -> float | None:
    """When the first window opens that a delivery waits for, and for nothing else; None without one."""
    due_at: float | None = connection.execute(
        select(func.min(deliveries.c.not_before)).where(*_WAITS)
    ).scalar_one()
    return due_at


def release_due(connection: Connection, now: float) -> None:
    """Put some of those whose window has opened back into their lanes, at their own places.

    The age at which one is given up counts from here when it was never tried. One that another engine has
    released meanwhile, or that a newer version has superseded, stays as it is.
    """
    due = (*_WAITS, deliveries.c.not_before <= now)
    rows = connection.execute(
        select(deliveries.c.destination, deliveries.c.order_key, deliveries.c.seq)
        .where(*due)
        .order_by(deliveries.c.not_before, deliveries.c.seq)
        .limit(SOME)
    ).all()
    for (destination, order_key), some in groupby(sorted(rows), key=lambda row: (row[0], row[1])):
        lane = lane_rows.lock(connection, destination, order_key, now)
        before = lane_rows.head(connection, destination, order_key)
        age_from = case((deliveries.c.attempts == 0, literal(now)), else_=deliveries.c.age_from)
        connection.execute(
            update(deliveries)
            .where(deliveries.c.seq.in_([row.seq for row in some]), *due)
            .values(state="queued", reason="", age_from=age_from)
        )
        lane_rows.refresh(connection, lane, before.seq if before is not None else None, now)


def postpone(connection: Connection, claimed: Claim, not_before: float, reason: str, now: float) -> None:
    """Take back a claim whose window has closed: it waits for the next one, and was not tried."""
    row = claimed.delivery
    lane = lane_rows.lock(connection, row.destination, row.order_key, now)
    if (lane.owner, lane.fence) != (claimed.owner, claimed.fence):
        return
    connection.execute(
        delete(attempts).where(
            attempts.c.delivery_id == row.delivery_id, attempts.c.attempt == claimed.attempt
        )
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.seq == row.seq)
        .values(state="waiting", not_before=not_before, reason=reason, attempts=deliveries.c.attempts - 1)
    )
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == row.destination, lanes.c.order_key == row.order_key)
        .values(owner=None, due_at=now)
    )
    lane_rows.refresh(
        connection, lane_rows.lock(connection, row.destination, row.order_key, now), row.seq, now
    )
