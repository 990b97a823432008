"""Queries for those who look after an engine: deliveries by page, how the last day went, what waits where.

All of them read. Each keeps to an index, so that a dashboard may ask them of a database of any age.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, func, literal, select, union_all

from engine.store.tables import audit_events, deliveries, holds, orders, studies

Sites = Collection[str] | None
AT_ONCE, IN_ONE = 100, 500  # sites, and studies, in one statement


def study_ids(connection: Connection, uid: str) -> Sequence[int]:
    """The studies with this UID, one a site: by their orders, where UIDs are indexed, else among all."""
    ordered = select(orders.c.study_id).where(
        orders.c.study_instance_uid == uid, orders.c.study_id.is_not(None)
    )
    found = connection.execute(ordered.distinct()).scalars().all()
    if found:
        return [int(one) for one in found if one is not None]
    return connection.execute(select(studies.c.id).where(studies.c.study_instance_uid == uid)).scalars().all()


def delivery_conditions(
    connection: Connection,
    *,
    sites: Sites,
    site: str | None = None,
    states: Collection[str] = (),
    search: str | None = None,
    before: int | None = None,
) -> list[ColumnElement[bool]]:
    """Conditions on deliveries joined with their studies.

    Args:
        search: a delivery's id, a Study Instance UID or an accession number, whole.
        before: only those with a smaller ``seq``.
    """
    found = _of_sites(studies.c.site, sites)
    if site is not None:
        found.append(studies.c.site == site)
    if states:
        found.append(deliveries.c.state.in_(states))
    if before is not None:
        found.append(deliveries.c.seq < before)
    if search is not None:
        found.append(_named(connection, search))
    return found


def _named(connection: Connection, search: str) -> ColumnElement[bool]:
    """Which deliveries a word means, looked up first: a condition of three ways would be tried on each."""
    own = select(deliveries.c.seq).where(deliveries.c.delivery_id == search)
    if (seq := connection.execute(own).scalar()) is not None:
        return deliveries.c.seq.in_([seq])
    numbered = select(orders.c.study_id).where(orders.c.accession_number == search)
    found = {one for one in connection.execute(numbered).scalars() if one is not None}
    return deliveries.c.study_id.in_(sorted(found or set(study_ids(connection, search))))


def orders_since(connection: Connection, since: float, sites: Sites) -> dict[str, int]:
    """How many orders that began at this time or later are in each state."""
    query = select(orders.c.state, func.count()).where(
        orders.c.created_at >= since, *_of_sites(orders.c.site, sites)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query.group_by(orders.c.state))}


def counted_between(
    connection: Connection, edges: Sequence[float], sites: Sites
) -> list[tuple[int, int, int]]:
    """Between each two edges (seconds): orders that began, deliveries that arrived, deliveries that died."""
    counts = []
    for begins, ends in itertools.pairwise(edges):
        ended = (_ended(state, begins, ends, sites) for state in ("delivered", "dead"))
        row = connection.execute(select(_count_orders(begins, ends, sites), *ended)).one()
        counts.append((int(row[0]), int(row[1]), int(row[2])))
    return counts


def _count_orders(begins: float, ends: float, sites: Sites) -> Any:
    return (
        select(func.count())
        .select_from(orders)
        .where(orders.c.created_at >= begins, orders.c.created_at < ends, *_of_sites(orders.c.site, sites))
        .scalar_subquery()
    )


def _ended(state: str, begins: float, ends: float, sites: Sites) -> Any:
    query = select(func.count()).select_from(deliveries)
    if sites is not None:
        query = query.join(studies, studies.c.id == deliveries.c.study_id)
    return query.where(
        deliveries.c.state == state,
        deliveries.c.finished_at >= begins,
        deliveries.c.finished_at < ends,
        *_of_sites(studies.c.site, sites),
    ).scalar_subquery()


def retrying(connection: Connection) -> dict[str, int]:
    """Queued deliveries that were tried already, by destination."""
    query = select(deliveries.c.destination, func.count()).where(
        deliveries.c.state == "queued", deliveries.c.attempts > 0
    )
    return {row[0]: int(row[1]) for row in connection.execute(query.group_by(deliveries.c.destination))}


class OpenHolds(NamedTuple):
    """What waits for a person at a site."""

    site: str
    n: int
    oldest_at: float


def open_holds(connection: Connection) -> list[OpenHolds]:
    """By site: how many holds nobody has answered, and since when the longest waits.

    The few that are open are looked up first: joined, a planner without statistics begins with every study.
    """
    query = select(holds.c.study_id, holds.c.held_at).where(holds.c.released_at.is_(None))
    found = [(int(row[0]), float(row[1])) for row in connection.execute(query)]
    sites: dict[int, str] = {}
    wanted = sorted({study_id for study_id, _ in found})
    for start in range(0, len(wanted), IN_ONE):
        some = select(studies.c.id, studies.c.site).where(studies.c.id.in_(wanted[start : start + IN_ONE]))
        sites |= {row[0]: row[1] for row in connection.execute(some)}
    waits: dict[str, list[float]] = {}
    for study_id, held_at in found:
        waits.setdefault(sites[study_id], []).append(held_at)
    return [OpenHolds(site, len(since), min(since)) for site, since in sorted(waits.items())]


def latest_orders_at(connection: Connection, sites: Sequence[str]) -> dict[str, float]:
    """When the latest order of each of these sites began; sites without one are left out."""
    found: dict[str, float] = {}
    for start in range(0, len(sites), AT_ONCE):
        rows = union_all(
            *(
                select(
                    literal(site).label("site"),
                    select(func.max(orders.c.created_at)).where(orders.c.site == site).scalar_subquery(),
                )
                for site in sites[start : start + AT_ONCE]
            )
        )
        found |= {row[0]: row[1] for row in connection.execute(rows) if row[1] is not None}
    return found


def latest_orders(connection: Connection, sites: Sites, limit: int) -> Sequence[Any]:
    """The orders that began last, with the UID of the study that they are bound to."""
    uid = func.coalesce(studies.c.study_instance_uid, orders.c.study_instance_uid).label("uid")
    query = (
        select(orders.c.site, orders.c.created_at, orders.c.submitter_kind, orders.c.submitter, uid)
        .outerjoin(studies, studies.c.id == orders.c.study_id)
        .where(*_of_sites(orders.c.site, sites))
        .order_by(orders.c.created_at.desc(), orders.c.seq.desc())
    )
    return connection.execute(query.limit(limit)).all()


def latest_ended(connection: Connection, state: str, sites: Sites, limit: int) -> Sequence[Any]:
    """The deliveries that came to this state last."""
    query = (
        select(
            *(deliveries.c.delivery_id, deliveries.c.destination, deliveries.c.status, deliveries.c.reason),
            *(deliveries.c.finished_at, studies.c.site, studies.c.study_instance_uid),
        )
        .join(studies, studies.c.id == deliveries.c.study_id)
        .where(deliveries.c.state == state, deliveries.c.finished_at.is_not(None))
        .where(*_of_sites(studies.c.site, sites))
        .order_by(deliveries.c.finished_at.desc())
    )
    return connection.execute(query.limit(limit)).all()


def latest_holds(connection: Connection, sites: Sites, limit: int) -> Sequence[Any]:
    """The studies that were held last."""
    query = (
        select(holds.c.held_at, holds.c.reason, studies.c.site, studies.c.study_instance_uid)
        .join(studies, studies.c.id == holds.c.study_id)
        .where(*_of_sites(studies.c.site, sites))
        .order_by(holds.c.id.desc())
    )
    return connection.execute(query.limit(limit)).all()


def list_held(
    connection: Connection, *, sites: Sites, study: str | None, released: bool, limit: int
) -> Sequence[Row[Any]]:
    """Holds with their studies, the longest wait first."""
    query = select(holds, studies.c.site, studies.c.study_instance_uid).join(
        studies, studies.c.id == holds.c.study_id
    )
    query = query.where(*_of_sites(studies.c.site, sites))
    if not released:
        query = query.where(holds.c.released_at.is_(None))
    if study is not None:
        query = query.where(studies.c.study_instance_uid == study)
    return connection.execute(query.order_by(holds.c.id).limit(limit)).all()


def holds_among(connection: Connection, ids: Collection[int], sites: Sites) -> set[int]:
    """Which of these holds are of these sites."""
    query = select(holds.c.id).join(studies, studies.c.id == holds.c.study_id).where(holds.c.id.in_(ids))
    return set(connection.execute(query.where(*_of_sites(studies.c.site, sites))).scalars())


def deliveries_among(connection: Connection, ids: Collection[str], sites: Sites) -> set[str]:
    """Which of these deliveries are of these sites."""
    query = (
        select(deliveries.c.delivery_id)
        .join(studies, studies.c.id == deliveries.c.study_id)
        .where(deliveries.c.delivery_id.in_(ids))
    )
    return set(connection.execute(query.where(*_of_sites(studies.c.site, sites))).scalars())


def trail_page(
    connection: Connection,
    *,
    action: str | None,
    actor: str | None,
    subject: str | None,
    since: float | None,
    until: float | None,
    before: int | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Events of the audit trail, the latest first."""
    query = select(audit_events)
    for column, part in ((audit_events.c.actor, actor), (audit_events.c.subject, subject)):
        if part:
            query = query.where(column.contains(part, autoescape=True))
    if action:
        query = query.where(audit_events.c.action == action)
    if since is not None:
        query = query.where(audit_events.c.at >= since)
    if until is not None:
        query = query.where(audit_events.c.at <= until)
    if before is not None:
        query = query.where(audit_events.c.id < before)
    return connection.execute(query.order_by(audit_events.c.id.desc()).limit(limit)).all()


def _of_sites(column: Any, sites: Sites) -> list[ColumnElement[bool]]:
    return [] if sites is None else [column.in_(sorted(sites))]
