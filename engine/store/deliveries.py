"""Queries on deliveries, their lanes and their attempts.

A lane is one (destination, order key). It holds its deliveries in order and lets one be under way
at a time, so a correction is never overtaken and a waiting lane costs a row, not a thread. Claiming
takes two statements: lock a due lane and move its lease, then read its head. Whoever finishes must
still hold the fence. A crashed owner's lanes come due by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from engine.store.tables import attempts, deliveries, lanes

NEVER = 253_402_300_800.0  # 9999-12-31: a lane whose head waits for another delivery


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery, ours until its lease ends."""

    delivery: Row[Any]
    attempt: int
    owner: str
    fence: int


def enqueue(connection: Connection, now: float, **values: Any) -> None:
    """Put a delivery at the end of its lane; the columns are those of `tables.deliveries`.

    Deliveries of the same lineage to the same destination that have not gone out yet are
    superseded: nobody wants the preliminary after the final. One that is under way finishes.
    """
    destination, order_key = values["destination"], values["order_key"]
    lane = connection.execute(
        select(lanes).where(lanes.c.destination == destination, lanes.c.order_key == order_key)
    ).one_or_none()
    leased = _head(connection, destination, order_key) if lane is not None and lane.owner else None
    gone = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.lineage == values["lineage"],
            deliveries.c.state == "queued",
            deliveries.c.seq != (leased.seq if leased is not None else -1),
        )
        .values(state="superseded", finished_at=now, reason="a newer version was queued before it went out")
    ).rowcount
    connection.execute(insert(deliveries).values(state="queued", created_at=now, **values))
    if lane is None:
        connection.execute(
            insert(lanes).values(destination=destination, order_key=order_key, pending=1, due_at=now)
        )
        return
    changed: dict[str, Any] = {"pending": lanes.c.pending + 1 - gone}
    if not lane.owner and (lane.pending == gone or gone):
        changed["due_at"] = now  # the lane was empty, or its blocked head has just been superseded
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == destination, lanes.c.order_key == order_key)
        .values(**changed)
    )


def _head(connection: Connection, destination: str, order_key: str) -> Row[Any] | None:
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


def claim(
    connection: Connection, destination: str, owner: str, now: float, lease: float, limit: int
) -> list[Claim]:
    """Take up to ``limit`` due lanes of a destination and the head of each.

    The attempt is recorded as *unknown* before it begins: should the process die, that is what
    is known of it.
    """
    due = connection.execute(
        select(lanes)
        .where(lanes.c.destination == destination, lanes.c.due_at <= now, lanes.c.pending > 0)
        .order_by(lanes.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    claims = []
    for lane in due:
        head = _head(connection, destination, lane.order_key)
        if head is None or not _may_go(connection, head):
            _set_lane(connection, destination, lane.order_key, due_at=NEVER, owner=None)
            continue
        _set_lane(
            connection, destination, lane.order_key, due_at=now + lease, owner=owner, fence=lane.fence + 1
        )
        connection.execute(
            update(deliveries).where(deliveries.c.seq == head.seq).values(attempts=head.attempts + 1)
        )
        connection.execute(
            insert(attempts).values(
                delivery_id=head.delivery_id, attempt=head.attempts + 1, started_at=now, outcome="unknown"
            )
        )
        claims.append(Claim(head, head.attempts + 1, owner, lane.fence + 1))
    return claims


def _set_lane(connection: Connection, destination: str, order_key: str, **values: Any) -> None:
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == destination, lanes.c.order_key == order_key)
        .values(**values)
    )


def _may_go(connection: Connection, head: Row[Any]) -> bool:
    """Whether every destination named by `after:` has acknowledged the same result."""
    if not head.after:
        return True
    acknowledged = set(
        connection.execute(
            select(deliveries.c.destination).where(
                deliveries.c.study_id == head.study_id,
                deliveries.c.study_revision == head.study_revision,
                or_(deliveries.c.result_id == head.result_id, deliveries.c.result_id.is_(None)),
                deliveries.c.destination.in_(head.after),
                deliveries.c.state == "delivered",
            )
        ).scalars()
    )
    return acknowledged >= set(head.after)


def keep_payload(connection: Connection, delivery_id: str, manifest: list[dict[str, Any]]) -> None:
    """Keep the manifest of the rendered bytes: every later attempt sends exactly these."""
    connection.execute(
        update(deliveries).where(deliveries.c.delivery_id == delivery_id).values(payload=manifest)
    )


def settle(
    connection: Connection,
    claimed: Claim,
    now: float,
    *,
    outcome: str,
    code: str = "",
    detail: str = "",
    warning: str = "",
    next_at: float | None = None,
) -> bool:
    """Write down what an attempt came to; False when the lane is no longer ours.

    Args:
        outcome: delivered | again | refused | unknown.
        next_at: when to try again; None ends the delivery (delivered, or dead when it failed).
    """
    head = claimed.delivery
    lane = connection.execute(
        select(lanes).where(lanes.c.destination == head.destination, lanes.c.order_key == head.order_key)
    ).one()
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id == head.delivery_id, attempts.c.attempt == claimed.attempt)
        .values(ended_at=now, outcome=outcome, code=code, detail=detail, warning=warning)
    )
    if lane.owner != claimed.owner or lane.fence != claimed.fence:
        return False
    answer = " ".join(filter(None, (code, detail)))
    if next_at is not None and _overtaken(connection, head):
        state, reason = "superseded", "a newer version was queued before it went out"
    elif next_at is not None:
        connection.execute(update(deliveries).where(deliveries.c.seq == head.seq).values(reason=answer))
        _set_lane(connection, head.destination, head.order_key, due_at=next_at, owner=None)
        return True
    else:
        state, reason = ("delivered" if outcome == "delivered" else "dead"), answer
    connection.execute(
        update(deliveries)
        .where(deliveries.c.seq == head.seq)
        .values(state=state, finished_at=now, reason=reason)
    )
    _set_lane(
        connection, head.destination, head.order_key, due_at=now, owner=None, pending=lanes.c.pending - 1
    )
    if state == "delivered":
        _wake_dependants(connection, head, now)
    return True


def _overtaken(connection: Connection, head: Row[Any]) -> bool:
    return (
        connection.execute(
            select(deliveries.c.seq)
            .where(
                deliveries.c.destination == head.destination,
                deliveries.c.lineage == head.lineage,
                deliveries.c.state == "queued",
                deliveries.c.seq > head.seq,
            )
            .limit(1)
        ).first()
        is not None
    )


def _wake_dependants(connection: Connection, head: Row[Any], now: float) -> None:
    """Lanes of the same study that were waiting for this acknowledgement come due."""
    connection.execute(
        update(lanes)
        .where(
            lanes.c.due_at == NEVER,
            lanes.c.pending > 0,
            lanes.c.order_key == head.order_key,
        )
        .values(due_at=now)
    )


def extend(connection: Connection, claimed: Claim, due_at: float) -> bool:
    """Renew the lease of a claimed delivery; False when the lane is no longer ours."""
    done = connection.execute(
        update(lanes)
        .where(
            lanes.c.destination == claimed.delivery.destination,
            lanes.c.order_key == claimed.delivery.order_key,
            lanes.c.owner == claimed.owner,
            lanes.c.fence == claimed.fence,
        )
        .values(due_at=due_at)
    )
    return bool(done.rowcount == 1)


def release(connection: Connection, claimed: Claim, now: float) -> None:
    """Give a claimed delivery back untried (shutdown); its unknown attempt stays on record."""
    connection.execute(
        update(lanes)
        .where(
            lanes.c.destination == claimed.delivery.destination,
            lanes.c.order_key == claimed.delivery.order_key,
            lanes.c.owner == claimed.owner,
            lanes.c.fence == claimed.fence,
        )
        .values(owner=None, due_at=now)
    )


def free_all(connection: Connection, now: float) -> None:
    """At the start of the only process on this database: no lease of an earlier one counts."""
    held = or_(lanes.c.owner.is_not(None), lanes.c.due_at == NEVER)
    connection.execute(update(lanes).where(lanes.c.pending > 0, held).values(owner=None, due_at=now))


def stranded(connection: Connection, destinations: Sequence[str]) -> dict[str, int]:
    """Queued deliveries whose destination is none of these, counted by destination."""
    rows = connection.execute(
        select(deliveries.c.destination, func.count().label("n"))
        .where(deliveries.c.state == "queued", deliveries.c.destination.not_in(destinations))
        .group_by(deliveries.c.destination)
    )
    return {row.destination: row.n for row in rows}


def acknowledged(connection: Connection, destination: str, lineage: str) -> Sequence[Row[Any]]:
    """What a destination has taken of a lineage, oldest first."""
    return connection.execute(
        select(deliveries)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.lineage == lineage,
            deliveries.c.state == "delivered",
        )
        .order_by(deliveries.c.seq)
    ).all()


def destinations_of(connection: Connection, study_id: int, lineage: str) -> Sequence[str]:
    """Who was sent, or was to be sent, any version of a result, in the order of the first."""
    return (
        connection.execute(
            select(deliveries.c.destination)
            .where(
                deliveries.c.study_id == study_id,
                deliveries.c.lineage == lineage,
                deliveries.c.result_id.is_not(None),
            )
            .group_by(deliveries.c.destination)
            .order_by(func.min(deliveries.c.seq))
        )
        .scalars()
        .all()
    )


def next_due(connection: Connection, destinations: Sequence[str]) -> float | None:
    """When the next lane comes due."""
    value: float | None = connection.execute(
        select(func.min(lanes.c.due_at)).where(lanes.c.pending > 0, lanes.c.destination.in_(destinations))
    ).scalar_one()
    return value


def of_study(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Every delivery of a study, in order."""
    return connection.execute(
        select(deliveries).where(deliveries.c.study_id == study_id).order_by(deliveries.c.seq)
    ).all()


def attempts_of(connection: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """Every attempt of a delivery, in order."""
    return connection.execute(
        select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.attempt)
    ).all()
