"""A run that has ended becomes a result and its deliveries, in one transaction.

Enter: what the processor found, or why it found nothing, and the outcomes that the job carries. Leave: the
result on record, superseding the one before it, a delivery for each destination that wants its status, a
hold where a person must look. A run for an earlier revision that ends after a later one is not delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from engine.clock import at
from engine.config import Table
from engine.decide import enqueue_delivery
from engine.model import Report, Result, ResultStatus, Study
from engine.route import RouteOutcome, Sending
from engine.store import deliveries, studies, study_orders, work
from engine.study_context import StudyContext
from engine.when import unmet


def record_run(
    connection: Connection,
    table: Table,
    job: Any,
    study: Study,
    context: StudyContext,
    outcomes: list[RouteOutcome],
    report: Report,
    result_id: str,
    now: float,
    failed: str,
) -> None:
    """Settle a claimed job and keep what came of it; nothing where another owner has taken it over.

    Args:
        table: the one that the run began with.
        failed: why the report is a failure report; empty when it is none.
    """
    studies.lock(connection, job.study_id)  # of two results at once, one must know of the other
    if not work.finish_job(connection, job, "failed" if failed else "done", now, detail=failed):
        return  # another owner took the job over; its result counts
    previous = work.latest_result(connection, job.study_id, job.lineage)
    overtaken = previous is not None and previous.study_revision > job.revision
    result = Result(
        result_id=result_id,
        site=study.site,
        route=outcomes[0].route,
        status=_status(report, failed, previous.status if previous else None),
        revision=previous.revision + 1 if previous else 1,
        supersedes=previous.result_id if previous else None,
        produced_at=at(now),
        patient=context.patient,
        order=context.order,
        study=context.study,
        report=report,
    )
    if overtaken:
        return
    shadow = outcomes[0].shadow
    told = not shadow and not study_orders.is_cancelled(connection, job.study_id, job.revision)
    work.record_result(
        connection,
        result_id=result_id,
        study_id=job.study_id,
        study_revision=job.revision,
        lineage=job.lineage,
        revision=result.revision,
        status=result.status.value,
        supersedes=result.supersedes,
        shadow=shadow,
        produced_at=now,
        document=result.model_dump(mode="json"),
    )
    if failed and told:
        studies.hold(
            connection, job.study_id, job.revision, f"processor {job.processor} failed: {failed}", now
        )
    if told:
        _queue_deliveries(connection, table, job, study, outcomes, result, now)


def _queue_deliveries(
    connection: Connection,
    table: Table,
    job: Any,
    study: Study,
    outcomes: list[RouteOutcome],
    result: Result,
    now: float,
) -> None:
    told = deliveries.destinations_of(connection, job.study_id, job.lineage)
    wanted = wanted_of(outcomes, result, told)
    for sending in wanted.values():
        destination = table.outbound.get(sending.to)
        if destination is None:
            reason = f"destination {sending.to} is no longer in the table; nothing was sent there"
            studies.hold(connection, job.study_id, job.revision, reason, now)
            continue
        if destination.type.carries != "result":
            continue
        enqueue_delivery(
            connection,
            now,
            study=study,
            study_id=job.study_id,
            destination=destination,
            after=[name for name in sending.after if name in wanted and name in table.outbound],
            lineage=job.lineage,
            transform=sending.transform,
            result_id=result.result_id,
            status=result.status.value,
        )


def wanted_of(
    outcomes: Sequence[RouteOutcome], result: Result, told: Collection[str] = ()
) -> dict[str, Sending]:
    """Who gets a result, each once, whichever of the routes names it first.

    A destination that does not get it is nobody to wait for.

    Args:
        told: destinations that were sent an earlier version of the result, or were to be.
    """
    wanted: dict[str, Sending] = {}
    for outcome in outcomes:
        for sending in outcome.deliver:
            if not unmet(sending.when, result, told=sending.to in told):
                wanted.setdefault(sending.to, sending)
    return wanted


def withheld_from(outcomes: Sequence[RouteOutcome], result: Result) -> dict[str, str]:
    """Who is named by the routes and does not get a result, and why; who was told before may get it still."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        for sending in outcome.deliver:
            reasons.setdefault(sending.to, []).append(unmet(sending.when, result))
    return {name: "; or ".join(dict.fromkeys(why)) for name, why in reasons.items() if all(why)}


def _status(report: Report, failed: str, previous: str | None) -> ResultStatus:
    if failed:
        return ResultStatus.FAILED
    if previous in (ResultStatus.FINAL, ResultStatus.CORRECTED):
        return ResultStatus.CORRECTED
    return ResultStatus(report.status)
