"""Storage commitment as its user: what was asked of a peer for a delivery, and what it reported.

A delivery whose parts the peer has stored waits outside its lane until the report comes (PS3.4 J.3.3),
whichever association it comes on, or until it is overdue. The transaction is recorded before the peer
can know of it, so a report never finds us unprepared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, null, select, update

from engine.model import CommitmentReport
from engine.store import lanes
from engine.store.tables import commitments, deliveries, studies

REFUSED_AFTER = 3  # reports that deny a delivery before it is a dead letter


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


def apply(connection: Connection, site: str, report: CommitmentReport, now: float) -> bool:
    """Record a report and what it means for its delivery; False when it is not about one of ours.

    A report for an attempt that is still under way is kept; `settle_reported` applies it then.
    """
    row = _transaction(connection, report.transaction_uid)
    if row is None or row.site != site:
        return False
    failed = {uid: reason for _, uid, reason in report.failed}
    connection.execute(
        update(commitments)
        .where(commitments.c.transaction_uid == report.transaction_uid)
        .values(state="failed" if failed else "committed", reported_at=now, failed=failed or null())
    )
    settle_reported(connection, row.delivery_id, now)
    return True


def settle_reported(connection: Connection, delivery_id: str, now: float) -> None:
    """Move on a delivery that waits for a report, when there is one."""
    row = connection.execute(
        select(deliveries).where(deliveries.c.delivery_id == delivery_id).with_for_update()
    ).one()
    asked = connection.execute(
        select(commitments).where(commitments.c.delivery_id == delivery_id).order_by(commitments.c.attempt)
    ).all()
    if row.state not in ("waiting", "dead") or row.transaction_uid is None:
        return
    if any(one.state == "committed" for one in asked):
        connection.execute(
            update(deliveries)
            .where(deliveries.c.seq == row.seq)
            .values(state="delivered", finished_at=now, reason="stored and committed")
        )
        lanes.wake_dependants(connection, row.study_id, now)
        return
    latest = asked[-1]
    if row.state != "waiting" or latest.state != "failed":
        return
    denied = sum(one.state == "failed" for one in asked)
    reasons = ", ".join(f"{code:04X}" for code in sorted(set(latest.failed.values())))
    reason = f"the peer did not commit to {len(latest.failed)} instances: {reasons}"
    kept = [uid for uid in row.stored or [] if uid not in latest.failed]
    connection.execute(
        update(deliveries).where(deliveries.c.seq == row.seq).values(stored=kept or null(), reason=reason)
    )
    if denied >= REFUSED_AFTER:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.seq == row.seq)
            .values(state="dead", finished_at=now, reason=f"{reason}; denied {denied} times")
        )
        return
    lanes.requeue(connection, [row.seq], now)


def expire(connection: Connection, now: float) -> int:
    """Deliveries whose report is overdue go out again: the peer is asked again; how many."""
    overdue = connection.execute(
        select(commitments.c.transaction_uid, deliveries.c.seq)
        .join(deliveries, deliveries.c.delivery_id == commitments.c.delivery_id)
        .where(
            commitments.c.state == "requested",
            commitments.c.expires_at <= now,
            deliveries.c.state == "waiting",
            deliveries.c.transaction_uid == commitments.c.transaction_uid,
        )
        .with_for_update(skip_locked=True)
    ).all()
    for one in overdue:
        connection.execute(
            update(commitments)
            .where(commitments.c.transaction_uid == one.transaction_uid)
            .values(state="expired")
        )
    lanes.requeue(connection, [one.seq for one in overdue], now)
    return len(overdue)


def of_delivery(connection: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """What was asked for a delivery, oldest first."""
    return connection.execute(
        select(commitments).where(commitments.c.delivery_id == delivery_id).order_by(commitments.c.attempt)
    ).all()


def _transaction(connection: Connection, transaction_uid: str) -> Any:
    return connection.execute(
        select(commitments.c.delivery_id, studies.c.site)
        .join(deliveries, deliveries.c.delivery_id == commitments.c.delivery_id)
        .join(studies, studies.c.id == deliveries.c.study_id)
        .where(commitments.c.transaction_uid == transaction_uid)
    ).first()
