"""What lies at the engine's own destinations, for programs to fetch (`engine.channel.Keeps`).

A delivery there is settled once its bytes are on the disk. One that waits for a client to acknowledge it is,
for the store, one that waits for a commitment (`engine.store.commitments`): the client's word is the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select

from engine.model import CommitmentReport
from engine.store import commitments
from engine.store.dialect import among
from engine.store.tables import deliveries, order_results

Kept = Mapping[str, Mapping[str, float]]
"""Site -> destination -> seconds for which a result is offered there; a site without any offers them all."""

# A version that was never acknowledged is superseded by the next, and not offered beside it.
_LIES = or_(
    deliveries.c.state == "delivered",
    and_(deliveries.c.stored.is_not(None), deliveries.c.state.in_(("waiting", "queued", "dead"))),
)


def offered(destinations: Mapping[str, float], now: float) -> ColumnElement[bool]:
    """Whether a row of `order_results` is offered at one of these destinations."""
    return or_(
        *(
            and_(
                order_results.c.filed_at > now - kept_for,
                exists().where(
                    deliveries.c.result_id == order_results.c.result_id,
                    deliveries.c.destination == name,
                    _LIES,
                ),
            )
            for name, kept_for in destinations.items()
        )
    )


def lying(connection: Connection, result_id: str, destinations: Collection[str]) -> list[Any]:
    """The deliveries of a result that lie at these destinations, the latest first."""
    return list(
        connection.execute(
            select(deliveries.c.destination, deliveries.c.payload, order_results.c.filed_at)
            .join(order_results, order_results.c.result_id == deliveries.c.result_id)
            .where(
                deliveries.c.result_id == result_id, deliveries.c.destination.in_(list(destinations)), _LIES
            )
            .order_by(deliveries.c.seq.desc())
        ).all()
    )


def acknowledged(
    connection: Connection, kept: Kept, sites: Collection[str], seqs: Collection[int], now: float
) -> None:
    """A client has these results: what waited for that is delivered."""
    at = {name: site for site in sites for name in kept.get(site, ())}
    if not at:
        return
    waiting = connection.execute(
        select(deliveries.c.destination, deliveries.c.transaction_uid, deliveries.c.payload)
        .join(order_results, order_results.c.result_id == deliveries.c.result_id)
        .where(
            among(connection, order_results.c.seq, list(seqs)),
            order_results.c.site.in_(list(sites)),
            deliveries.c.destination.in_(list(at)),
            deliveries.c.state.in_(("waiting", "queued", "dead")),
            deliveries.c.transaction_uid.is_not(None),
        )
        .order_by(deliveries.c.destination, deliveries.c.order_key, deliveries.c.seq)
        .distinct()
    ).all()
    for row in waiting:
        has = tuple(
            (part["facts"].get("sop_class_uid", ""), part["identifier"]) for part in row.payload or ()
        )
        commitments.apply(connection, at[row.destination], CommitmentReport(row.transaction_uid, has), now)
