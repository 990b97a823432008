"""Queries on the audit trail, for people; how it is written and proven is in `engine.audit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from engine.store.tables import audit_events, deliveries, holds, orders, results

REPLAYED = "replayed"


def list_events(
    connection: Connection,
    *,
    action: str | None,
    actor: str | None,
    subject: str | None,
    since: float | None,
    until: float | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """The latest events, oldest first."""
    query = select(audit_events)
    for column, part in ((audit_events.c.actor, actor), (audit_events.c.subject, subject)):
        if part is not None:
            query = query.where(column.contains(part, autoescape=True))
    if action is not None:
        query = query.where(audit_events.c.action == action)
    if since is not None:
        query = query.where(audit_events.c.at >= since)
    if until is not None:
        query = query.where(audit_events.c.at <= until)
    return connection.execute(query.order_by(audit_events.c.id.desc()).limit(limit)).all()[::-1]


def count(connection: Connection) -> int:
    """How many events there are."""
    return int(connection.execute(select(func.count()).select_from(audit_events)).scalar_one())


def of_study(connection: Connection, study: Any) -> list[Row[Any]]:
    """What people did to a study, its results, its deliveries and its holds, oldest first.

    That they looked at it is on the trail, too, and no part of what happened to it.
    """
    subjects = [f"study {study.study_instance_uid}"]
    for word, column, owner in (
        ("result", results.c.result_id, results.c.study_id),
        ("delivery", deliveries.c.delivery_id, deliveries.c.study_id),
        ("hold", holds.c.id, holds.c.study_id),
        ("order", orders.c.order_id, orders.c.study_id),
    ):
        keys = connection.execute(select(column).where(owner == study.id)).scalars()
        subjects += [f"{word} {key}" for key in keys]
    rows = connection.execute(
        select(audit_events)
        .where(
            or_(audit_events.c.subject.in_(subjects), audit_events.c.action == REPLAYED),
            audit_events.c.action.not_like("%.viewed"),
        )
        .order_by(audit_events.c.id)
    ).all()
    return [
        row
        for row in rows
        if row.action != REPLAYED or study.study_instance_uid in row.detail.get("studies", ())
    ]
