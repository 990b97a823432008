"""Queries on deliveries and their attempts; how they move is in `lanes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, func, or_, select, update

from engine.store.lanes import OPEN
from engine.store.tables import attempts, deliveries


def keep_payload(
    connection: Connection, delivery_id: str, manifest: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Keep the manifest of the rendered bytes, and say which is kept: every attempt sends exactly these.

    The first one stands. An engine that stalled while it rendered finds that another was faster.
    """
    of_it = deliveries.c.delivery_id == delivery_id
    connection.execute(
        update(deliveries).where(of_it, deliveries.c.payload.is_(None)).values(payload=manifest)
    )
    kept: list[dict[str, Any]] = connection.execute(select(deliveries.c.payload).where(of_it)).scalar_one()
    return kept


def stranded(connection: Connection, destinations: Sequence[str]) -> dict[str, int]:
    """Queued deliveries whose destination is none of these, counted by destination."""
    rows = connection.execute(
        select(deliveries.c.destination, func.count().label("n"))
        .where(deliveries.c.state.in_(OPEN), deliveries.c.destination.not_in(destinations))
        .group_by(deliveries.c.destination)
    )
    return {row.destination: row.n for row in rows}


def held_by(connection: Connection, destination: str, lineage: str) -> Sequence[Row[Any]]:
    """What a destination has, or may have, of a lineage, oldest first.

    It has what it acknowledged (``certain``): committed or not, and also while a person has it sent
    again. It may have what it never answered for and what a newer version then took the place of, or a
    person gave up.
    """
    answerless = exists().where(
        attempts.c.delivery_id == deliveries.c.delivery_id, attempts.c.outcome == "unknown"
    )
    answered = exists().where(  # before a person had it sent again, too
        attempts.c.delivery_id == deliveries.c.delivery_id, attempts.c.outcome.in_(("delivered", "stored"))
    )
    certain = or_(deliveries.c.state == "delivered", deliveries.c.stored.is_not(None), answered)
    return connection.execute(
        select(deliveries, certain.label("certain"))
        .where(
            deliveries.c.destination == destination,
            deliveries.c.lineage == lineage,
            or_(certain, deliveries.c.state.not_in(OPEN) & answerless),
            deliveries.c.payload.is_not(None),
        )
        .order_by(deliveries.c.seq)
    ).all()


def destinations_of(connection: Connection, study_id: int, lineage: str) -> Sequence[str]:
    """Who was sent, or was to be sent, any version of a result, in the order of the first."""
    return (
        connection.execute(
            select(deliveries.c.destination)
            .where(
                deliveries.c.study_id == study_id,
                deliveries.c.lineage == lineage,
                deliveries.c.result_id.is_not(None),
            )
            .group_by(deliveries.c.destination)
            .order_by(func.min(deliveries.c.seq))
        )
        .scalars()
        .all()
    )


def latest_edits(
    connection: Connection, study_id: int, lineage: str, destination: str
) -> list[dict[str, Any]]:
    """The steps on what a destination was last told of a lineage; none where it was told nothing."""
    found = connection.execute(
        select(deliveries.c.transform)
        .where(
            deliveries.c.study_id == study_id,
            deliveries.c.lineage == lineage,
            deliveries.c.destination == destination,
            deliveries.c.result_id.is_not(None),
        )
        .order_by(deliveries.c.seq.desc())
        .limit(1)
    ).scalar()
    return list(found or ())


def is_awaited(connection: Connection, study_id: int) -> bool:
    """Whether a delivery of the study waits for something: another acknowledgement, a commitment."""
    return bool(
        connection.execute(
            select(exists().where(deliveries.c.study_id == study_id, deliveries.c.state == "waiting"))
        ).scalar_one()
    )


def of_study(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Every delivery of a study, in order."""
    return connection.execute(
        select(deliveries).where(deliveries.c.study_id == study_id).order_by(deliveries.c.seq)
    ).all()


def answers(connection: Connection, delivery_id: str, outcome: str, code: str, since: float) -> int:
    """How many attempts of a delivery ended with an outcome and a code since a time."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(attempts)
            .where(
                attempts.c.delivery_id == delivery_id,
                attempts.c.outcome == outcome,
                attempts.c.code == code,
                attempts.c.started_at >= since,
            )
        ).scalar_one()
    )


def attempts_of(connection: Connection, delivery_id: str) -> Sequence[Row[Any]]:
    """Every attempt of a delivery, in order."""
    return connection.execute(
        select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.attempt)
    ).all()
