"""A queued job becomes a result and its deliveries.

Enter: a job (one study revision for one processor). Leave: in one transaction, the result and a
delivery for each destination that wants it. A processor that fails leaves a failure report: a
result with status *failed* that routes may deliver (`when: {status: [failed]}`), and a hold that a
person sees. A run for an earlier revision that ends after a later one is not delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from engine.channel import Job, Processor
from engine.clock import Clock, at
from engine.config import Table
from engine.decide import Decider, enqueue_delivery
from engine.errors import DatabaseUnavailable, ProcessorFailed, TryAgain
from engine.model import Algorithm, Artefact, Report, Result, ResultStatus, Study
from engine.retry import next_attempt
from engine.route import RouteOutcome, Sending, outcome_from_json
from engine.settings import Retry
from engine.spool import fsync_folder, is_full, write_durably
from engine.store import identity, studies, work
from engine.store.database import Database, insist
from engine.study_context import StudyContext, read_context
from engine.transform import copy_instances

logger = logging.getLogger("pons.processing")

RETRY = Retry.model_validate({"first": "10s", "give_up_after": "24h"})
BROKEN_RUNS = 5
FULL_PAUSE = 10.0  # seconds until a job that found no space on the disk is tried again
DELIVERED_BY_DEFAULT = ("preliminary", "final", "corrected", "retracted")


class Processing:
    """Runs jobs, a few at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        table: Table,
        decider: Decider,
        processors: dict[str, Processor],
        *,
        data: Path,
        node: str,
        on_result: Callable[[], None],
        concurrency: int = 2,
        lease: float = 60.0,
    ) -> None:
        """
        Args:
            lease: seconds a run stays ours unless renewed, which it is while the processor runs.
        """
        self._database = database
        self._clock = clock
        self._table = table
        self._decider = decider
        self._processors = processors
        self._data = data.absolute()
        self._work = data / "work"
        self._artefacts = data / "artefacts"
        self._node = node
        self._on_result = on_result
        self._lease = lease
        self._slots = asyncio.Semaphore(concurrency)
        self._wake = asyncio.Event()
        self._work.mkdir(mode=0o700, exist_ok=True)
        self._artefacts.mkdir(mode=0o700, exist_ok=True)

    def wake(self) -> None:
        """A job may have been queued."""
        self._wake.set()

    async def run(self) -> None:
        """Run jobs until cancelled; what is under way then is killed and comes due again."""
        async with asyncio.TaskGroup() as running:
            while True:
                await self._slots.acquire()
                job = None
                try:
                    now = self._clock.now()
                    job = await self._database.write(
                        partial(work.claim_job, owner=self._node, now=now, lease=self._lease)
                    )
                except DatabaseUnavailable as error:
                    logger.warning(
                        "the database is away; trying again", extra={"pons": {"reason": str(error)}}
                    )
                except Exception:
                    logger.exception("claiming a job failed; trying again")
                if job is not None:
                    running.create_task(self._run_and_release(job))
                    continue
                self._slots.release()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        await self._wake.wait()
                self._wake.clear()

    async def _run_and_release(self, job: Any) -> None:
        try:
            await self.run_job(job)
        except asyncio.CancelledError:  # the engine stops: the run did not count
            await self._database.write(lambda c: work.release_job(c, job, self._clock.now()))
            raise
        except DatabaseUnavailable:
            await insist(self._database, lambda c: work.release_job(c, job, self._clock.now()))
        except Exception as error:
            if is_full(error):  # nor did this one: it says nothing of the study
                logger.warning("no space for a job; it waits", extra={"pons": {"job": job.job_id}})
                again_at = self._clock.now() + FULL_PAUSE
                await insist(self._database, lambda c: work.release_job(c, job, again_at))
                return
            logger.exception("a job broke", extra={"pons": {"job": job.job_id, "attempt": job.attempts}})
            await self._give_back(job, type(error).__name__)
        finally:
            self._slots.release()
            self._wake.set()

    async def _give_back(self, job: Any, what: str) -> None:
        """A job that broke outside its processor runs again a few times, then waits for a person."""
        now = self._clock.now()

        def settle(connection: Connection) -> None:
            if job.attempts < BROKEN_RUNS:
                work.finish_job(connection, job, "queued", now, detail=what, due_at=now + 10 * job.attempts)
            elif work.finish_job(connection, job, "failed", now, detail=what):
                reason = f"processor {job.processor} could not be run: {what}"
                studies.hold(connection, job.study_id, job.revision, reason, now)

        await insist(self._database, settle)

    async def run_job(self, job: Any) -> None:
        """Run one claimed job to its end and settle it."""
        outcomes = [outcome_from_json(one) for one in job.outcomes]
        folder = self._work / f"{job.job_id}-{job.fence}"  # never that of a stalled owner
        keeper = asyncio.create_task(self._keep_lease(job))
        try:
            study = await self._decider.facts(job.study_id, job.revision)
            for earlier in self._work.glob(f"{job.job_id}*"):
                await asyncio.to_thread(shutil.rmtree, earlier, ignore_errors=True)
            study = await asyncio.to_thread(_lay_out, study, outcomes[0], folder)
            context = await asyncio.to_thread(
                read_context, study.stored, self._table.sites[study.site], study.revision
            )
            report, failed = await self._process(job, study, folder)
            if report is None:
                return
            result_id = await asyncio.to_thread(identity.result_id, job.job_id, report, folder / "out")
            report = await asyncio.to_thread(self._keep_artefacts, report, folder / "out", result_id)
            now = self._clock.now()
            await insist(
                self._database,
                lambda c: self._record(c, job, study, context, outcomes, report, result_id, now, failed),
            )
            self._on_result()
        finally:
            keeper.cancel()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _keep_lease(self, job: Any) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            due = self._clock.now() + self._lease
            with contextlib.suppress(DatabaseUnavailable):  # it may be back before the lease ends
                await self._database.write(partial(work.extend_job, job=job, due_at=due))

    async def _process(self, job: Any, study: Study, folder: Path) -> tuple[Report | None, str]:
        """The report, and why it is a failure report; no report when the job will run again."""
        processor = self._processors.get(job.processor)
        try:
            if processor is None:
                raise ProcessorFailed(f"the table has no processor {job.processor!r} any more")
            run = Job(job.job_id, folder / "in", folder / "out", study, job.attempts)
            return await processor.process(run), ""
        except TryAgain as error:
            why = str(error)
            again_at = next_attempt(
                RETRY,
                attempt=job.attempts,
                created_at=job.queued_at,
                now=self._clock.now(),
                random=random.random(),  # noqa: S311 jitter, not a secret
                after=error.after,
            )
            if again_at is not None:
                await self._database.write(
                    lambda c: work.finish_job(
                        c, job, "queued", self._clock.now(), detail=why, due_at=again_at
                    )
                )
                return None, ""
            failure, detail = f"gave up after {job.attempts} runs: {why}", ""
        except ProcessorFailed as error:
            failure, detail = str(error), error.detail
        except Exception as error:
            if is_full(error):
                raise
            logger.exception("a processor raised outside its contract", extra={"pons": {"job": job.job_id}})
            failure, detail = f"the processor broke: {type(error).__name__}", ""
        return failure_report(job.processor, failure, detail), failure

    def _keep_artefacts(self, report: Report, out: Path, result_id: str) -> Report:
        """File what the processor made, durably, under the result's own folder."""
        if not report.artefacts:
            return report
        folder = self._artefacts / result_id
        folder.mkdir(mode=0o700, exist_ok=True)  # a run that did not live to record the same result
        kept: list[Artefact] = []
        for artefact in report.artefacts:
            content = (out / artefact.name).read_bytes()
            write_durably(folder / artefact.name, content)
            kept.append(
                artefact.model_copy(
                    update={
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "path": (folder / artefact.name).absolute().relative_to(self._data),
                    }
                )
            )
        fsync_folder(self._artefacts)
        return report.model_copy(update={"artefacts": tuple(kept)})

    def _record(
        self,
        connection: Connection,
        job: Any,
        study: Study,
        context: StudyContext,
        outcomes: list[RouteOutcome],
        report: Report,
        result_id: str,
        now: float,
        failed: str,
    ) -> None:
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
        if failed and not shadow:
            studies.hold(
                connection, job.study_id, job.revision, f"processor {job.processor} failed: {failed}", now
            )
        if not shadow:
            self._queue_deliveries(connection, job, study, outcomes, result, now)

    def _queue_deliveries(
        self,
        connection: Connection,
        job: Any,
        study: Study,
        outcomes: list[RouteOutcome],
        result: Result,
        now: float,
    ) -> None:
        wanted = _wanted(outcomes, result.status.value)
        for sending in wanted.values():
            destination = self._table.outbound.get(sending.to)
            if destination is None or destination.type.carries != "result":
                continue
            enqueue_delivery(
                connection,
                now,
                study=study,
                study_id=job.study_id,
                destination=destination,
                after=[name for name in sending.after if name in wanted],
                lineage=job.lineage,
                transform=(),
                result_id=result.result_id,
                status=result.status.value,
            )


def _wanted(outcomes: list[RouteOutcome], status: str) -> dict[str, Sending]:
    """Who gets a result of this status, each once, whichever of the routes names it first.

    A destination that does not get it is nobody to wait for.
    """
    wanted: dict[str, Sending] = {}
    for outcome in outcomes:
        for sending in outcome.deliver:
            if status in (sending.when_status or DELIVERED_BY_DEFAULT):
                wanted.setdefault(sending.to, sending)
    return wanted


def _lay_out(study: Study, outcome: RouteOutcome, folder: Path) -> Study:
    """The folder contract: `in/<series>/<sop>.dcm` copies of what the route selects, an empty `out/`."""
    (folder / "out").mkdir(parents=True, mode=0o700)
    (folder / "in").mkdir(mode=0o700)
    wanted = set(outcome.series)
    chosen = [one for one in study.stored if not wanted or one.series_instance_uid in wanted]
    stored = copy_instances(chosen, folder / "in", outcome.transform)
    names = {one.sop_instance_uid for one in stored}
    return replace(
        study,
        stored=stored,
        instances=tuple(one for one in study.instances if one.sop_instance_uid in names),
    )


def _status(report: Report, failed: str, previous: str | None) -> ResultStatus:
    if failed:
        return ResultStatus.FAILED
    if previous in (ResultStatus.FINAL, ResultStatus.CORRECTED):
        return ResultStatus.CORRECTED
    return ResultStatus(report.status)


def failure_report(processor: str, failure: str, detail: str) -> Report:
    """What goes out when no findings could be made: that, and why."""
    return Report(
        title="Processing failed",
        narrative="\n".join(filter(None, (f"Processor {processor}: {failure}.", detail))),
        impression="No result could be produced for this study.",
        algorithm=Algorithm(name=processor, version="unknown"),
    )
