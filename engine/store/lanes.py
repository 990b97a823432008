"""Lanes: how queued deliveries are put in order, claimed, settled and woken.

A lane is one (destination, order key). It holds its queued deliveries in order and lets one be under
way at a time, so a correction is never overtaken and a lane costs a row, not a thread. Claiming takes
two steps: lock due lanes and move their leases, then read the head of each. Whoever finishes must
still hold the fence. A crashed owner's lanes come due by themselves.

What waits for something else (the acknowledgement of another destination, a peer's word that it
committed) is in state *waiting* and in no lane's way: it comes back to its place when that happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, or_, select, update

from engine.store.dialect import insert_unless_there, serialise
from engine.store.tables import attempts, deliveries, lanes

SUPERSEDED = "a newer version was queued before it went out"
OPEN = ("queued", "waiting")


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery, ours until its lease ends."""

    delivery: Row[Any]
    attempt: int
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt came to."""

    claim: Claim
    outcome: str  # delivered | again | refused | unknown | stored
    code: str = ""
    detail: str = ""
    warning: str = ""
    next_at: float | None = None  # when to try again; None ends the delivery: delivered, or dead
    stored: tuple[str, ...] = ()  # what the peer has of it, where it was asked to commit: it waits


def enqueue(connection: Connection, now: float, **values: Any) -> None:
    """Put a delivery at the end of its lane; the columns are those of `tables.deliveries`.

    Deliveries of the same lineage to the same destination that have not gone out yet are
    superseded: nobody wants the preliminary after the final. One that is under way finishes. One
    whose ``after`` is not satisfied yet waits outside its lane.
    """
    destination, order_key = values["destination"], values["order_key"]
    lane = _lock_lane(connection, destination, order_key, now)
    before = _head(connection, destination, order_key)
    leased = before.seq if lane.owner and before is not None else None
    elsewhere = _supersede(connection, destination, values["lineage"], leased, now) - {order_key}
    made = connection.execute(
        insert(deliveries).values(state="queued", created_at=now, age_from=now, **values)
    ).inserted_primary_key
    assert made is not None
    if values["after"]:
        row = connection.execute(select(deliveries).where(deliveries.c.seq == made[0])).one()
        if not _satisfied(connection, row):
            reason = f"waits for {', '.join(row.after)}"
            connection.execute(
                update(deliveries).where(deliveries.c.seq == row.seq).values(state="waiting", reason=reason)
            )
    _refresh(connection, lane, before.seq if before is not None else None, now)
    for key in sorted(elsewhere):  # the order key has changed since: a patient's number was corrected
        other = _lock_lane(connection, destination, key, now)
        _refresh(connection, other, None, now)


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
        if head is None:
            _set_lane(connection, lane, pending=0, owner=None)
            continue
        _set_lane(connection, lane, due_at=now + lease, owner=owner, fence=lane.fence + 1)
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


def settle(connection: Connection, settlements: Sequence[Settlement], now: float) -> set[str]:
    """Write down what attempts came to; the ids of the deliveries whose lanes were still ours.

    The attempt's own row is written in any case: what a peer answered is a fact whoever owns the lane.
    """
    ours = set()
    for settlement in settlements:
        if _settle(connection, settlement, now):
            ours.add(settlement.claim.delivery.delivery_id)
    return ours


def _settle(connection: Connection, settlement: Settlement, now: float) -> bool:
    claimed = settlement.claim
    head = claimed.delivery
    lane = _lock_lane(connection, head.destination, head.order_key, now)
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id == head.delivery_id, attempts.c.attempt == claimed.attempt)
        .values(
            ended_at=now,
            outcome=settlement.outcome,
            code=settlement.code[:64],
            detail=settlement.detail,
            warning=settlement.warning,
        )
    )
    if lane.owner != claimed.owner or lane.fence != claimed.fence:
        return False
    reason = " ".join(filter(None, (settlement.code, settlement.detail)))
    changed: dict[str, Any] = {"reason": reason}
    due_at = now
    if settlement.outcome == "stored":
        changed |= {"state": "waiting", "stored": list(settlement.stored)}
    elif settlement.next_at is not None and _overtaken(connection, head):
        changed = {"state": "superseded", "finished_at": now, "reason": SUPERSEDED}
    elif settlement.next_at is not None:
        due_at = settlement.next_at
    else:
        changed |= {
            "state": "delivered" if settlement.outcome == "delivered" else "dead",
            "finished_at": now,
        }
    connection.execute(update(deliveries).where(deliveries.c.seq == head.seq).values(**changed))
    following = _head(connection, head.destination, head.order_key) if "state" in changed else head
    _set_lane(connection, lane, owner=None, due_at=due_at, pending=0 if following is None else 1)
    if settlement.outcome == "delivered":
        wake_dependants(connection, head.study_id, now)
    return True


def extend(connection: Connection, claimed: Claim, due_at: float) -> bool:
    """Renew the lease of a claimed delivery; False when the lane is no longer ours."""
    return bool(connection.execute(update(lanes).where(*_owned(claimed)).values(due_at=due_at)).rowcount == 1)


def release(connection: Connection, claimed: Claim, now: float) -> None:
    """Give a claimed delivery back, due at once; its attempt stays unknown."""
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id == claimed.delivery.delivery_id, attempts.c.attempt == claimed.attempt)
        .values(ended_at=now, detail="the engine stopped while it was under way")
    )
    connection.execute(update(lanes).where(*_owned(claimed)).values(owner=None, due_at=now))


def requeue(connection: Connection, seqs: Iterable[int], now: float) -> None:
    """Put deliveries back into their lanes, at their own places, due now: woken, or replayed."""
    for seq in sorted(seqs):
        row = connection.execute(select(deliveries).where(deliveries.c.seq == seq)).one()
        lane = _lock_lane(connection, row.destination, row.order_key, now)
        connection.execute(
            update(deliveries).where(deliveries.c.seq == seq).values(state="queued", finished_at=None)
        )
        _refresh(connection, lane, None, now)


def hold(connection: Connection, seq: int, now: float) -> tuple[Row[Any], Row[Any]]:
    """A delivery and its lane, ours until the transaction ends; a lane is always locked before a delivery."""
    query = select(deliveries).where(deliveries.c.seq == seq)
    row = connection.execute(query).one()
    lane = _lock_lane(connection, row.destination, row.order_key, now)
    return connection.execute(query.with_for_update()).one(), lane


def finish(connection: Connection, seq: int, now: float, *, state: str, reason: str) -> bool:
    """End a delivery between its attempts; False when it has ended, or one is under way and will tell."""
    row, lane = hold(connection, seq, now)
    head = _head(connection, row.destination, row.order_key)
    is_leased = lane.owner is not None and head is not None and head.seq == seq
    if row.state not in (*OPEN, "dead") or is_leased:
        return False
    connection.execute(
        update(deliveries).where(deliveries.c.seq == seq).values(state=state, finished_at=now, reason=reason)
    )
    _refresh(connection, lane, head.seq if head is not None else None, now)
    if state == "delivered":
        wake_dependants(connection, row.study_id, now)
    return True


def wake_dependants(connection: Connection, study_id: int, now: float) -> None:
    """After an acknowledgement: deliveries of the study whose ``after`` is satisfied now go on."""
    if not _waiting(connection, study_id):
        return
    serialise(connection, f"after {study_id}")  # of two siblings acknowledged at once, the later sees both
    ready = [row.seq for row in _waiting(connection, study_id) if _satisfied(connection, row)]
    requeue(connection, ready, now)


def free_all(connection: Connection, now: float) -> None:
    """At the start of the only process on this database: no lease of an earlier one counts."""
    connection.execute(
        update(lanes).where(lanes.c.pending > 0, lanes.c.owner.is_not(None)).values(owner=None, due_at=now)
    )
    waiting = select(deliveries.c.study_id).where(deliveries.c.state == "waiting").distinct()
    for study_id in connection.execute(waiting).scalars().all():
        wake_dependants(connection, study_id, now)


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────


def _lock_lane(connection: Connection, destination: str, order_key: str, now: float) -> Row[Any]:
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


def _set_lane(connection: Connection, lane: Row[Any], **values: Any) -> None:
    connection.execute(
        update(lanes)
        .where(lanes.c.destination == lane.destination, lanes.c.order_key == lane.order_key)
        .values(**values)
    )


def _refresh(connection: Connection, lane: Row[Any], head_before: int | None, now: float) -> None:
    """After its deliveries changed: whether it has any, and due now when another is the first of them."""
    head = _head(connection, lane.destination, lane.order_key)
    values: dict[str, Any] = {"pending": 0 if head is None else 1}
    if head is not None and head.seq != head_before and not lane.owner:
        values["due_at"] = now
    _set_lane(connection, lane, **values)


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


def _supersede(
    connection: Connection, destination: str, lineage: str, except_seq: int | None, now: float
) -> set[str]:
    """Earlier versions that have not gone out; the order keys of their lanes."""
    gone = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.lineage == lineage,
            deliveries.c.state.in_(OPEN),
            deliveries.c.seq != (except_seq if except_seq is not None else -1),
        )
        .values(state="superseded", finished_at=now, reason=SUPERSEDED)
        .returning(deliveries.c.order_key)
    )
    return set(gone.scalars())


def _overtaken(connection: Connection, head: Row[Any]) -> bool:
    return bool(
        connection.execute(
            select(
                exists().where(
                    deliveries.c.destination == head.destination,
                    deliveries.c.lineage == head.lineage,
                    deliveries.c.state.in_(OPEN),
                    deliveries.c.seq > head.seq,
                )
            )
        ).scalar_one()
    )


def _waiting(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Deliveries of a study that wait for another destination, in order."""
    rows = connection.execute(
        select(deliveries)
        .where(
            deliveries.c.study_id == study_id,
            deliveries.c.state == "waiting",
            deliveries.c.transaction_uid.is_(None),
        )
        .order_by(deliveries.c.seq)
    ).all()
    return [row for row in rows if row.after]


def _satisfied(connection: Connection, row: Row[Any]) -> bool:
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


def _owned(claimed: Claim) -> tuple[Any, ...]:
    return (
        lanes.c.destination == claimed.delivery.destination,
        lanes.c.order_key == claimed.delivery.order_key,
        lanes.c.owner == claimed.owner,
        lanes.c.fence == claimed.fence,
    )
