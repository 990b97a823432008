"""The trail cannot be changed unseen."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, delete, update

from engine.audit import append_event, verify
from engine.store.database import Database
from engine.store.tables import audit_events


@pytest.mark.parametrize(
    ("tamper", "broken_at"),
    [
        (None, None),
        (update(audit_events).where(audit_events.c.id == 2).values(actor="nobody"), 2),
        (update(audit_events).where(audit_events.c.id == 2).values(at=0.0), 2),
        (delete(audit_events).where(audit_events.c.id == 2), 3),
    ],
)
def test_a_changed_or_removed_event_is_found(
    database: Database, tamper: object, broken_at: int | None
) -> None:
    def work(connection: Connection) -> int | None:
        for number in range(1, 5):
            append_event(
                connection, float(number), actor="a", action="b", subject=str(number), detail={"n": 1}
            )
        if tamper is not None:
            connection.execute(tamper)
        return verify(connection)

    assert database.read_now(work) == broken_at
