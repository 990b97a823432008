"""Queries on orders: one by its id, pages of many, and what an order has.

A page is read by its place (created at, seq), never by a count of rows to skip, and each filter by an index
of its own: the first page of a million orders costs what the first page of a hundred does. What is searched
for is asked of one index after the other (accession number, patient, study, ids), which have the place in the
list beside the name, so that of very many that begin alike the latest are found without reading one row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from engine.errors import OrderRefused, OrderRefusedReason
from engine.order_model import OrderQuery
from engine.store.dialect import is_shared
from engine.store.tables import (
    deliveries,
    holds,
    instances,
    order_results,
    orders,
    results,
)

MATCHES = 1000
WINDOW = 5000  # of the latest, looked at first for what so many begin with that a page is soon full
SITES = 20  # up to so many, each is asked for its own page
_PLACE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?(?:e[+-]?[0-9]{1,3})?)-([0-9]{1,18})")
_LAST = "\U0010ffff"

Scope = Collection[str] | None


def by_id(connection: Connection, order_id: str, sites: Scope = None, *, lock: bool = False) -> Row[Any]:
    """One order; OrderRefused(NOT_FOUND) where it is not, or is of another site."""
    query = select(orders).where(orders.c.order_id == order_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None or (sites is not None and row.site not in sites):
        raise OrderRefused(OrderRefusedReason.NOT_FOUND, f"no order {order_id[:36]} here")
    return row


def of_study_uid(connection: Connection, study_instance_uid: str, sites: Scope) -> Sequence[Row[Any]]:
    """The orders on a study, the latest first."""
    query = select(orders).where(orders.c.study_instance_uid == study_instance_uid, *_within(sites))
    return connection.execute(query.order_by(orders.c.created_at.desc(), orders.c.seq.desc())).all()


def page(connection: Connection, query: OrderQuery) -> tuple[list[Row[Any]], str | None]:
    """Some orders, the latest first, and the place where the next page begins."""
    conditions, ways = _conditions(connection, query), _ways(query)
    if query.search is None:
        found = [row for way in ways for row in _places(connection, [*conditions, *way], query.limit)]
    else:
        found = _matches(connection, query, conditions, ways)
    places = sorted(
        {row.seq: row for row in found}.values(), key=lambda row: (row.created_at, row.seq), reverse=True
    )
    shown = places[: query.limit]
    rows = {
        row.seq: row
        for row in connection.execute(select(orders).where(orders.c.seq.in_([one.seq for one in shown])))
    }
    more = len(places) > len(shown)
    return [rows[one.seq] for one in shown if one.seq in rows], place_of(shown[-1]) if more else None


def changed_since(connection: Connection, since: float | None, limit: int) -> Sequence[Row[Any]]:
    """The orders that have changed since a time, the earliest change first; without one the latest."""
    columns = (
        "order_id",
        "site",
        "batch_id",
        "state",
        "version",
        "updated_at",
        "submitter_kind",
        "submitter",
    )
    query = select(*(orders.c[name] for name in columns)).limit(limit)
    if since is None:
        return connection.execute(query.order_by(orders.c.updated_at.desc(), orders.c.seq.desc())).all()[::-1]
    return connection.execute(
        query.where(orders.c.updated_at >= since).order_by(orders.c.updated_at, orders.c.seq)
    ).all()


def place_of(row: Any) -> str:
    """Where the page after a row begins."""
    return f"{row.created_at!r}-{row.seq}"


def place(text: str) -> tuple[float, int]:
    """What `place_of` wrote; OrderRefused(INVALID) for anything else."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise OrderRefused(
            OrderRefusedReason.INVALID, "after: no place in a list; give `next` of the page before"
        )
    return float(found[1]), int(found[2])


def _conditions(connection: Connection, query: OrderQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.submitter is not None:
        conditions += [
            orders.c.submitter_kind == query.submitter.kind,
            orders.c.submitter == query.submitter.name,
        ]
    if query.batch_id is not None:
        conditions.append(orders.c.batch_id == query.batch_id)
    if query.study_instance_uid is not None:
        conditions.append(orders.c.study_instance_uid == query.study_instance_uid)
    if query.alone:
        conditions.append(orders.c.batch_id.is_(None))
    if query.since is not None:
        conditions.append(orders.c.created_at >= query.since.timestamp())
    if query.until is not None:
        conditions.append(orders.c.created_at < query.until.timestamp())
    if query.after is not None:
        created_at, seq = place(query.after)
        conditions.append(
            and_(
                orders.c.created_at <= created_at,  # what an index can begin at
                or_(orders.c.created_at < created_at, orders.c.seq < seq),
            )
        )
    for column, value in (
        (orders.c.accession_number, query.accession_number),
        (orders.c.patient_id, query.patient_id),
    ):
        if value is not None:  # few rows have it: found by its own index, not along the order of the list
            named = select(orders.c.seq).where(column == value, *_within(query.sites)).limit(MATCHES)
            conditions.append(orders.c.seq.in_(list(connection.execute(named).scalars())))
    return conditions


def _ways(query: OrderQuery) -> list[list[ColumnElement[bool]]]:
    """The same question in pieces of which each has an index of its own, by site and by state."""
    ways: list[list[ColumnElement[bool]]] = [[]]
    if query.alone and query.sites is not None:  # their own index has the site beside the place
        ways = [[(orders.c.site + "").in_(query.sites)]]
    elif query.sites is not None and len(query.sites) <= SITES:
        ways = [[orders.c.site == site] for site in query.sites]
    elif query.sites is not None:
        ways = [[orders.c.site.in_(query.sites)]]
    if query.states:
        states = dict.fromkeys(query.states)
        ways = [[*way, orders.c.state == state.value] for way, state in product(ways, states)]
    return ways


def _places(connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[Any]:
    """Places in the list, the latest first, along its own index."""
    place = (orders.c.created_at.desc(), orders.c.seq.desc())
    query = select(orders.c.created_at, orders.c.seq).where(*conditions)
    return list(connection.execute(query.order_by(*place).limit(limit + 1)))


def _matches(
    connection: Connection,
    query: OrderQuery,
    conditions: Sequence[ColumnElement[bool]],
    ways: Sequence[Sequence[ColumnElement[bool]]],
) -> list[Any]:
    """The places of the orders that a text names."""
    text = (query.search or "").strip()
    beginning = text.removesuffix("*")
    if not beginning:
        return []
    columns = [orders.c.accession_number, orders.c.patient_id, orders.c.study_instance_uid]
    if beginning == text:
        named = [column == text for column in (*columns, orders.c.order_id, orders.c.batch_id)]
    else:
        named = [_begins(connection, column, beginning) for column in columns]
        latest = _among_the_latest(connection, query, conditions, ways, or_(*named))
        if len(latest) > query.limit:
            return latest
    # A sum, and a joined text: so that the index of the name is walked, not the list's own or the site's.
    place = ((orders.c.created_at + 0.0).desc(), orders.c.seq.desc())
    scope: list[ColumnElement[bool]] = []
    if query.states:
        scope = [*_within(query.sites), orders.c.state.in_([state.value for state in query.states])]
    elif query.sites is not None:
        scope = [(orders.c.site + "").in_(query.sites)]
    found: list[Any] = []
    for condition in named:
        found += connection.execute(
            select(orders.c.created_at, orders.c.seq)
            .where(condition, *conditions, *scope)
            .order_by(*place)
            .limit(query.limit + 1)
        ).all()
    return found


def _among_the_latest(
    connection: Connection,
    query: OrderQuery,
    conditions: Sequence[ColumnElement[bool]],
    ways: Sequence[Sequence[ColumnElement[bool]]],
    named: ColumnElement[bool],
) -> list[Any]:
    """The places of those of the latest orders that a text names, as far back as every way was looked at."""
    floor = 0.0
    for way in ways:
        at = connection.execute(
            select(orders.c.created_at)
            .where(*conditions, *way)
            .order_by(orders.c.created_at.desc(), orders.c.seq.desc())
            .offset(WINDOW // len(ways))
            .limit(1)
        ).scalar()
        floor = max(floor, at or 0.0)
    recent = [*conditions, orders.c.created_at > floor, named]
    return [row for way in ways for row in _places(connection, [*recent, *way], query.limit)]


def _begins(connection: Connection, column: Any, beginning: str) -> ColumnElement[bool]:
    """Whether a value begins so, by its bytes, as the index has them."""
    low, high = ("~>=~", "~<~") if is_shared(connection) else (">=", "<")
    begins: ColumnElement[bool] = and_(
        column.op(low, is_comparison=True)(beginning), column.op(high, is_comparison=True)(beginning + _LAST)
    )
    return begins


def _within(sites: Scope) -> tuple[ColumnElement[bool], ...]:
    return () if sites is None else (orders.c.site.in_(list(sites)),)


# ── what an order has ───────────────────────────────────────────────────────────────────────────


def results_of(connection: Connection, order_id: str) -> Sequence[Row[Any]]:
    """Every result of an order with its place among all, in the order in which they were filed."""
    return connection.execute(
        select(order_results.c.seq, order_results.c.order_id, results)
        .join(results, results.c.result_id == order_results.c.result_id)
        .where(order_results.c.order_id == order_id)
        .order_by(order_results.c.seq)
    ).all()


def deliveries_of(connection: Connection, order: Row[Any]) -> Sequence[Row[Any]]:
    """The deliveries of an order's study since the order was bound to it."""
    return connection.execute(
        select(deliveries)
        .where(deliveries.c.study_id == order.study_id, deliveries.c.study_revision >= order.since_revision)
        .order_by(deliveries.c.seq)
    ).all()


def holds_of(connection: Connection, order: Row[Any]) -> Sequence[str]:
    """Why an order's study waits for a person."""
    return (
        connection.execute(
            select(holds.c.reason)
            .where(holds.c.study_id == order.study_id, holds.c.released_at.is_(None))
            .order_by(holds.c.id)
        )
        .scalars()
        .all()
    )


def instances_of(connection: Connection, study_id: int) -> int:
    """How many instances a study has that no later version replaced."""
    return int(
        connection.execute(
            select(func.count()).where(instances.c.study_id == study_id, instances.c.replaced_in.is_(None))
        ).scalar_one()
    )
