"""Storage commitment as its provider: what sites asked us, and which reports we owe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from engine.model import CommitmentRequest, OwedReport
from engine.store.dialect import insert_unless_there
from engine.store.tables import commitment_requests as table
from engine.store.tables import instances

LEASE = 60.0  # seconds that a report being sent is nobody else's
REMEMBERED = 30 * 86400.0  # seconds that a request is kept after its end


def record(connection: Connection, request: CommitmentRequest, now: float, hold: float = 0.0) -> None:
    """Record a request whose report is due after ``hold`` seconds.

    One that is known is owed anew, as it is asked now: whoever asks twice has had no answer.
    """
    asked = {
        "inbound": request.inbound,
        "calling_ae_title": request.calling_ae_title,
        "called_ae_title": request.called_ae_title,
        "references": [list(reference) for reference in request.references],
        "requested_at": now,
        "state": "owed",
        "due_at": now + hold,
        "attempts": 0,
        "detail": "",
    }
    inserted = insert_unless_there(
        connection, table, site=request.site, transaction_uid=request.transaction_uid, **asked
    )
    if not inserted:
        connection.execute(update(table).where(*_of(request.site, request.transaction_uid)).values(**asked))


def claim(connection: Connection, site: str, transaction_uid: str, now: float) -> Row[Any] | None:
    """One request whose report is owed, kept from others for a while; None when it is not owed."""
    key = connection.execute(
        select(table.c.id)
        .where(*_of(site, transaction_uid), table.c.state == "owed")
        .with_for_update(skip_locked=True)
    ).scalar()
    return None if key is None else _claimed(connection, [key], now)[0]


def is_due(connection: Connection, inbound: str, now: float) -> bool:
    """Whether a report is due through an inbound channel."""
    return connection.execute(select(table.c.id).where(*_due(inbound, now)).limit(1)).first() is not None


def claim_owed(connection: Connection, inbound: str, now: float, limit: int = 16) -> Sequence[Row[Any]]:
    """Requests whose report is due through an inbound channel, kept from others for a while."""
    due = connection.execute(
        select(table.c.id)
        .where(*_due(inbound, now))
        .order_by(table.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).scalars()
    return _claimed(connection, list(due), now)


def finish(connection: Connection, report: OwedReport, now: float) -> None:
    """The report has been taken, whoever else has claimed it meanwhile; what is long over is forgotten."""
    connection.execute(
        update(table)
        .where(table.c.id == report.request_id, table.c.state == "owed")
        .values(state="reported", reported_at=now, failed=len(report.report.failed), detail="")
    )
    connection.execute(
        delete(table).where(
            table.c.inbound
            == select(table.c.inbound).where(table.c.id == report.request_id).scalar_subquery(),
            table.c.state.in_(("reported", "given_up")),
            table.c.requested_at < now - REMEMBERED,
        )
    )


def postpone(connection: Connection, report: OwedReport, due_at: float | None, why: str) -> bool:
    """The report could not be sent: it is owed at another time, or given up.

    Whether it was still this attempt's: who comes late changes nothing.
    """
    done = connection.execute(
        update(table)
        .where(
            table.c.id == report.request_id,
            table.c.state == "owed",
            table.c.attempts == report.attempt,
        )
        .values(
            detail=why, **({"state": "given_up"} if due_at is None else {"state": "owed", "due_at": due_at})
        )
    )
    return done.rowcount == 1


def request(connection: Connection, request_id: int) -> Row[Any] | None:
    """One request."""
    return connection.execute(select(table).where(table.c.id == request_id)).first()


def due_now(connection: Connection, now: float) -> None:
    """Nobody sends anything any more: what is owed is due, also what an ended engine had claimed."""
    connection.execute(update(table).where(table.c.state == "owed", table.c.due_at > now).values(due_at=now))


def _of(site: str, transaction_uid: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.site == site, table.c.transaction_uid == transaction_uid


def _due(inbound: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return table.c.inbound == inbound, table.c.state == "owed", table.c.due_at <= now


def _claimed(connection: Connection, keys: list[int], now: float) -> Sequence[Row[Any]]:
    if not keys:
        return []
    connection.execute(
        update(table).where(table.c.id.in_(keys)).values(due_at=now + LEASE, attempts=table.c.attempts + 1)
    )
    return connection.execute(select(table).where(table.c.id.in_(keys)).order_by(table.c.id)).all()


def kept(connection: Connection, site: str, sop_instance_uids: Sequence[str]) -> Sequence[Row[Any]]:
    """The instances of a site with these UIDs, every version: what may be committed to."""
    found: list[Any] = []
    for start in range(0, len(sop_instance_uids), 500):
        some = sop_instance_uids[start : start + 500]
        found += connection.execute(
            select(
                instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.path, instances.c.size
            ).where(instances.c.site == site, instances.c.sop_instance_uid.in_(some))
        ).all()
    return found
