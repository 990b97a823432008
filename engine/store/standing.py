"""Which results of a study stand at their receivers although its latest decision makes no version of them.

A route was renamed, or no longer fires: what it once sent would stand beside what is sent now, as if both
were true. Nobody but a person can say which of them is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, select

from engine.store.replay import reached
from engine.store.tables import deliveries, results


class Standing(NamedTuple):
    """A result that nothing will correct."""

    result_id: str
    route: str
    destinations: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why the study is held."""
        return (
            f"result {self.result_id} of route {self.route} stands at {', '.join(self.destinations)} and the "
            "latest decision makes no version of it; retract it with `pons result retract` if it is not true"
        )


def left_standing(connection: Connection, study_id: int, lineages: Collection[str]) -> list[Standing]:
    """The latest results of other lineages than these that reached anybody and were not retracted."""
    rows = connection.execute(
        select(results.c.result_id, results.c.lineage, results.c.status, results.c.document)
        .where(
            results.c.study_id == study_id,
            results.c.shadow.is_(False),
            results.c.status != "failed",
            results.c.lineage.not_in(list(lineages)),
        )
        .order_by(results.c.revision)
    ).all()
    latest = {row.lineage: row for row in rows}
    standing = []
    for row in latest.values():
        told = connection.execute(
            select(deliveries.c.destination)
            .where(
                deliveries.c.study_id == study_id, deliveries.c.lineage == row.lineage, reached(deliveries)
            )
            .distinct()
            .order_by(deliveries.c.destination)
        ).scalars()
        destinations = tuple(told)
        if destinations and row.status != "retracted":
            standing.append(Standing(row.result_id, row.document["route"], destinations))
    return standing
