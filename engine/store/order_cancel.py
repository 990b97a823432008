"""What cancelling does to a study: nothing of it that has not begun begins any more.

Enter: a study and the revision from which nobody wants it. Leave: its open revisions, queued runs and
deliveries in state *cancelled*, its holds answered, and the counts. What is under way ends by itself and is
not repeated (`work.claim_job`, `lanes.settle`); a result that comes of it is kept and goes nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select, update

from engine.store import lane_rows
from engine.store.lanes import CANCELLED, OPEN
from engine.store.order_states import touch
from engine.store.tables import deliveries, holds, jobs, revisions


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped, and what could not be."""

    runs: int = 0
    deliveries: int = 0
    under_way: int = 0
    delivered: tuple[str, ...] = ()


def stop(connection: Connection, study_id: int, since_revision: int, now: float) -> Stopped:
    """Stop what has not begun of a study whose row is ours."""
    runs = connection.execute(
        update(jobs)
        .where(jobs.c.study_id == study_id, jobs.c.revision >= since_revision, jobs.c.state == "queued")
        .values(state="cancelled", finished_at=now, owner=None, detail="its order was cancelled")
    ).rowcount
    running = connection.execute(
        select(func.count()).where(
            jobs.c.study_id == study_id, jobs.c.revision >= since_revision, jobs.c.state == "running"
        )
    ).scalar_one()
    taken_back, under_way = _take_back(connection, study_id, since_revision, now)
    connection.execute(
        update(holds)
        .where(
            holds.c.study_id == study_id, holds.c.revision >= since_revision, holds.c.released_at.is_(None)
        )
        .values(released_at=now)
    )
    connection.execute(
        update(revisions)
        .where(
            revisions.c.study_id == study_id,
            revisions.c.revision >= since_revision,
            revisions.c.state.in_(("closed", "held")),
        )
        .values(state="cancelled")
    )
    touch(connection, study_id, now)
    return Stopped(runs, taken_back, int(running) + under_way, holders(connection, study_id, since_revision))


def holders(connection: Connection, study_id: int, since_revision: int) -> tuple[str, ...]:
    """The destinations that have something of a study from a revision on."""
    return tuple(
        connection.execute(
            select(deliveries.c.destination)
            .where(
                deliveries.c.study_id == study_id,
                deliveries.c.study_revision >= since_revision,
                or_(deliveries.c.state == "delivered", deliveries.c.stored.is_not(None)),
            )
            .distinct()
            .order_by(deliveries.c.destination)
        ).scalars()
    )


def _take_back(connection: Connection, study_id: int, since: int, now: float) -> tuple[int, int]:
    """Deliveries that will not go out, and those that are on their way at this moment."""
    mine = (
        deliveries.c.study_id == study_id,
        deliveries.c.study_revision >= since,
        deliveries.c.state.in_(OPEN),
    )
    keys = connection.execute(select(deliveries.c.destination, deliveries.c.order_key).where(*mine)).all()
    taken_back = under_way = 0
    for destination, order_key in sorted({(row.destination, row.order_key) for row in keys}):
        lane = lane_rows.lock(connection, destination, order_key, now)
        head = lane_rows.head(connection, destination, order_key)
        leased = head.seq if lane.owner is not None and head is not None else -1
        of_lane = (*mine, deliveries.c.destination == destination, deliveries.c.order_key == order_key)
        # What the peer has stored and not committed to yet has gone out: it waits for its report.
        on_its_way = or_(deliveries.c.seq == leased, deliveries.c.stored.is_not(None))
        under_way += int(connection.execute(select(func.count()).where(*of_lane, on_its_way)).scalar_one())
        taken_back += connection.execute(
            update(deliveries)
            .where(*of_lane, ~on_its_way)
            .values(state="cancelled", finished_at=now, reason=CANCELLED)
        ).rowcount
        lane_rows.refresh(connection, lane, head.seq if head is not None else None, now)
    return taken_back, under_way
