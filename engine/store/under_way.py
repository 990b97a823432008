"""What is under way, counted by what of the table it depends on; and the studies that came last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, select

from engine.store.lanes import OPEN
from engine.store.tables import decisions, deliveries, holds, jobs, studies

DEAD = "dead"


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Counts of what is not over."""

    deliveries: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # destination, site, state
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)  # processor, state
    runs_for: Counter[str] = field(default_factory=Counter)  # destination that their result is for
    holds: Counter[str] = field(default_factory=Counter)  # route whose `hold:` a study waits for
    receiving: Counter[tuple[str, str]] = field(default_factory=Counter)  # way in, site of open studies


def under_way(connection: Connection) -> UnderWay:
    """Count it, in one snapshot where the caller's transaction is one."""
    open_or_dead = (
        select(deliveries.c.destination, studies.c.site, deliveries.c.state, func.count())
        .join(studies, studies.c.id == deliveries.c.study_id)
        .where(deliveries.c.state.in_((*OPEN, DEAD)))
        .group_by(deliveries.c.destination, studies.c.site, deliveries.c.state)
    )
    receiving = (
        select(studies.c.inbound, studies.c.site, func.count())
        .where(studies.c.state == "receiving")
        .group_by(studies.c.inbound, studies.c.site)
    )
    found = UnderWay(
        deliveries=Counter({(to, site, state): n for to, site, state, n in connection.execute(open_or_dead)}),
        holds=_holds(connection),
        receiving=Counter({(inbound, site): n for inbound, site, n in connection.execute(receiving)}),
    )
    runs = select(jobs.c.processor, jobs.c.state, jobs.c.outcomes).where(
        jobs.c.state.in_(("queued", "running"))
    )
    for processor, state, outcomes in connection.execute(runs):
        found.runs[processor, state] += 1
        live = [one for one in outcomes if not one.get("shadow")]
        found.runs_for.update({sending["to"] for one in live for sending in one.get("deliver", ())})
    return found


def _holds(connection: Connection) -> Counter[str]:
    """Open holds by the route that asked for them; those that no route asked for are left out."""
    latest = (
        select(func.max(decisions.c.id).label("id"))
        .group_by(decisions.c.study_id, decisions.c.revision)
        .subquery()
    )
    query = (
        select(holds.c.reason, decisions.c.decision)
        .join(
            decisions,
            (decisions.c.study_id == holds.c.study_id) & (decisions.c.revision == holds.c.revision),
        )
        .join(latest, latest.c.id == decisions.c.id)
        .where(holds.c.released_at.is_(None))
    )
    found: Counter[str] = Counter()
    for reason, decision in connection.execute(query):
        outcomes = decision.get("outcomes", ())
        found.update({one["route"] for one in outcomes if one["hit"] and one.get("hold") == reason})
    return found


def latest_studies(connection: Connection, limit: int) -> Sequence[Row[Any]]:
    """The studies of which a revision was closed, the one that came last first."""
    query = select(studies).where(studies.c.revision > 0)
    return connection.execute(
        query.order_by(studies.c.last_at.desc(), studies.c.id.desc()).limit(limit)
    ).all()
