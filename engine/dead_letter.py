"""A person gives a dead letter up: it stays on record as discarded, and the trail says who and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from engine.audit import append_event
from engine.errors import PonsError
from engine.store.order_states import touch_all
from engine.store.tables import deliveries, studies


def dead_letters(connection: Connection, ids: Sequence[str]) -> list[Row[Any]]:
    """The dead letters with these ids, in that order.

    Raises:
        PonsError: one of them is not here, or is no dead letter.
    """
    found = {
        row.delivery_id: row
        for row in connection.execute(
            select(deliveries, studies.c.site, studies.c.study_instance_uid)
            .join(studies, studies.c.id == deliveries.c.study_id)
            .where(deliveries.c.delivery_id.in_(ids))
        )
    }
    for key in ids:
        if key not in found:
            raise PonsError(f"no delivery {key} here; `pons dead` lists the dead letters")
        if found[key].state != "dead":
            raise PonsError(f"delivery {key} is {found[key].state}, no dead letter")
    return [found[key] for key in dict.fromkeys(ids)]


def discard(connection: Connection, ids: Sequence[str], now: float, *, actor: str, reason: str) -> int:
    """Give dead letters up, inside the caller's transaction; returns how many.

    Raises:
        PonsError: as `dead_letters`; nothing is changed then.
    """
    rows = dead_letters(connection, ids)
    for row in rows:
        changed = connection.execute(
            update(deliveries)
            .where(deliveries.c.seq == row.seq, deliveries.c.state == "dead")
            .values(state="discarded", finished_at=now)
        )
        if changed.rowcount != 1:  # sent again by somebody else at this moment
            raise PonsError(f"delivery {row.delivery_id} is no dead letter any more")
    touch_all(connection, {row.study_id for row in rows}, now)
    for row in rows:
        append_event(
            connection,
            now,
            actor=actor,
            action="dead letter discarded",
            subject=f"delivery {row.delivery_id}",
            detail={
                "reason": reason,
                "study": row.study_instance_uid,
                "destination": row.destination,
            },
        )
    return len(rows)
