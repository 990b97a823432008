"""Queries on decisions, jobs and results: from a closed revision to the deliveries it causes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from engine.store.order_states import touch
from engine.store.studies import hold
from engine.store.study_orders import file_result, is_cancelled
from engine.store.tables import decisions, jobs, results

CANCELLED = "its order was cancelled"
CRASHES = 3  # runs of one job that an engine did not survive before a person is asked


def record_decision(
    connection: Connection,
    study_id: int,
    revision: int,
    table_version: str,
    decision: dict[str, Any],
    now: float,
) -> None:
    """Keep what was decided, why, and by which version of the table."""
    connection.execute(
        insert(decisions).values(
            study_id=study_id,
            revision=revision,
            table_version=table_version,
            decided_at=now,
            decision=decision,
        )
    )


def queue_job(
    connection: Connection,
    *,
    job_id: str,
    study_id: int,
    revision: int,
    processor: str,
    lineage: str,
    outcomes: list[dict[str, Any]],
    now: float,
) -> None:
    """Queue one run of a processor; runs still waiting for an earlier revision are superseded."""
    connection.execute(
        update(jobs)
        .where(
            jobs.c.study_id == study_id,
            jobs.c.lineage == lineage,
            jobs.c.state == "queued",
            jobs.c.revision < revision,
        )
        .values(state="superseded", finished_at=now, detail=f"revision {revision} came before it ran")
    )
    connection.execute(
        insert(jobs).values(
            job_id=job_id,
            study_id=study_id,
            revision=revision,
            processor=processor,
            lineage=lineage,
            outcomes=outcomes,
            state="queued",
            due_at=now,
            queued_at=now,
        )
    )
    touch(connection, study_id, now)


def claim_job(
    connection: Connection,
    owner: str,
    now: float,
    lease: float,
    opening: Callable[[Connection, Row[Any]], tuple[float, str] | None] = lambda *_: None,
) -> Row[Any] | None:
    """Take the job that is due longest, a crashed owner's included; None when there is none.

    A job that is due while *running* has outlived its engine. One that did so `CRASHES` times is what
    ends them, and is left for a person.

    Args:
        opening: when the next window of a job's schedule opens, and what is said until then; None when it
            may start now.
    """
    while True:
        row = connection.execute(
            select(jobs)
            .where(jobs.c.state.in_(("queued", "running")), jobs.c.due_at <= now)
            .order_by(jobs.c.due_at, jobs.c.queued_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        crashes = row.crashes + (row.state == "running")
        mine = jobs.c.job_id == row.job_id
        if is_cancelled(connection, row.study_id, row.revision):
            gone = {"state": "cancelled", "owner": None, "fence": row.fence + 1, "finished_at": now}
            connection.execute(update(jobs).where(mine).values(detail=CANCELLED, **gone))
            touch(connection, row.study_id, now)
            continue
        if crashes >= CRASHES:
            reason = f"processor {row.processor} was given up: the engine ended {crashes} times while it ran"
            connection.execute(
                update(jobs)
                .where(mine)
                .values(
                    state="failed",
                    owner=None,
                    fence=row.fence + 1,
                    crashes=crashes,
                    finished_at=now,
                    detail=reason,
                )
            )
            hold(connection, row.study_id, row.revision, reason, now)
            continue
        later = opening(connection, row)
        if later is not None:
            opens_at, why = later
            connection.execute(
                update(jobs)
                .where(mine)
                .values(
                    state="queued",
                    owner=None,
                    fence=row.fence + 1,
                    crashes=crashes,
                    due_at=max(opens_at, now + 1e-3),  # or it would be taken for due again at once
                    detail=why,
                )
            )
            continue
        connection.execute(
            update(jobs)
            .where(mine)
            .values(
                state="running",
                owner=owner,
                fence=row.fence + 1,
                due_at=now + lease,
                attempts=row.attempts + 1,
                crashes=crashes,
            )
        )
        return connection.execute(select(jobs).where(mine)).one()


def finish_job(
    connection: Connection, job: Row[Any], state: str, now: float, *, detail: str = "", due_at: float = 0.0
) -> bool:
    """Move a claimed job on; False when another owner has taken it over meanwhile.

    One that is to run again and whose order was cancelled does not: `claim_job` ends it.
    """
    done = connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.owner == job.owner, jobs.c.fence == job.fence)
        .values(
            state=state,
            detail=detail,
            due_at=due_at,
            owner=None,
            finished_at=None if state == "queued" else now,
        )
    )
    touch(connection, job.study_id, now)
    return bool(done.rowcount == 1)


def extend_job(connection: Connection, job: Row[Any], due_at: float) -> bool:
    """Renew the lease of a claimed job; False when it is no longer ours."""
    done = connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.owner == job.owner, jobs.c.fence == job.fence)
        .values(due_at=due_at)
    )
    return bool(done.rowcount == 1)


def release_job(connection: Connection, job: Row[Any], due_at: float) -> None:
    """Give a claimed job back, as if it had not been claimed."""
    connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.owner == job.owner, jobs.c.fence == job.fence)
        .values(state="queued", owner=None, due_at=due_at, attempts=job.attempts - 1)
    )


def free_jobs(connection: Connection, now: float) -> None:
    """At the start of the only process on this database: no lease of an earlier one counts.

    They stay *running*: `claim_job` counts that their engine did not survive them.
    """
    connection.execute(update(jobs).where(jobs.c.state == "running").values(due_at=now))


def latest_result(connection: Connection, study_id: int, lineage: str) -> Row[Any] | None:
    """The result that a new one of this lineage would supersede."""
    return connection.execute(
        select(results)
        .where(results.c.study_id == study_id, results.c.lineage == lineage)
        .order_by(results.c.revision.desc())
        .limit(1)
    ).one_or_none()


def record_result(connection: Connection, **values: Any) -> None:
    """Keep a result; the columns are those of `tables.results`. The orders on its study have it then."""
    connection.execute(insert(results).values(**values))
    if not values["shadow"]:
        file_result(
            connection,
            values["study_id"],
            values["study_revision"],
            values["result_id"],
            values["produced_at"],
        )


def result_row(connection: Connection, result_id: str) -> Row[Any] | None:
    """A result with all that is kept of it; None when there is none."""
    return connection.execute(select(results).where(results.c.result_id == result_id)).one_or_none()


def versions_of(connection: Connection, study_id: int, lineage: str) -> Sequence[Row[Any]]:
    """Every version of one result, oldest first."""
    return connection.execute(
        select(results)
        .where(results.c.study_id == study_id, results.c.lineage == lineage)
        .order_by(results.c.revision)
    ).all()


def result_document(connection: Connection, result_id: str) -> dict[str, Any]:
    """The canonical document of a result."""
    document: dict[str, Any] = connection.execute(
        select(results.c.document).where(results.c.result_id == result_id)
    ).scalar_one()
    return document


def decisions_of(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Every decision on a study, oldest first."""
    return connection.execute(
        select(decisions).where(decisions.c.study_id == study_id).order_by(decisions.c.id)
    ).all()


def jobs_of(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Every run of a processor on a study, oldest first."""
    return connection.execute(
        select(jobs).where(jobs.c.study_id == study_id).order_by(jobs.c.queued_at)
    ).all()


def results_of(connection: Connection, study_id: int) -> Sequence[Row[Any]]:
    """Every result of a study, oldest first."""
    return connection.execute(
        select(results).where(results.c.study_id == study_id).order_by(results.c.produced_at)
    ).all()


def open_jobs(connection: Connection) -> int:
    """How many runs wait or are under way."""
    return int(
        connection.execute(
            select(func.count()).select_from(jobs).where(jobs.c.state.in_(("queued", "running")))
        ).scalar_one()
    )
