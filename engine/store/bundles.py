"""Which deliveries went out together: a bundle keeps its members from its first attempt on.

A delivery that is replayed begins anew (`age_from`), and belongs to no bundle that was formed before.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from engine.store.bundle_tables import bundled
from engine.store.dialect import among
from engine.store.lanes import Claim
from engine.store.tables import deliveries


def of(connection: Connection, claims: Sequence[Claim]) -> dict[str, str]:
    """The bundle that each of some deliveries is a member of, where it is of one."""
    if not claims:
        return {}
    wanted = [claim.delivery.delivery_id for claim in claims]
    rows = connection.execute(
        select(bundled.c.delivery_id, bundled.c.bundle_id)
        .join(deliveries, deliveries.c.delivery_id == bundled.c.delivery_id)
        .where(among(connection, bundled.c.delivery_id, wanted), bundled.c.formed_at >= deliveries.c.age_from)
    )
    return {row.delivery_id: row.bundle_id for row in rows}


def size(connection: Connection, bundle_id: str) -> int:
    """How many members of a bundle are still to go out with it."""
    count: int = connection.execute(
        select(func.count())
        .select_from(bundled.join(deliveries, deliveries.c.delivery_id == bundled.c.delivery_id))
        .where(
            bundled.c.bundle_id == bundle_id,
            bundled.c.formed_at >= deliveries.c.age_from,
            deliveries.c.state.in_(("queued", "waiting")),
        )
    ).scalar_one()
    return count


def form(connection: Connection, bundle_id: str, claims: Sequence[Claim], now: float) -> None:
    """These are a bundle from now on."""
    connection.execute(
        insert(bundled),
        [
            {"delivery_id": claim.delivery.delivery_id, "bundle_id": bundle_id, "formed_at": now}
            for claim in claims
        ],
    )
