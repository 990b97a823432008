"""The rows of lanes, one (destination, order key) each: locked, looked into, brought up to date.

A lane's row is locked before its deliveries are touched, so whoever holds it knows what is in it.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, select, update

from engine.store.dialect import among, insert_unless_there
from engine.store.tables import deliveries, lanes


def lock(connection: Connection, destination: str, order_key: str, now: float) -> Row[Any]:
    """The lane's row, ours until the transaction ends; made when it is not there."""
    query = (
        select(lanes)
        .where(lanes.c.destination == destination, lanes.c.order_key == order_key)
        .with_for_update()
    )
    lane = connection.execute(query).one_or_none()
    if lane is None:
        insert_unless_there(
            connection, lanes, destination=destination, order_key=order_key, pending=0, due_at=now, fence=0
        )
        lane = connection.execute(query).one()
    return lane


def lock_all(
    connection: Connection, keys: set[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str | None, int]]:
    """Owner and fence of each of these lanes, ours until the transaction ends."""
    found: dict[tuple[str, str], tuple[str | None, int]] = {}
    for destination, some in groupby(sorted(keys), key=lambda key: key[0]):
        rows = connection.execute(
            select(lanes)
            .where(
                lanes.c.destination == destination,
                among(connection, lanes.c.order_key, [order_key for _, order_key in some]),
            )
            .order_by(lanes.c.order_key)
            .with_for_update()
        )
        found |= {(destination, row.order_key): (row.owner, row.fence) for row in rows}
    return found


def refresh(connection: Connection, lane: Row[Any], head_before: int | None, now: float) -> None:
    """After its deliveries changed: whether it has any, and due now when another is the first of them."""
    first = head(connection, lane.destination, lane.order_key)
    values: dict[str, Any] = {"pending": 0 if first is None else 1}
    if first is not None and first.seq != head_before and not lane.owner:
        values["due_at"] = now
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == lane.destination, lanes.c.order_key == lane.order_key)
        .values(**values)
    )


def head(connection: Connection, destination: str, order_key: str) -> Row[Any] | None:
    """The delivery that is next in a lane; None when nothing is queued in it."""
    return connection.execute(
        select(deliveries)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.order_key == order_key,
            deliveries.c.state == "queued",
        )
        .order_by(deliveries.c.seq)
        .limit(1)
    ).one_or_none()
