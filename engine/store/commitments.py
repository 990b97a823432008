"""Storage commitment as its user: what was asked of a peer for a delivery, and what it reported.

A delivery whose parts the peer has stored waits outside its lane until the report comes (PS3.4 J.3.3),
whichever association it comes on, or until it is overdue. The transaction is recorded before the peer
can know of it, so a report never finds us unprepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, null, select, update

from engine.model import CommitmentReport
from engine.store import lane_rows, waiting
from engine.store.order_states import touch
from engine.store.tables import commitments, deliveries, studies

BACKOFF = (60.0, 600.0)
"""Seconds after the first and the second denial: a peer answers 0112 while it is still filing."""
REFUSED_AFTER = len(BACKOFF) + 1
"""Reports that deny a delivery before it is a dead letter."""
AT_ONCE = 200
"""Deliveries that one call of `expire` moves at most."""
NOT_MENTIONED = 0
"""In place of a Failure Reason, for what was asked and the report says nothing of."""

_REASONS = {  # Failure Reason (0008,1197), PS3.3 C.14.1.1
    NOT_MENTIONED: "not in the report",
    0x0110: "0110 (processing failure)",
    0x0112: "0112 (no such object instance)",
    0x0119: "0119 (class or instance conflict)",
    0x0122: "0122 (referenced SOP class not supported)",
    0x0131: "0131 (duplicate transaction UID)",
    0x0213: "0213 (resource limitation)",
}


def register(
    connection: Connection,
    transaction_uid: str,
    delivery_id: str,
    attempt: int,
    now: float,
    expires_at: float,
) -> None:
    """Before a peer is asked: which delivery a report of this transaction will be about."""
    connection.execute(
        insert(commitments).values(
            transaction_uid=transaction_uid,
            delivery_id=delivery_id,
            attempt=attempt,
            requested_at=now,
            expires_at=expires_at,
            state="requested",
        )
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.delivery_id == delivery_id)
        .values(transaction_uid=transaction_uid)
    )


def keep_stored(connection: Connection, delivery_id: str, stored: Sequence[str]) -> None:
    """What a peer has of a delivery that it did not take as a whole: a retraction takes that back too."""
    connection.execute(
        update(deliveries).where(deliveries.c.delivery_id == delivery_id).values(stored=list(stored))
    )


def apply(connection: Connection, site: str, report: CommitmentReport, now: float) -> bool:
    """Record a report and what it means for its delivery; False when it is not about one of ours.

    What was asked and is not in the report counts as denied. A report for an attempt that is still
    under way is kept; `settle_reported` applies it then.
    """
    row = _transaction(connection, report.transaction_uid)
    if row is None or row.site != site:
        return False
    denied = {uid: reason for _, uid, reason in report.failed}
    committed = {uid for _, uid in report.committed}
    asked = [part["identifier"] for part in row.payload or []]
    failed = {uid: denied.get(uid, NOT_MENTIONED) for uid in asked if uid in denied or uid not in committed}
    connection.execute(
        update(commitments)
        # what was committed once stays so, whatever a repetition says
        .where(commitments.c.transaction_uid == report.transaction_uid, commitments.c.state != "committed")
        .values(state="failed" if failed else "committed", reported_at=now, failed=failed or null())
    )
    settle_reported(connection, row.delivery_id, now)
    return True


def settle_reported(connection: Connection, delivery_id: str, now: float) -> None:
    """Move on a delivery for which there is a report, unless an attempt is under way: that will ask again.

    Any report since it was queued, or replayed, that commits to all of it ends it, also a dead letter:
    every attempt asked for the same instances. A denial counts while it is what the delivery waits for.
    """
    row, lane = _hold(connection, deliveries.c.delivery_id == delivery_id, now)
    reports = [
        one
        for one in of_delivery(connection, delivery_id)
        if one.reported_at is not None and one.reported_at >= row.age_from
    ]
    if any(one.state == "committed" for one in reports):
        _finish(connection, row, lane, now, state="delivered", reason="stored and committed")
        return
    denials = [one for one in reports if one.state == "failed"]
    if row.state != "waiting" or not denials or denials[-1].transaction_uid != row.transaction_uid:
        return
    latest = denials[-1]
    reason = f"the peer did not commit to {len(latest.failed)} instances: {reasons(latest.failed)}"
    kept = [uid for uid in row.stored or [] if uid not in latest.failed]
    connection.execute(
        update(deliveries).where(deliveries.c.seq == row.seq).values(stored=kept or null(), reason=reason)
    )
    if len(denials) >= REFUSED_AFTER:
        reason = f"{reason}; denied {len(denials)} times"
        _finish(connection, row, lane, now, state="dead", reason=reason)
        return
    connection.execute(
        update(commitments)
        .where(commitments.c.transaction_uid == latest.transaction_uid)
        .values(expires_at=now + BACKOFF[len(denials) - 1])
    )


def expire(
    connection: Connection, now: float, give_up_after: Mapping[str, float] = MappingProxyType({})
) -> int:
    """Deliveries go out again: those whose report is overdue, and those denied whose backoff is over.

    Args:
        give_up_after: seconds of age, by destination, past which an overdue one is a dead letter.

    Returns:
        How many moved.
    """
    due = connection.execute(
        select(commitments.c.transaction_uid, commitments.c.state, deliveries.c.seq)
        .join(deliveries, deliveries.c.transaction_uid == commitments.c.transaction_uid)
        .where(
            deliveries.c.state == "waiting",
            commitments.c.state.in_(("requested", "failed")),
            commitments.c.expires_at <= now,
        )
        .order_by(deliveries.c.destination, deliveries.c.order_key, deliveries.c.seq)
        .limit(AT_ONCE)
    ).all()
    return sum(_ask_again(connection, one, now, give_up_after) for one in due)


def _ask_again(connection: Connection, due: Any, now: float, give_up_after: Mapping[str, float]) -> bool:
    row, lane = _hold(connection, deliveries.c.seq == due.seq, now)
    if row.state != "waiting" or row.transaction_uid != due.transaction_uid:
        return False  # a report, or another engine, was quicker
    reason = row.reason
    if due.state == "requested":
        moved = connection.execute(
            update(commitments)
            .where(commitments.c.transaction_uid == due.transaction_uid, commitments.c.state == "requested")
            .values(state="expired")
        )
        if not moved.rowcount:
            return False
        reason = "the peer has not reported in time whether it commits"
    age = give_up_after.get(row.destination)
    if age is not None and now >= row.age_from + age:
        _finish(connection, row, lane, now, state="dead", reason=f"gave up: {reason}")
        return True
    connection.execute(
        update(deliveries).where(deliveries.c.seq == row.seq).values(reason=f"{reason}; it is asked again")
    )
    waiting.requeue(connection, [row.seq], now)
    return True


def reasons(failed: Mapping[str, int]) -> str:
    """The Failure Reasons of a report, for people."""
    return ", ".join(_REASONS.get(code, f"{code:04X}") for code in sorted(set(failed.values())))


def _hold(connection: Connection, which: ColumnElement[bool], now: float) -> tuple[Any, Any]:
    """A delivery and its lane, ours until the transaction ends; the lane first, as everywhere."""
    row = connection.execute(select(deliveries).where(which)).one()
    lane = lane_rows.lock(connection, row.destination, row.order_key, now)
    return connection.execute(select(deliveries).where(which).with_for_update()).one(), lane


def _finish(connection: Connection, row: Any, lane: Any, now: float, *, state: str, reason: str) -> None:
    """End a delivery between its attempts, unless it has ended otherwise; one under way ends by itself."""
    head = lane_rows.head(connection, row.destination, row.order_key)
    is_under_way = lane.owner is not None and head is not None and head.seq == row.seq
    if row.state not in ("queued", "waiting", "dead") or is_under_way:
        return
    connection.execute(
        update(deliveries)
        .where(deliveries.c.seq == row.seq)
        .values(state=state, finished_at=now, reason=reason)
    )
    lane_rows.refresh(connection, lane, head.seq if head is not None else None, now)
    touch(connection, row.study_id, now)
    if state == "delivered":
        waiting.wake_dependants(connection, row.study_id, now)


def of_delivery(connection: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """What was asked for a delivery, oldest first."""
    return connection.execute(
        select(commitments).where(commitments.c.delivery_id == delivery_id).order_by(commitments.c.attempt)
    ).all()


def _transaction(connection: Connection, transaction_uid: str) -> Any:
    return connection.execute(
        select(commitments.c.delivery_id, deliveries.c.payload, studies.c.site)
        .join(deliveries, deliveries.c.delivery_id == commitments.c.delivery_id)
        .join(studies, studies.c.id == deliveries.c.study_id)
        .where(commitments.c.transaction_uid == transaction_uid)
    ).first()
