"""Deliveries that wait outside their lanes, and how they come back to their places.

They wait for another destination's acknowledgement (`after:`), for a peer's word that it committed, or for
the hours of their route (`engine.store.scheduled`), and are in nobody's way meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from engine.store import lane_rows
from engine.store.dialect import serialise
from engine.store.tables import deliveries

SOME = 1000  # rows named in one statement


def requeue(connection: Connection, seqs: Iterable[int], now: float) -> None:
    """Put deliveries back into their lanes, at their own places, due now: woken, or replayed."""
    wanted = sorted(set(seqs))
    rows: list[Any] = []
    for start in range(0, len(wanted), SOME):
        rows += connection.execute(
            select(deliveries.c.destination, deliveries.c.order_key, deliveries.c.seq).where(
                deliveries.c.seq.in_(wanted[start : start + SOME])
            )
        ).all()
    for (destination, order_key), some in groupby(sorted(rows), key=lambda row: (row[0], row[1])):
        lane = lane_rows.lock(connection, destination, order_key, now)
        connection.execute(
            update(deliveries)
            .where(deliveries.c.seq.in_([row.seq for row in some]))
            .values(state="queued", finished_at=None)
        )
        lane_rows.refresh(connection, lane, None, now)


def wake_dependants(connection: Connection, study_id: int, now: float) -> None:
    """After an acknowledgement: deliveries of the study whose ``after`` is satisfied now go on."""
    serialise(connection, after(study_id))  # of two siblings acknowledged at once, the later sees both
    wake(connection, [study_id], now)


def after(study_id: int) -> str:
    """What orders acknowledgements and those that wait for them, within a study."""
    return f"after {study_id}"


def wake(connection: Connection, study_ids: Iterable[int], now: float) -> None:
    """`wake_dependants` for who holds the names of these studies already."""
    rows = connection.execute(
        select(deliveries)
        .where(
            deliveries.c.study_id.in_(list(study_ids)),
            deliveries.c.state == "waiting",
            deliveries.c.transaction_uid.is_(None),
        )
        .order_by(deliveries.c.seq)
    ).all()
    ready = [row for row in rows if row.after and satisfied(connection, row)]
    later = [row.seq for row in ready if row.not_before is not None and row.not_before > now]
    connection.execute(  # what is left to wait for is a window of the schedule (`engine.store.scheduled`)
        update(deliveries).where(deliveries.c.seq.in_(later)).values(after=[])
    )
    requeue(connection, [row.seq for row in ready if row.seq not in later], now)


def satisfied(connection: Connection, row: Row[Any]) -> bool:
    """Whether every destination named by `after:` has acknowledged the same result."""
    acknowledged = set(
        connection.execute(
            select(deliveries.c.destination).where(
                deliveries.c.study_id == row.study_id,
                deliveries.c.study_revision == row.study_revision,
                or_(deliveries.c.result_id == row.result_id, deliveries.c.result_id.is_(None)),
                deliveries.c.destination.in_(row.after),
                deliveries.c.state == "delivered",
            )
        ).scalars()
    )
    return acknowledged >= set(row.after)
