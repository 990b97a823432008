"""Which results a reader has acknowledged; what it has not is unretrieved and offered again.

A reader (a client, a user) and a site have a mark: up to it every result of the site is acknowledged, so a
poll begins there. It never passes what was filed within the last `UNSETTLED` seconds, because a transaction
that began earlier may yet commit a result with a lower number. A reader that asks only for its own orders'
results has a mark of its own for those.

Where results of a site are kept for pulling (`engine.store.kept`), a client is offered those alone; its mark
waits for what may yet be kept, and passes what is too old to be offered.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, func, select, update

from engine.order_model import Submitter
from engine.store.dialect import among, insert_unless_there
from engine.store.kept import Kept, offered
from engine.store.tables import order_results, orders, results, retrieval_marks, retrievals

UNSETTLED = 600.0
EVERYTHING: Kept = MappingProxyType({})
"""What is offered where nothing is kept for pulling."""


def unretrieved(
    connection: Connection,
    reader: str,
    sites: Collection[str],
    submitter: Submitter | None,
    limit: int,
    kept: Kept = EVERYTHING,
    now: float = 0.0,
) -> list[Row[Any]]:
    """What a reader has not acknowledged, in the order in which it was filed."""
    found: list[Row[Any]] = []
    for site in sorted(set(sites)):
        there = (offered(kept[site], now),) if site in kept else ()
        found += connection.execute(
            select(order_results.c.seq, order_results.c.order_id, results)
            .join(results, results.c.result_id == order_results.c.result_id)
            .where(*_in_scope(site, submitter), *_unacknowledged(connection, reader, site, submitter), *there)
            .order_by(order_results.c.seq)
            .limit(limit)
        ).all()
    return sorted(found, key=lambda row: int(row.seq))[:limit]


def acknowledge(
    connection: Connection,
    reader: str,
    sites: Collection[str],
    seqs: Collection[int],
    now: float,
    kept: Kept = EVERYTHING,
) -> int:
    """A reader has these results; returns how many it had not acknowledged before."""
    there = connection.execute(
        select(order_results.c.seq, order_results.c.site, orders.c.submitter_kind, orders.c.submitter)
        .join(orders, orders.c.order_id == order_results.c.order_id)
        .where(among(connection, order_results.c.seq, list(seqs)), order_results.c.site.in_(list(sites)))
        .order_by(order_results.c.seq)
    ).all()
    marks = {site: mark(connection, reader, site, None) for site in {row.site for row in there}}
    new = sum(
        insert_unless_there(connection, retrievals, reader=reader, seq=row.seq, acknowledged_at=now)
        for row in there
        if row.seq > marks[row.site]
    )
    for site in sorted(marks):
        offered_since = now - max(kept[site].values()) if site in kept else None
        _advance(connection, reader, site, None, now, offered_since)
        for kind, name in sorted({(row.submitter_kind, row.submitter) for row in there if row.site == site}):
            _advance(connection, reader, site, Submitter(kind=kind, name=name), now, offered_since)
    return new


def mark(connection: Connection, reader: str, site: str, submitter: Submitter | None) -> int:
    """Up to which number a reader has acknowledged everything of a site."""
    found = connection.execute(
        select(retrieval_marks.c.seq).where(
            retrieval_marks.c.reader == _name(reader, submitter), retrieval_marks.c.site == site
        )
    ).scalar_one_or_none()
    return int(found or 0)


def _name(reader: str, submitter: Submitter | None) -> str:
    return reader if submitter is None else f"{reader} of {submitter}"[:128]


def _in_scope(site: str, submitter: Submitter | None) -> tuple[ColumnElement[bool], ...]:
    mine = order_results.c.site == site
    if submitter is None:
        return (mine,)
    theirs = exists().where(
        orders.c.order_id == order_results.c.order_id,
        orders.c.submitter_kind == submitter.kind,
        orders.c.submitter == submitter.name,
    )
    return mine, theirs


def _unacknowledged(
    connection: Connection, reader: str, site: str, submitter: Submitter | None
) -> tuple[ColumnElement[bool], ...]:
    acknowledged = exists().where(retrievals.c.reader == reader, retrievals.c.seq == order_results.c.seq)
    after = max(mark(connection, reader, site, None), mark(connection, reader, site, submitter))
    return order_results.c.seq > after, ~acknowledged


def _advance(
    connection: Connection,
    reader: str,
    site: str,
    submitter: Submitter | None,
    now: float,
    offered_since: float | None,
) -> None:
    """Move a mark up to the first result that is not acknowledged, or not settled.

    Args:
        offered_since: what was filed earlier is offered no more, acknowledged or not.
    """
    before = mark(connection, reader, site, submitter)
    first = connection.execute(
        select(func.min(order_results.c.seq)).where(
            *_in_scope(site, submitter), *_unacknowledged(connection, reader, site, submitter)
        )
    ).scalar_one_or_none()
    settled = connection.execute(
        select(func.max(order_results.c.seq)).where(
            order_results.c.site == site,
            order_results.c.seq > before,
            order_results.c.filed_at < now - UNSETTLED,
            *(() if first is None else (order_results.c.seq < first,)),
        )
    ).scalar_one_or_none()
    if settled is None or settled <= before:
        return
    where = {"reader": _name(reader, submitter), "site": site}
    if not insert_unless_there(connection, retrieval_marks, **where, seq=settled):
        connection.execute(
            update(retrieval_marks)
            .where(*(retrieval_marks.c[name] == value for name, value in where.items()))
            .values(seq=settled)
        )
    if submitter is None:  # below the mark everything is acknowledged: that is all there is to know
        passed = select(order_results.c.seq).where(
            order_results.c.site == site, order_results.c.seq > before, order_results.c.seq <= settled
        )
        connection.execute(
            delete(retrievals).where(retrievals.c.reader == reader, retrievals.c.seq.in_(passed))
        )
