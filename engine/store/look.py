"""Queries for people: studies, their stories, deliveries, and counts for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from engine.breaker import CLOSED
from engine.store import destinations
from engine.store.destinations import Numbers, Standing
from engine.store.tables import deliveries, holds, instances, jobs, lanes, results, revisions, studies

AT_ONCE = 500  # deliveries in one statement


def list_studies(
    connection: Connection,
    *,
    site: str | None = None,
    uid: str | None = None,
    ids: Sequence[int] | None = None,
    limit: int,
) -> Sequence[Any]:
    """Studies, the latest first."""
    count = (
        select(func.count()).where(instances.c.study_id == studies.c.id).correlate(studies).scalar_subquery()
    )
    held = (
        select(func.count())
        .where(holds.c.study_id == studies.c.id, holds.c.released_at.is_(None))
        .correlate(studies)
        .scalar_subquery()
    )
    query = select(studies, count.label("instances"), held.label("holds"))
    if site is not None:
        query = query.where(studies.c.site == site)
    if uid is not None:
        query = query.where(studies.c.study_instance_uid == uid)
    if ids is not None:
        query = query.where(studies.c.id.in_(ids))
    return connection.execute(query.order_by(studies.c.last_at.desc()).limit(limit)).all()


def revisions_of(connection: Connection, study_id: int) -> Sequence[Any]:
    """Revisions of a study, in order."""
    return connection.execute(
        select(revisions).where(revisions.c.study_id == study_id).order_by(revisions.c.revision)
    ).all()


def holds_of(connection: Connection, study_id: int) -> Sequence[Any]:
    """Holds of a study, in order."""
    return connection.execute(select(holds).where(holds.c.study_id == study_id).order_by(holds.c.id)).all()


def arrivals_of(connection: Connection, study_id: int) -> Sequence[Any]:
    """How a study's instances came, a row a revision: how many, bytes, first and last."""
    return connection.execute(
        select(
            instances.c.revision,
            func.count().label("instances"),
            func.sum(instances.c.size).label("bytes"),
            func.min(instances.c.received_at).label("first_at"),
            func.max(instances.c.received_at).label("last_at"),
        )
        .where(instances.c.study_id == study_id)
        .group_by(instances.c.revision)
        .order_by(func.min(instances.c.received_at))
    ).all()


def list_deliveries(
    connection: Connection,
    *,
    destination: str | None = None,
    state: str | None = None,
    uid: str | None = None,
    limit: int,
    further: Sequence[ColumnElement[bool]] = (),
) -> Sequence[Any]:
    """Deliveries, the latest first, with their study, when their lane is due, and the first queued in it.

    Args:
        further: conditions on `deliveries` and `studies`.
    """
    chosen = select(deliveries.c.seq).join(studies, studies.c.id == deliveries.c.study_id).where(*further)
    if destination is not None:
        chosen = chosen.where(deliveries.c.destination == destination)
    if state is not None:
        chosen = chosen.where(deliveries.c.state == state)
    if uid is not None:
        chosen = chosen.where(studies.c.study_instance_uid == uid)
    # Chosen first: what is asked of each below would otherwise be asked of all that match.
    seqs = connection.execute(chosen.order_by(deliveries.c.seq.desc()).limit(limit)).scalars().all()
    return [row for some in _pieces(seqs) for row in connection.execute(_described(some))]


def _pieces(seqs: Sequence[int]) -> Iterator[Sequence[int]]:
    return (seqs[start : start + AT_ONCE] for start in range(0, len(seqs), AT_ONCE))


def _described(seqs: Sequence[int]) -> Select[Any]:
    queued = deliveries.alias("queued")
    head = (
        select(func.min(queued.c.seq))
        .where(
            queued.c.destination == deliveries.c.destination,
            queued.c.order_key == deliveries.c.order_key,
            queued.c.state == "queued",
        )
        .correlate(deliveries)
        .scalar_subquery()
    )
    return (
        select(
            deliveries,
            studies.c.site,
            studies.c.study_instance_uid,
            lanes.c.due_at,
            lanes.c.owner,
            head.label("head"),
        )
        .join(studies, studies.c.id == deliveries.c.study_id)
        .outerjoin(
            lanes,
            (lanes.c.destination == deliveries.c.destination) & (lanes.c.order_key == deliveries.c.order_key),
        )
        .where(deliveries.c.seq.in_(seqs))
        .order_by(deliveries.c.seq.desc())
    )


def metrics(connection: Connection, names: Sequence[str], now: float) -> dict[str, float]:
    """Counts by state, and how each destination stands, as Prometheus samples.

    Args:
        names: the destinations of the table.
        now: seconds.
    """
    samples: dict[str, float] = {
        "pons_instances_total": _count(connection, instances),
        "pons_results_total": _count(connection, results),
        "pons_holds_open": float(
            connection.execute(
                select(func.count()).select_from(holds).where(holds.c.released_at.is_(None))
            ).scalar_one()
        ),
    }
    for table, name in ((studies, "studies"), (jobs, "jobs")):
        rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        samples.update({f'pons_{name}{{state="{state}"}}': float(n) for state, n in rows})
    rows = connection.execute(
        select(deliveries.c.destination, deliveries.c.state, func.count()).group_by(
            deliveries.c.destination, deliveries.c.state
        )
    )
    for destination, state, n in rows:
        samples[f'pons_deliveries{{destination="{destination}",state="{state}"}}'] = float(n)
    return samples | _destination_samples(connection, names, now)


def _destination_samples(connection: Connection, names: Sequence[str], now: float) -> dict[str, float]:
    """What an alert is made of: is it paused or down, how old is the oldest, does anything wait in vain."""
    standings, numbers = destinations.all_standings(connection), destinations.numbers(connection)
    vain = {row.seq: row.destination for row in destinations.waits_for_the_dead(connection)}
    blocked = Counter(vain.values())
    samples: dict[str, float] = {}
    for name in sorted({*names, *numbers}):
        label = f'{{destination="{name}"}}'
        standing, lies = standings.get(name, Standing()), numbers.get(name, Numbers())
        age = now - lies.oldest_at if lies.oldest_at is not None else 0.0
        samples[f"pons_destination_paused{label}"] = float(standing.paused_at is not None)
        samples[f"pons_destination_circuit_open{label}"] = float(standing.circuit.state != CLOSED)
        samples[f"pons_destination_failures_in_a_row{label}"] = float(standing.circuit.failures)
        samples[f"pons_destination_oldest_seconds{label}"] = max(0.0, age)
        samples[f"pons_destination_waiting_for_dead{label}"] = float(blocked[name])
        if standing.last_acknowledged_at is not None:
            samples[f"pons_destination_last_acknowledged{label}"] = standing.last_acknowledged_at
    return samples


def _count(connection: Connection, table: Any) -> float:
    return float(connection.execute(select(func.count()).select_from(table)).scalar_one())
