"""Orders that were given alone and batches as one list, the latest first.

Each of the two is read along an index of its own, a page at most, and the two pages are merged; the place
where the next page begins is that of both.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from engine.order_model import OrderQuery
from engine.store import batches, orders

_APART = "~"


def page(connection: Connection, query: OrderQuery, after: str | None) -> tuple[list[Row[Any]], str | None]:
    """Some rows of `orders` and of `batches`, and the place where the next page begins.

    Args:
        query: which orders; the batches are those of the same sites and times.
    """
    order_place, _, batch_place = (after or "").partition(_APART)
    alone, more_alone = orders.page(connection, query.model_copy(update={"after": order_place or None}))
    groups, more_groups = batches.page(
        connection,
        query.sites,
        query.limit,
        batch_place or None,
        None if query.since is None else query.since.timestamp(),
        None if query.until is None else query.until.timestamp(),
    )
    both = sorted(
        [*((row.created_at, 1, row) for row in alone), *((row.created_at, 0, row) for row in groups)],
        key=lambda one: (one[0], one[1], one[2].seq),
        reverse=True,
    )
    shown = both[: query.limit]
    if len(both) == len(shown) and more_alone is None and more_groups is None:
        return [row for *_, row in shown], None
    places = {1: order_place, 0: batch_place}
    for _, kind, row in shown:
        places[kind] = orders.place_of(row)
    return [row for *_, row in shown], f"{places[1]}{_APART}{places[0]}"
