"""Which deliveries can be sent again, to where they were bound or to another destination, and how.

Enter: the deliveries that a person means, and the table of now. Leave: a step for each. An old version
never follows a new one to its destination, and nothing goes to another site.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from engine.channel import OutboundType
from engine.clock import at
from engine.config import Declared
from engine.decide import enqueue_delivery
from engine.model import StoredInstance, Study
from engine.replay_plan import PURGED, Step
from engine.store import replay as queries
from engine.store import studies as study_queries
from engine.store.lanes import OPEN
from engine.table import Table

NEWER = "a newer version has gone there, or is about to, and must not be followed by an old one"


def delivery_steps(
    connection: Connection, rows: Sequence[Row[Any]], table: Table, to: str | None
) -> list[Step]:
    """What a replay means for each of these deliveries, in their order."""
    steps: list[Step] = []
    chosen: set[tuple[str, str]] = set()  # a newer version of the same goes: the latest comes first here
    for row in reversed(rows):
        thing = (to or row.destination, row.lineage)
        if to is None:
            why = why_not_again(
                row,
                table.outbound.get(row.destination),
                newer_goes=thing in chosen,
                kept=_kept(row, table.engine.data),
            )
            effect = f"sent again to {row.destination} under the same identifiers"
        else:
            why = why_not_there(
                row,
                table.outbound[to],
                newer_goes=thing in chosen,
                sent=queries.versions_sent(connection, row.study_id, row.lineage),
                newest=queries.newest_version(connection, row.study_id, row.lineage)
                if row.result_id
                else None,
            )
            effect = f"a delivery of its own to {to}"
        if not why:
            chosen.add(thing)
        steps.append(
            Step(
                row.delivery_id,
                row.site,
                row.study_instance_uid,
                row.destination,
                row.state,
                effect="" if why else effect,
                left_out=why,
                row=row,
            )
        )
    return steps[::-1]


def why_not_again(
    row: Any, destination: Declared[OutboundType] | None, *, newer_goes: bool, kept: bool
) -> str:
    """Why a delivery is not sent again; empty when it is."""
    if row.state in OPEN:
        return f"it is {row.state} and goes by itself"
    if row.state == "superseded":
        return "a newer version took its place"
    if row.state == "cancelled":
        return "its order was cancelled: give another order for the study"
    if destination is None:
        return f"the table has no destination {row.destination} any more; send it elsewhere with --to"
    if destination.settings.site != row.site:
        return f"destination {row.destination} belongs to another site now"
    if row.newer:
        return NEWER
    if newer_goes:
        return "a newer version of it is sent again"
    if row.purged_at is not None and (row.result_id is None or row.payload is None):
        return PURGED
    if not kept:
        return "its bytes are no longer kept; replay it from process"
    return ""


def why_not_there(
    row: Any,
    destination: Declared[OutboundType],
    *,
    newer_goes: bool,
    sent: Sequence[Any],
    newest: int | None,
) -> str:
    """Why a delivery is not sent to another destination; empty when it is.

    Args:
        sent: what went of its lineage, to whomever (`engine.store.replay.versions_sent`).
        newest: the version of the result that stands; None for a study.
    """
    there = [one for one in sent if one.destination == destination.name]
    if row.destination == destination.name:
        return f"it is bound for {destination.name} itself; leave out --to"
    if destination.settings.site != row.site:
        return f"destination {destination.name} belongs to another site"
    carries = "study" if row.result_id is None else "result"
    if destination.type.carries != carries:
        return f"destination {destination.name} carries no {carries}"
    if any(one.version == row.version and one.state in (*OPEN, "delivered") for one in there):
        return f"{destination.name} has it, or is about to get it"
    if any(one.version > row.version and one.reached for one in there):
        return NEWER
    stands = newest if newest is not None else max(one.version for one in sent)
    if stands > row.version or newer_goes:
        return f"version {stands} stands now; send that one"
    if row.purged_at is not None:  # and with them what a result is rendered from
        return PURGED
    return ""


def _kept(row: Any, data: Path) -> bool:
    """Whether the bytes of a delivery that was rendered are still there, and not about to be removed."""
    if row.purged_at is not None and row.created_at < row.purged_at and row.payload is not None:
        return False
    return all((data / part["path"]).exists() for part in row.payload or ())


def redirect(
    connection: Connection, row: Any, destination: Declared[OutboundType], now: float, *, instances: Path
) -> None:
    """Queue a delivery of the same to another destination; it waits for nobody.

    Args:
        instances: the folder of instance files; whose study it is may be read there to keep its order.
    """
    study = study_queries.study(connection, row.study_id)
    members = study_queries.members(connection, row.study_id, row.study_revision)
    enqueue_delivery(
        connection,
        now,
        study=Study(
            site=study.site,
            study_instance_uid=study.study_instance_uid,
            revision=row.study_revision,
            inbound=study.inbound,
            calling_ae_title=study.calling_ae_title,
            called_ae_title=study.called_ae_title,
            received_at=at(study.last_at),
            instances=(),
            stored=tuple(
                StoredInstance(
                    series_instance_uid=member.series_instance_uid,
                    sop_instance_uid=member.sop_instance_uid,
                    sop_class_uid=member.sop_class_uid,
                    transfer_syntax_uid=member.transfer_syntax_uid,
                    path=instances / member.path,
                    sha256=member.sha256,
                )
                for member in members[:1]
            ),
        ),
        study_id=row.study_id,
        destination=destination,
        after=(),
        lineage=row.lineage,
        transform=row.transform,
        result_id=row.result_id,
        status=row.status,
    )
