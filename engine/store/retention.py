"""Queries of retention: which studies are finished, and the removal of what is recorded of one.

A study is finished when nothing of it is to be received, decided, answered by a person, processed or
delivered. Its last event is whichever of all that came last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, exists, func, or_, select, update

from engine.store import studies as study_queries
from engine.store.bundle_tables import bundled
from engine.store.lanes import OPEN
from engine.store.tables import (
    attempts,
    commitment_requests,
    commitments,
    decisions,
    deliveries,
    holds,
    instances,
    jobs,
    lanes,
    order_results,
    orders,
    results,
    retrievals,
    revisions,
    studies,
    study_holders,
)

EVENTS = (  # every moment at which something happened to a study, its arrivals apart
    revisions.c.closed_at,
    decisions.c.decided_at,
    holds.c.held_at,
    holds.c.released_at,
    jobs.c.queued_at,
    jobs.c.finished_at,
    results.c.produced_at,
    deliveries.c.created_at,
    deliveries.c.age_from,
    deliveries.c.finished_at,
)


@dataclass(frozen=True, slots=True)
class Removed:
    """What the instances of a study were; their files are to go now."""

    instances: int
    size: int


def _of(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.study_id == studies.c.id, *conditions)


_UNFINISHED = {  # column of `candidates` -> whether a study has any
    "undecided": _of(revisions, revisions.c.state == "closed"),
    "held": _of(holds, holds.c.released_at.is_(None)),
    "processing": _of(jobs, jobs.c.state.in_(("queued", "running"))),
    "undelivered": _of(deliveries, deliveries.c.state.in_(OPEN)),
    "dead": _of(deliveries, deliveries.c.state == "dead"),
}

# What was removed once may have grown again: instances came late, or a person took a result back.
_SOMETHING_TO_REMOVE = or_(
    studies.c.purged_at.is_(None),
    and_(studies.c.last_at >= studies.c.purged_at, _of(instances)),
    _of(deliveries, deliveries.c.created_at > studies.c.purged_at),
)


def _finished() -> tuple[ColumnElement[bool], ...]:
    return (studies.c.state == "stable", *(~unfinished for unfinished in _UNFINISHED.values()))


def _untouched_since(moment: float) -> tuple[ColumnElement[bool], ...]:
    return (
        studies.c.last_at <= moment,
        *(~_of(event.table, event > moment) for event in EVENTS),
    )


def removable(connection: Connection, before: float, limit: int) -> Sequence[tuple[int, str]]:
    """Finished studies whose last event is not after ``before``, and their folders; oldest arrivals first."""
    rows = connection.execute(
        select(studies.c.id, studies.c.site, studies.c.study_instance_uid)
        .where(*_finished(), *_untouched_since(before), _SOMETHING_TO_REMOVE)
        .order_by(studies.c.last_at, studies.c.id)
        .limit(limit)
    )
    return [(row.id, f"{row.site}/{row.study_instance_uid}") for row in rows]


def candidates(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """Studies that retention may ever remove, oldest arrivals first, with all that may keep them here.

    Columns beside the study's: `undecided`, `held`, `processing`, `undelivered`, `dead` (whether there
    is any), `instances`, `size`, and one `event_N` for each of EVENTS (the latest such moment, or null).
    """
    mine = instances.c.study_id == studies.c.id
    latest = [
        select(func.max(event))
        .where(event.table.c.study_id == studies.c.id)
        .scalar_subquery()
        .label(f"event_{n}")
        for n, event in enumerate(EVENTS)
    ]
    return connection.execute(
        select(
            studies,
            *(unfinished.label(name) for name, unfinished in _UNFINISHED.items()),
            select(func.count()).where(mine).scalar_subquery().label("instances"),
            select(func.coalesce(func.sum(instances.c.size), 0)).where(mine).scalar_subquery().label("size"),
            *latest,
        )
        .where(_SOMETHING_TO_REMOVE)
        .order_by(studies.c.last_at, studies.c.id)
        .limit(limit)
    ).all()


def last_event(row: Row[Any]) -> float:
    """When something last happened to a study of `candidates`."""
    facts = row._mapping
    moments = [facts[f"event_{n}"] for n in range(len(EVENTS))]
    return max([float(row.last_at), *(float(moment) for moment in moments if moment is not None)])


_WORDS = {
    "undecided": "a revision is about to be decided",
    "held": "a hold waits for a person",
    "processing": "a processor is at work on it, or will be",
    "undelivered": "a delivery is still to go out",
    "dead": "a dead letter is to be replayed or discarded first",
}


def unfinished(row: Row[Any]) -> str:
    """What is still to be done with a study of `candidates`; empty when nothing is."""
    if row.state != "stable":
        return "instances are arriving"
    return next((words for name, words in _WORDS.items() if row._mapping[name]), "")


def total_size(connection: Connection) -> int:
    """Bytes of all instances."""
    return int(connection.execute(select(func.coalesce(func.sum(instances.c.size), 0))).scalar_one())


def remove(connection: Connection, study_id: int, before: float, now: float) -> Removed | None:
    """Forget the instances of a study; None when it is not finished any more, or touched since ``before``.

    What is asked again here stays so until the transaction ends: the study's row is ours, so nothing
    arrives, is decided or filed, and its lanes are, so nothing is put back into them.
    """
    study_queries.lock(connection, study_id)
    _lock_lanes(connection, study_id)
    still = select(studies.c.id).where(
        studies.c.id == study_id, *_finished(), *_untouched_since(before), _SOMETHING_TO_REMOVE
    )
    if connection.execute(still).one_or_none() is None:
        return None
    count, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(instances.c.size), 0)).where(
            instances.c.study_id == study_id
        )
    ).one()
    connection.execute(delete(instances).where(instances.c.study_id == study_id))
    connection.execute(update(studies).where(studies.c.id == study_id).values(purged_at=now))
    return Removed(int(count), int(size))


def files_of(connection: Connection, study_id: int) -> tuple[list[str], list[str]]:
    """Deliveries and results of a study from before its instances were removed: their files go too."""
    removed_at = select(studies.c.purged_at).where(studies.c.id == study_id).scalar_subquery()
    sent = connection.execute(
        select(deliveries.c.delivery_id).where(
            deliveries.c.study_id == study_id, deliveries.c.created_at <= removed_at
        )
    )
    made = connection.execute(
        select(results.c.result_id).where(results.c.study_id == study_id, results.c.produced_at <= removed_at)
    )
    return list(sent.scalars()), list(made.scalars())


def was_removed(connection: Connection, study_id: int) -> bool:
    """Whether retention has removed the instances of a study; so too when its records are gone."""
    row = connection.execute(select(studies.c.purged_at).where(studies.c.id == study_id)).one_or_none()
    return row is None or row.purged_at is not None


def kept_files(connection: Connection, study_id: int) -> set[str]:
    """Paths of the instances that a study has; nothing is added to it until the transaction ends."""
    connection.execute(
        select(studies.c.id).where(studies.c.id == study_id).with_for_update(key_share=True)
    ).all()
    return set(connection.execute(select(instances.c.path).where(instances.c.study_id == study_id)).scalars())


def forgettable(connection: Connection, removed_before: float, limit: int) -> Sequence[int]:
    """Studies without instances whose removal, and every event since, is not after ``removed_before``."""
    return (
        connection.execute(
            select(studies.c.id)
            .where(*_forgettable(removed_before))
            .order_by(studies.c.last_at, studies.c.id)
            .limit(limit)
        )
        .scalars()
        .all()
    )


def _forgettable(removed_before: float) -> tuple[ColumnElement[bool], ...]:
    return (
        studies.c.purged_at <= removed_before,
        *_finished(),
        *_untouched_since(removed_before),
        ~_SOMETHING_TO_REMOVE,
        ~_of(instances),
    )


def forget(connection: Connection, study_id: int, removed_before: float) -> Row[Any] | None:
    """Remove every record of a study; the study as it was, or None when it has to stay. The trail stays."""
    study = study_queries.lock(connection, study_id)
    names = _lock_lanes(connection, study_id)
    still = select(studies.c.id).where(studies.c.id == study_id, *_forgettable(removed_before))
    if connection.execute(still).one_or_none() is None:
        return None
    mine = select(deliveries.c.delivery_id).where(deliveries.c.study_id == study_id)
    for table in (attempts, bundled, commitments):
        connection.execute(delete(table).where(table.c.delivery_id.in_(mine)))
    _forget_orders(connection, study_id)
    for table in (deliveries, results, jobs, decisions, holds, revisions, study_holders):
        connection.execute(delete(table).where(table.c.study_id == study_id))
    for destination, order_key in names:
        used = exists().where(deliveries.c.destination == destination, deliveries.c.order_key == order_key)
        connection.execute(
            delete(lanes).where(lanes.c.destination == destination, lanes.c.order_key == order_key, ~used)
        )
    connection.execute(delete(studies).where(studies.c.id == study_id))
    return study


def _forget_orders(connection: Connection, study_id: int) -> None:
    """The orders on a study, and who had which of their results."""
    ids = select(orders.c.order_id).where(orders.c.study_id == study_id)
    made = select(results.c.result_id).where(results.c.study_id == study_id)
    filed = or_(order_results.c.order_id.in_(ids), order_results.c.result_id.in_(made))
    connection.execute(
        delete(retrievals).where(retrievals.c.seq.in_(select(order_results.c.seq).where(filed)))
    )
    connection.execute(delete(order_results).where(filed))
    connection.execute(delete(orders).where(orders.c.study_id == study_id))


def forget_commitment_requests(connection: Connection, before: float, limit: int) -> int:
    """Remove commitments that sites asked of us and that were reported, or given up, before a moment."""
    over = (
        select(commitment_requests.c.id)
        .where(commitment_requests.c.state != "owed", commitment_requests.c.requested_at <= before)
        .where(or_(commitment_requests.c.reported_at.is_(None), commitment_requests.c.reported_at <= before))
        .limit(limit)
    )
    return connection.execute(delete(commitment_requests).where(commitment_requests.c.id.in_(over))).rowcount


def _lock_lanes(connection: Connection, study_id: int) -> list[tuple[str, str]]:
    names = sorted(
        {
            (row.destination, row.order_key)
            for row in connection.execute(
                select(deliveries.c.destination, deliveries.c.order_key).where(
                    deliveries.c.study_id == study_id
                )
            )
        }
    )
    for destination, order_key in names:
        connection.execute(
            select(lanes.c.fence)
            .where(lanes.c.destination == destination, lanes.c.order_key == order_key)
            .with_for_update()
        ).all()
    return names
