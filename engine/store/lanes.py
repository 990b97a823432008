"""Lanes: how queued deliveries are put in order, claimed, settled and woken.

A lane is one (destination, order key). It holds its queued deliveries in order and lets one be under
way at a time, so a correction is never overtaken and a lane costs a row, not a thread. Claiming takes
two steps: lock due lanes and move their leases, then read the head of each. Whoever finishes must
still hold the fence. A crashed owner's lanes come due by themselves. Claims and settlements go by
sets: a handful of statements, however many lanes.

Where several processes write, a lane's row is locked before its deliveries are touched, several lanes
in the order of their keys, and all after the study's row, where that is held too.

What waits for something else (the acknowledgement of another destination, a peer's word that it
committed) is in state *waiting* and in no lane's way: it comes back to its place when that happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Row,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from engine.store import lane_rows, waiting
from engine.store.dialect import among, serialise
from engine.store.order_states import touch, touch_all
from engine.store.study_orders import is_cancelled
from engine.store.tables import attempts, deliveries, lanes
from engine.store.waiting import requeue, wake_dependants

__all__ = [
    "OPEN",
    "SUPERSEDED",
    "Claim",
    "Settlement",
    "claim",
    "enqueue",
    "extend",
    "free_all",
    "release",
    "requeue",
    "settle",
    "wake_dependants",
]

SUPERSEDED = "a newer version was queued before it went out"
CANCELLED = "its order was cancelled before it went out"
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
    superseded: nobody wants the preliminary after the final. One that is under way finishes, and
    the new one comes after it, in its lane, even where the order key has changed since (a patient's
    number was corrected). One whose ``after`` is not satisfied yet waits outside its lane, and so does one
    whose ``not_before`` has not come, with the reason that it is given.
    """
    destination, order_key, lineage = values["destination"], values["order_key"], values["lineage"]
    if values["after"]:
        serialise(
            connection, waiting.after(values["study_id"])
        )  # or an acknowledgement at this moment is missed
    of_lineage = (
        deliveries.c.destination == destination,
        deliveries.c.lineage == lineage,
        deliveries.c.state.in_(OPEN),
    )
    keys = {order_key, *connection.execute(select(deliveries.c.order_key).where(*of_lineage)).scalars()}
    locked = [lane_rows.lock(connection, destination, key, now) for key in sorted(keys)]
    heads = {lane.order_key: lane_rows.head(connection, destination, lane.order_key) for lane in locked}
    leased = -1
    for lane in locked:
        head = heads[lane.order_key]
        if lane.owner and head is not None and head.lineage == lineage:
            leased, order_key = head.seq, lane.order_key
    connection.execute(
        update(deliveries)
        .where(*of_lineage, deliveries.c.seq != leased)
        .values(state="superseded", finished_at=now, reason=SUPERSEDED)
    )
    made = connection.execute(
        insert(deliveries).values(
            **{"created_at": now, "age_from": now, **values, "state": "queued", "order_key": order_key}
        )
    ).inserted_primary_key
    assert made is not None
    later = (values.get("not_before") or 0.0) > now
    if values["after"] or later:
        row = connection.execute(select(deliveries).where(deliveries.c.seq == made[0])).one()
        unmet = [] if waiting.satisfied(connection, row) else row.after
        if unmet or later:
            reason = row.reason if later else f"waits for {', '.join(unmet)}"
            connection.execute(
                update(deliveries)
                .where(deliveries.c.seq == row.seq)
                .values(state="waiting", reason=reason, after=unmet)
            )
    for lane in locked:
        before = heads[lane.order_key]
        lane_rows.refresh(connection, lane, before.seq if before is not None else None, now)
    touch(connection, values["study_id"], now)


def claim(
    connection: Connection, destination: str, owner: str, now: float, lease: float, limit: int
) -> list[Claim]:
    """Take up to ``limit`` due lanes of a destination and the head of each, in the order they were queued.

    The attempt is recorded as *unknown* before it begins: should the process die, that is what
    is known of it.
    """
    due = (
        select(lanes.c.order_key)
        .where(lanes.c.destination == destination, lanes.c.due_at <= now, lanes.c.pending > 0)
        .order_by(lanes.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    leased = connection.execute(
        update(lanes)
        .where(lanes.c.destination == destination, lanes.c.order_key.in_(select(due.c.order_key)))
        .values(due_at=now + lease, owner=owner, fence=lanes.c.fence + 1)
        .returning(lanes.c.order_key, lanes.c.fence)
    ).all()
    if not leased:
        return []
    fences = {lane.order_key: lane.fence for lane in leased}
    queued = deliveries.alias("queued")
    first = (
        select(func.min(queued.c.seq))
        .where(
            queued.c.destination == lanes.c.destination,
            queued.c.order_key == lanes.c.order_key,
            queued.c.state == "queued",
        )
        .correlate(lanes)
        .scalar_subquery()
    )
    heads = connection.execute(
        update(deliveries)
        .where(
            deliveries.c.seq.in_(
                select(first).where(
                    lanes.c.destination == destination, among(connection, lanes.c.order_key, fences)
                )
            )
        )
        .values(attempts=deliveries.c.attempts + 1)
        .returning(deliveries)
    ).all()
    connection.execute(
        insert(attempts).from_select(
            ["delivery_id", "attempt", "started_at", "outcome", "code", "detail", "warning"],
            select(
                deliveries.c.delivery_id,
                deliveries.c.attempts,
                literal(now, Float),
                *(literal(word) for word in ("unknown", "", "", "")),
            ).where(among(connection, deliveries.c.seq, [head.seq for head in heads])),
        )
    )
    empty = fences.keys() - {head.order_key for head in heads}
    if empty:
        connection.execute(
            update(lanes)
            .where(lanes.c.destination == destination, among(connection, lanes.c.order_key, empty))
            .values(pending=0, owner=None)
        )
    return [
        Claim(head, head.attempts, owner, fences[head.order_key])
        for head in sorted(heads, key=lambda head: int(head.seq))
    ]


def settle(connection: Connection, settlements: Sequence[Settlement], now: float) -> set[str]:
    """Write down what attempts came to; the ids of the deliveries whose lanes were still ours.

    The attempt's own row is written in any case: what a peer answered is a fact whoever owns the lane.
    """
    if not settlements:
        return set()
    delivered = {one.claim.delivery.study_id for one in settlements if one.outcome == "delivered"}
    serialise(connection, *(waiting.after(study_id) for study_id in delivered))
    held = lane_rows.lock_all(connection, {_lane_of(one.claim) for one in settlements})
    for (attempt, *said), some in _alike(
        settlements, lambda one: (one.claim.attempt, one.outcome, one.code[:64], one.detail, one.warning)
    ):
        connection.execute(
            update(attempts)
            .where(
                among(connection, attempts.c.delivery_id, [one.claim.delivery.delivery_id for one in some]),
                attempts.c.attempt == attempt,
            )
            .values(ended_at=now, **dict(zip(("outcome", "code", "detail", "warning"), said, strict=True)))
        )
    ours = [one for one in settlements if held.get(_lane_of(one.claim)) == (one.claim.owner, one.claim.fence)]
    if not ours:
        return set()
    again = [one.claim.delivery for one in ours if one.next_at is not None]
    overtaken = _overtaken(connection, [row.seq for row in again])
    cancelled = {
        row.seq for row in again if is_cancelled(connection, row.study_id, row.study_revision)
    } - overtaken
    for one in ours:
        if one.outcome == "stored":
            connection.execute(
                update(deliveries)
                .where(deliveries.c.seq == one.claim.delivery.seq)
                .values(stored=list(one.stored))
            )
    for (state, reason), some in _alike(
        ours,
        lambda one: _moved(
            one,
            overtaken=one.claim.delivery.seq in overtaken,
            cancelled=one.claim.delivery.seq in cancelled,
        ),
    ):
        connection.execute(
            update(deliveries)
            .where(among(connection, deliveries.c.seq, [one.claim.delivery.seq for one in some]))
            .values(state=state, reason=reason, finished_at=None if state in OPEN else now)
        )
    # Free once their deliveries have moved: whether a lane has more, and when.
    for (destination, due_at), some in _alike(
        ours,
        lambda one: (
            one.claim.delivery.destination,
            now if one.next_at is None or one.claim.delivery.seq in overtaken | cancelled else one.next_at,
        ),
    ):
        connection.execute(
            update(lanes)
            .where(
                lanes.c.destination == destination,
                among(connection, lanes.c.order_key, [one.claim.delivery.order_key for one in some]),
            )
            .values(owner=None, due_at=due_at, pending=_HAS_MORE)
        )
    waiting.wake(connection, {one.claim.delivery.study_id for one in ours if one.outcome == "delivered"}, now)
    ended = [one for one in ours if one.next_at is None or one.claim.delivery.seq in overtaken | cancelled]
    touch_all(connection, {one.claim.delivery.study_id for one in ended}, now)
    return {one.claim.delivery.delivery_id for one in ours}


def _moved(settlement: Settlement, *, overtaken: bool, cancelled: bool) -> tuple[str, str]:
    """The state and the reason of a delivery whose attempt came to this; pure."""
    reason = " ".join(filter(None, (settlement.code, settlement.detail)))
    if settlement.outcome == "stored":
        return "waiting", reason
    if settlement.next_at is None:
        return ("delivered" if settlement.outcome == "delivered" else "dead"), reason
    if cancelled:
        return "cancelled", CANCELLED
    return ("superseded", SUPERSEDED) if overtaken else ("queued", reason)


def _alike(
    settlements: Iterable[Settlement], key: Callable[[Settlement], tuple[Any, ...]]
) -> Iterable[tuple[tuple[Any, ...], list[Settlement]]]:
    """Settlements that come to the same, together: one statement for them all."""
    groups: dict[tuple[Any, ...], list[Settlement]] = {}
    for one in settlements:
        groups.setdefault(key(one), []).append(one)
    return groups.items()


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


def free_all(connection: Connection, now: float) -> None:
    """At the start of the only process on this database: no lease of an earlier one counts."""
    connection.execute(
        update(lanes).where(lanes.c.pending > 0, lanes.c.owner.is_not(None)).values(owner=None, due_at=now)
    )
    waiting = select(deliveries.c.study_id).where(deliveries.c.state == "waiting").distinct()
    for study_id in connection.execute(waiting).scalars().all():
        wake_dependants(connection, study_id, now)


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────


def _lane_of(claimed: Claim) -> tuple[str, str]:
    return claimed.delivery.destination, claimed.delivery.order_key


_HAS_MORE = case(
    (
        exists().where(
            deliveries.c.destination == lanes.c.destination,
            deliveries.c.order_key == lanes.c.order_key,
            deliveries.c.state == "queued",
        ),
        1,
    ),
    else_=0,
)


def _overtaken(connection: Connection, seqs: Sequence[int]) -> set[int]:
    """Which of these have a newer version behind them."""
    if not seqs:
        return set()
    newer = deliveries.alias("newer")
    return set(
        connection.execute(
            select(deliveries.c.seq).where(
                among(connection, deliveries.c.seq, seqs),
                exists().where(
                    newer.c.destination == deliveries.c.destination,
                    newer.c.lineage == deliveries.c.lineage,
                    newer.c.state.in_(OPEN),
                    newer.c.seq > deliveries.c.seq,
                ),
            )
        ).scalars()
    )


def _owned(claimed: Claim) -> tuple[Any, ...]:
    return (
        lanes.c.destination == claimed.delivery.destination,
        lanes.c.order_key == claimed.delivery.order_key,
        lanes.c.owner == claimed.owner,
        lanes.c.fence == claimed.fence,
    )
