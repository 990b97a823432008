"""The last gate before a wrong hospital: what is of one site never leaves by a destination of another.

Whoever queues a delivery has looked already. But a delivery may wait for days, and meanwhile a table may give
the name of its destination to another site.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from engine.store.dialect import among
from engine.store.lanes import Claim, Settlement, settle
from engine.store.tables import studies


def turn_back(
    connection: Connection, claims: Sequence[Claim], destination: str, site: str, now: float
) -> list[Claim]:
    """Those of some claims that are of a destination's own site; the others become dead letters.

    Args:
        claims: of one destination, taken in this transaction.
        site: that the destination belongs to, by the table that runs.
    """
    wanted = {claim.delivery.study_id for claim in claims}
    if not wanted:
        return []
    others = set(
        connection.execute(
            select(studies.c.id).where(among(connection, studies.c.id, wanted), studies.c.site != site)
        ).scalars()
    )
    reason = f"destination {destination} belongs to site {site} now; nothing was sent there"
    astray = [
        Settlement(claim, "refused", "site", reason) for claim in claims if claim.delivery.study_id in others
    ]
    settle(connection, astray, now)
    return [claim for claim in claims if claim.delivery.study_id not in others]
