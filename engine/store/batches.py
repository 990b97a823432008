"""Queries on batches: begun, found, paged, and the orders of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from engine.errors import OrderRefused, OrderRefusedReason
from engine.store.orders import Scope, place, place_of
from engine.store.tables import batches, order_results, orders, results


def by_id(connection: Connection, batch_id: str, sites: Scope = None) -> Row[Any]:
    """One batch; OrderRefused(NOT_FOUND) where it is not, or is of another site."""
    row = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).one_or_none()
    if row is None or (sites is not None and row.site not in sites):
        raise OrderRefused(OrderRefusedReason.NOT_FOUND, f"no batch {batch_id[:36]} here")
    return row


def page(
    connection: Connection,
    sites: Scope,
    limit: int,
    after: str | None,
    since: float | None = None,
    until: float | None = None,
) -> tuple[Sequence[Row[Any]], str | None]:
    """Some batches, the latest first, and the place where the next page begins."""
    query = select(batches)
    if since is not None:
        query = query.where(batches.c.created_at >= since)
    if until is not None:
        query = query.where(batches.c.created_at < until)
    if sites is not None:
        query = query.where(batches.c.site.in_(list(sites)))
    if after is not None:
        created_at, seq = place(after)
        earlier = and_(batches.c.created_at == created_at, batches.c.seq < seq)
        query = query.where(or_(batches.c.created_at < created_at, earlier))
    rows = connection.execute(
        query.order_by(batches.c.created_at.desc(), batches.c.seq.desc()).limit(limit + 1)
    ).all()
    shown = rows[:limit]
    return shown, place_of(shown[-1]) if len(rows) > limit else None


def states(connection: Connection, batch_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """How many orders of each batch are in each state."""
    found: dict[str, dict[str, int]] = {batch_id: {} for batch_id in batch_ids}
    for batch_id, state, count in connection.execute(
        select(orders.c.batch_id, orders.c.state, func.count())
        .where(orders.c.batch_id.in_(list(batch_ids)))
        .group_by(orders.c.batch_id, orders.c.state)
    ):
        found[batch_id][state] = int(count)
    return found


def orders_of(connection: Connection, batch_id: str) -> Sequence[Row[Any]]:
    """The orders of a batch, in the order in which they were given."""
    return connection.execute(
        select(orders).where(orders.c.batch_id == batch_id).order_by(orders.c.seq)
    ).all()


def latest_results(connection: Connection, batch_id: str) -> dict[str, Row[Any]]:
    """The latest result of each order of a batch; a failure report only where there is nothing else."""
    found: dict[str, Row[Any]] = {}
    for row in connection.execute(
        select(order_results.c.order_id, results)
        .join(orders, orders.c.order_id == order_results.c.order_id)
        .join(results, results.c.result_id == order_results.c.result_id)
        .where(orders.c.batch_id == batch_id)
        .order_by(order_results.c.seq)
    ):
        before = found.get(row.order_id)
        if before is None or row.status != "failed" or before.status == "failed":
            found[row.order_id] = row
    return found
