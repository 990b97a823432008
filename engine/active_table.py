"""A version of the table becomes the running one: one row of the history, one event of the audit trail."""

from __future__ import annotations

from sqlalchemy import Connection

from engine.audit import append_event
from engine.store import table_versions
from engine.store.dialect import serialise


def activate(
    connection: Connection,
    version: str,
    now: float,
    *,
    actor: str,
    action: str,
    message: str = "",
    forced: bool = False,
) -> int:
    """Make a recorded version the running one, inside the caller's transaction; the id of the change.

    Args:
        action: started, applied, reloaded or rolled back.
        message: why, in the words of who did it.
        forced: whether tests failed, or deliveries were stranded, and it was wanted all the same.
    """
    serialise(connection, "table")
    before = table_versions.active(connection)
    change = table_versions.record_change(
        connection, version, now, actor=actor, action=action, message=message, forced=forced
    )
    append_event(
        connection,
        now,
        actor=actor,
        action=f"table {action}",
        subject=f"table {version}",
        detail={
            "change": change,
            "before": before.version if before else "",
            "message": message,
            "forced": forced,
        },
    )
    return change
