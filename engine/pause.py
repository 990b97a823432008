"""Stop a destination by hand, or let it go on: on record in the audit trail, in the same transaction.

Nothing is lost while a destination is paused: what is queued waits, what is under way ends.
"""

from __future__ import annotations

from sqlalchemy import Connection

from engine.audit import append_event
from engine.breaker import CLOSED
from engine.store import destinations


def pause(connection: Connection, destination: str, *, actor: str, reason: str, now: float) -> bool:
    """Let nothing more go out; False when it is paused already, and stays so for its first reason."""
    if not destinations.pause(connection, destination, by=actor, reason=reason, now=now):
        return False
    append_event(
        connection,
        now,
        actor=actor,
        action="destination paused",
        subject=destination,
        detail={"reason": reason[:500]},
    )
    return True


def resume(connection: Connection, destination: str, *, actor: str, reason: str, now: float) -> bool:
    """Let it go out again, and have an open circuit probed at once; False when nothing was in its way."""
    before = destinations.resume(connection, destination, now)
    if before.paused_at is None and before.circuit.state == CLOSED:
        return False
    append_event(
        connection,
        now,
        actor=actor,
        action="destination resumed",
        subject=destination,
        detail={
            "reason": reason[:500],
            "was paused": before.paused_at is not None,
            "circuit": before.circuit.state,
        },
    )
    return True
