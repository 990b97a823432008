"""The trail of what was done, by whom, to what: each event carries the hash of the one before.

An event changed or removed later breaks the chain at that place, and `verify` names it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, insert, select

from engine.store.dialect import serialise
from engine.store.tables import audit_events

GENESIS = "0" * 64


def event_hash(prev_hash: str, at: float, actor: str, action: str, subject: str, detail: Any) -> str:
    """SHA-256 over the previous hash and the event, in one canonical JSON form."""
    text = json.dumps([prev_hash, at, actor, action, subject, detail], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def append_event(
    connection: Connection, at: float, *, actor: str, action: str, subject: str, detail: dict[str, Any]
) -> None:
    """Append an event inside the transaction of what it tells of, best as its last step.

    The next event waits until that transaction ends: of two at once, one must follow the other.
    """
    serialise(connection, "audit")
    last = connection.execute(
        select(audit_events.c.hash).order_by(audit_events.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    prev_hash = last or GENESIS
    connection.execute(
        insert(audit_events).values(
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=detail,
            prev_hash=prev_hash,
            hash=event_hash(prev_hash, at, actor, action, subject, detail),
        )
    )


def verify(connection: Connection) -> int | None:
    """The id of the first event that does not fit the chain; None when all do."""
    prev_hash = GENESIS
    for row in connection.execute(select(audit_events).order_by(audit_events.c.id)):
        expected = event_hash(prev_hash, row.at, row.actor, row.action, row.subject, row.detail)
        if row.prev_hash != prev_hash or row.hash != expected:
            return int(row.id)
        prev_hash = row.hash
    return None
