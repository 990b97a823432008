"""Deliveries as those see them who look after them: what keeps one from going out, what was tried.

Enter: a connection, the table in force, a clock. Leave: rows with reasons, pages, attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from engine.clock import at
from engine.delivery_model import (
    DeliveryDetails,
    DeliveryPage,
    DeliveryQuery,
    DeliveryRow,
    MessagePart,
    Try,
)
from engine.operations.standing import closed_at
from engine.operations_model import OperationRefused, OperationRefusedReason, Sites
from engine.outlook import of_delivery
from engine.store import browse, deliveries, look
from engine.store.destinations import Standing, all_standings, waits_for_the_dead
from engine.store.tables import deliveries as delivery_rows
from engine.table import Table

MAX_PAGE = 500
MAX_PARTS = 100  # that are listed; every one can be asked for


class Reasoned(NamedTuple):
    """A row of `look.list_deliveries`, why it has not gone out, and when it is tried next (seconds)."""

    row: Any
    waits: str
    next_at: float | None


def reasoned(connection: Connection, found: Sequence[Any], table: Table, now: float) -> list[Reasoned]:
    """What keeps each of these deliveries from going out."""
    standings = all_standings(connection)
    blockers: dict[int, list[tuple[str, str]]] = {}
    for study_id in {row.study_id for row in found if row.state == "waiting"}:
        for one in waits_for_the_dead(connection, study_id):
            blockers.setdefault(one.seq, []).append((one.blocker, one.state))
    told = []
    for row in found:
        closed = closed_at(table, row.destination, now)
        standing = standings.get(row.destination, Standing())
        told.append(Reasoned(row, *of_delivery(row, standing, closed, blockers.get(row.seq, ()), now)))
    return told


def page(connection: Connection, query: DeliveryQuery, table: Table, now: float) -> DeliveryPage:
    """A page, the latest first."""
    limit = max(1, min(query.limit, MAX_PAGE))
    conditions = browse.delivery_conditions(
        connection,
        sites=query.sites,
        site=query.site,
        states=query.states,
        search=query.search,
        before=query.before,
    )
    found = look.list_deliveries(
        connection, destination=query.destination, limit=limit + 1, further=conditions
    )
    shown = found[:limit]
    rows = tuple(row_of(one) for one in reasoned(connection, shown, table, now))
    return DeliveryPage(rows, shown[-1].seq if len(found) > limit else None)


def row_of(one: Reasoned) -> DeliveryRow:
    """One delivery as a value."""
    row = one.row
    return DeliveryRow(
        delivery_id=row.delivery_id,
        site=row.site,
        study_instance_uid=row.study_instance_uid,
        study_revision=row.study_revision,
        result_id=row.result_id,
        destination=row.destination,
        status=row.status,
        state=row.state,
        attempts=row.attempts,
        waits=one.waits,
        next_at=_moment(one.next_at),
        reason=row.reason,
        created_at=at(row.created_at),
        finished_at=_moment(row.finished_at),
    )


def details(
    connection: Connection, delivery_id: str, sites: Sites, table: Table, data: Path, now: float
) -> DeliveryDetails:
    """A delivery with everything that there is of it; OperationRefused when it is not there."""
    one = found(connection, delivery_id, sites, table, now)
    manifest = one.row.payload or []
    return DeliveryDetails(
        row=row_of(one),
        after=tuple(one.row.after),
        tries=tuple(
            Try(
                attempt=row.attempt,
                started_at=at(row.started_at),
                ended_at=_moment(row.ended_at),
                outcome=row.outcome,
                code=row.code,
                detail=row.detail,
                warning=row.warning,
            )
            for row in deliveries.attempts_of(connection, delivery_id)
        ),
        parts=tuple(part_of(number, entry, data) for number, entry in enumerate(manifest[:MAX_PARTS])),
        parts_in_all=len(manifest),
    )


def found(connection: Connection, delivery_id: str, sites: Sites, table: Table, now: float) -> Reasoned:
    """The delivery with this id, of these sites."""
    conditions = [
        *browse.delivery_conditions(connection, sites=sites),
        delivery_rows.c.delivery_id == delivery_id,
    ]
    rows = look.list_deliveries(connection, limit=1, further=conditions)
    if not rows:
        raise OperationRefused(OperationRefusedReason.NOT_FOUND, "no such delivery here")
    return reasoned(connection, rows, table, now)[0]


def part_of(number: int, entry: dict[str, Any], data: Path) -> MessagePart:
    """One piece of a payload, from its entry in the manifest."""
    try:
        size: int | None = (data / entry["path"]).stat().st_size
    except OSError:
        size = None
    return MessagePart(number, entry["identifier"], entry["media_type"], size)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else at(seconds)
