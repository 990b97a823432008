"""Storage commitment as its provider: what sites asked us, and which reports we owe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from engine.model import CommitmentRequest
from engine.store.dialect import insert_unless_there
from engine.store.tables import commitment_requests as table
from engine.store.tables import instances

LEASE = 120.0  # seconds that a report being sent is nobody else's


def record(connection: Connection, request: CommitmentRequest, now: float) -> None:
    """Record a request; one that is known is owed again: whoever asks twice has had no answer."""
    inserted = insert_unless_there(
        connection,
        table,
        site=request.site,
        inbound=request.inbound,
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        transaction_uid=request.transaction_uid,
        references=[list(reference) for reference in request.references],
        requested_at=now,
        state="owed",
        due_at=now,
        attempts=0,
        detail="",
    )
    if not inserted:
        connection.execute(
            update(table)
            .where(table.c.site == request.site, table.c.transaction_uid == request.transaction_uid)
            .values(state="owed", due_at=now)
        )


def claim_owed(connection: Connection, inbound: str, now: float, limit: int = 16) -> Sequence[Row[Any]]:
    """Requests whose report is due through an inbound channel, kept from others for a while."""
    due = connection.execute(
        select(table.c.id)
        .where(table.c.inbound == inbound, table.c.state == "owed", table.c.due_at <= now)
        .order_by(table.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).scalars()
    keys = list(due)
    connection.execute(
        update(table).where(table.c.id.in_(keys)).values(due_at=now + LEASE, attempts=table.c.attempts + 1)
    )
    return connection.execute(select(table).where(table.c.id.in_(keys)).order_by(table.c.id)).all()


def finish(connection: Connection, request_id: int, now: float, *, failed: int) -> None:
    """The report has been taken."""
    connection.execute(
        update(table)
        .where(table.c.id == request_id)
        .values(state="reported", reported_at=now, failed=failed, detail="")
    )


def postpone(connection: Connection, request_id: int, due_at: float | None, why: str) -> None:
    """The report could not be sent: it is owed at another time, or given up."""
    connection.execute(
        update(table)
        .where(table.c.id == request_id)
        .values(
            detail=why, **({"state": "given_up"} if due_at is None else {"state": "owed", "due_at": due_at})
        )
    )


def request(connection: Connection, request_id: int) -> Row[Any]:
    """One request."""
    return connection.execute(select(table).where(table.c.id == request_id)).one()


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
