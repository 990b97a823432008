"""A person takes a result back: a last version of it, and the word to everybody who had one.

Enter: the id of a result, a reason, who. Leave: in one transaction a new version with status
*retracted*, a delivery to each destination that was sent any earlier version, and an event on the
audit trail. It runs beside an engine, in one short write transaction of the same database; the
engine finds the deliveries at its next look.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from engine.audit import append_event
from engine.channel import OutboundType
from engine.clock import at
from engine.config import Declared
from engine.decide import enqueue_delivery
from engine.errors import PonsError
from engine.model import Result, ResultStatus, Study
from engine.store import deliveries, studies, work

Destinations = Mapping[str, Declared[OutboundType]]


@dataclass(frozen=True, slots=True)
class Retraction:
    """What taking a result back would do."""

    result: Result
    """The version to come."""
    study: Study
    study_id: int
    lineage: str
    tell: tuple[str, ...]
    """Destinations that get it."""
    unreachable: tuple[str, ...]
    """Destinations that had the result and are no longer in the table: a person must tell them."""


def plan(
    connection: Connection, result_id: str, reason: str, destinations: Destinations, now: float
) -> Retraction:
    """Work out a retraction; nothing is changed.

    Raises:
        PonsError: there is no such result, it is retracted already, it failed or was a shadow's, or a
            later version stands in its place.
    """
    row = work.result_row(connection, result_id)
    if row is None:
        raise PonsError(f"no result {result_id} here; `pons result list STUDY` lists what there is")
    if row.shadow:
        raise PonsError(f"result {result_id} is a shadow's and never left the house: nothing to retract")
    versions = work.versions_of(connection, row.study_id, row.lineage)
    latest = versions[-1]
    if latest.status == ResultStatus.RETRACTED:
        raise PonsError(f"result {result_id} is retracted already, by version {latest.result_id}")
    if row.status == ResultStatus.FAILED:
        raise PonsError(f"result {result_id} is a failure report: it holds no findings to retract")
    # A failure report that came later replaces nothing: the version before it still stands.
    standing = next(one for one in reversed(versions) if one.status != ResultStatus.FAILED)
    if standing.result_id != result_id:
        raise PonsError(f"result {result_id} was superseded; retract {standing.result_id}, which stands now")
    told = deliveries.destinations_of(connection, row.study_id, row.lineage)
    tell = [one for one in told if one in destinations and destinations[one].type.carries == "result"]
    study = studies.study(connection, row.study_id)
    return Retraction(
        result=_retracted(Result.model_validate(row.document), latest, reason, now),
        study=Study(
            site=study.site,
            study_instance_uid=study.study_instance_uid,
            revision=row.study_revision,
            inbound=study.inbound,
            calling_ae_title=study.calling_ae_title,
            called_ae_title=study.called_ae_title,
            received_at=at(study.last_at),
            instances=(),
        ),
        study_id=row.study_id,
        lineage=row.lineage,
        tell=tuple(tell),
        unreachable=tuple(one for one in told if one not in tell),
    )


def retract(
    connection: Connection, result_id: str, reason: str, destinations: Destinations, now: float, *, actor: str
) -> Retraction:
    """Take a result back, inside the caller's transaction.

    Args:
        actor: who does it, for the audit trail.

    Raises:
        PonsError: as `plan`; nothing is changed then.
    """
    planned = plan(connection, result_id, reason, destinations, now)
    result, study = planned.result, planned.study
    work.record_result(
        connection,
        result_id=result.result_id,
        study_id=planned.study_id,
        study_revision=study.revision,
        lineage=planned.lineage,
        revision=result.revision,
        status=result.status.value,
        supersedes=result.supersedes,
        shadow=False,
        produced_at=now,
        document=result.model_dump(mode="json"),
    )
    for name in planned.tell:
        enqueue_delivery(
            connection,
            now,
            study=study,
            study_id=planned.study_id,
            destination=destinations[name],
            after=(),  # a warning waits for nobody
            lineage=planned.lineage,
            transform=deliveries.latest_edits(connection, planned.study_id, planned.lineage, name),
            result_id=result.result_id,
            status=result.status.value,
        )
    for name in planned.unreachable:
        why = f"destination {name} had a result that is retracted now and is not in the table: tell it"
        studies.hold(connection, planned.study_id, study.revision, why, now)
    append_event(
        connection,
        now,
        actor=actor,
        action="result retracted",
        subject=f"result {result_id}",
        detail={
            "by": result.result_id,
            "reason": reason,
            "told": list(planned.tell),
            "not told": list(planned.unreachable),
        },
    )
    return planned


def _retracted(standing: Result, latest: Any, reason: str, now: float) -> Result:
    """The last version: the findings of the one that stands, under a new status and with the reason."""
    narrative = "\n".join(filter(None, (f"Retracted: {reason}", standing.report.narrative)))
    return standing.model_copy(
        update={
            "result_id": str(uuid.uuid4()),
            "status": ResultStatus.RETRACTED,
            "revision": latest.revision + 1,
            "supersedes": latest.result_id,
            "produced_at": at(now),
            "report": standing.report.model_copy(update={"narrative": narrative}),
        }
    )
