"""Queries on holds: what waits for a person, and its release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from engine.store.order_states import touch_all
from engine.store.tables import decisions, holds, studies


def list_holds(
    connection: Connection, *, site: str | None, study: str | None, released: bool, limit: int
) -> Sequence[Row[Any]]:
    """Holds with their studies, the oldest first: it has waited longest."""
    query = select(holds, studies.c.site, studies.c.study_instance_uid).join(
        studies, studies.c.id == holds.c.study_id
    )
    if not released:
        query = query.where(holds.c.released_at.is_(None))
    if site is not None:
        query = query.where(studies.c.site == site)
    if study is not None:
        query = query.where(studies.c.study_instance_uid == study)
    return connection.execute(query.order_by(holds.c.id).limit(limit)).all()


def with_ids(connection: Connection, ids: Sequence[int]) -> Sequence[Row[Any]]:
    """The holds with these ids."""
    return connection.execute(select(holds).where(holds.c.id.in_(ids)).order_by(holds.c.id)).all()


def release(connection: Connection, hold_id: int, now: float) -> None:
    """A person has answered a hold."""
    held = update(holds).where(holds.c.id == hold_id).values(released_at=now).returning(holds.c.study_id)
    touch_all(connection, connection.execute(held).scalars().all(), now)


def open_of(connection: Connection, study_id: int, revision: int) -> int:
    """How many holds of a revision wait still."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(holds)
            .where(holds.c.study_id == study_id, holds.c.revision == revision, holds.c.released_at.is_(None))
        ).scalar_one()
    )


def was_decided(connection: Connection, study_id: int, revision: int) -> bool:
    """Whether a revision was ever decided."""
    return bool(
        connection.execute(
            select(exists().where(decisions.c.study_id == study_id, decisions.c.revision == revision))
        ).scalar_one()
    )
