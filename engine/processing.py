"""A queued job becomes a result and its deliveries.

Enter: a job (one study revision for one processor). Leave: in one transaction, the result and a
delivery for each destination that wants it. A processor that fails leaves a failure report: a
result with status *failed* that routes may deliver (`when: {status: [failed]}`), and a hold that a
person sees. A run for an earlier revision that ends after a later one is not delivered.

A job carries what was decided. It runs by the table that this engine has when the run begins, whatever is
taken meanwhile; where that lacks what the job names, and another table is active, the job waits for whoever
has taken that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from engine.channel import Job, Processor
from engine.clock import Clock
from engine.config import Table
from engine.decide import Decider
from engine.errors import DatabaseUnavailable, ProcessorFailed, TransformFailed, TryAgain
from engine.model import Algorithm, Artefact, Report, Site, Study
from engine.overrides import as_step, in_context, in_facts
from engine.result_of_run import record_run
from engine.retry import next_attempt
from engine.route import RouteOutcome, outcome_from_json
from engine.schedule import opening_of_job
from engine.settings import Retry
from engine.spool import fsync_folder, is_full, write_durably
from engine.store import identity, studies, table_versions, work
from engine.store.database import Database, insist
from engine.study_context import read_context
from engine.transform import Steps, copy_instances, for_copies_of

logger = logging.getLogger("pons.processing")

RETRY = Retry.model_validate({"first": "10s", "give_up_after": "24h"})
BROKEN_RUNS = 5
BEHIND = 1.0  # seconds until a job is looked at again that asks for what only the next table has
FULL_PAUSE = 10.0  # seconds until a job that found no space on the disk is tried again


class Processing:
    """Runs jobs, a few at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        table: Table,
        decider: Decider,
        processors: Mapping[str, Processor],
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

    def take(self, table: Table, processors: Mapping[str, Processor]) -> None:
        """Runs that begin from now on are by this table."""
        self._table = table
        self._processors = processors

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
                        partial(
                            work.claim_job,
                            owner=self._node,
                            now=now,
                            lease=self._lease,
                            opening=opening_of_job(self._table.sites, now),
                        )
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
        table, processor = self._table, self._processors.get(job.processor)
        if (processor is None or not _has_all(table, outcomes)) and await self._is_behind(table):
            again_at = self._clock.now() + BEHIND
            await self._database.write(lambda c: work.release_job(c, job, again_at))
            return
        folder = self._work / f"{job.job_id}-{job.fence}"  # never that of a stalled owner
        keeper = asyncio.create_task(self._keep_lease(job))
        try:
            study = await self._decider.facts(job.study_id, job.revision, table)
            for earlier in self._work.glob(f"{job.job_id}*"):
                await asyncio.to_thread(shutil.rmtree, earlier, ignore_errors=True)
            overrides = outcomes[0].overrides
            study = in_facts(_selected(study, outcomes[0]), overrides)
            context = await asyncio.to_thread(  # of the originals, whatever the processor may see
                read_context, study.stored, _site(table, study.site), study.revision
            )
            context = await asyncio.to_thread(in_context, context, overrides)
            steps = (*as_step(overrides), *for_copies_of(outcomes[0].transform, "processor"))
            try:
                study = await asyncio.to_thread(_lay_out, study, steps, folder, table.base)
            except (TransformFailed, TryAgain) as error:
                report, failed = await self._without_findings(job, error)
            else:
                report, failed = await self._process(job, processor, study, folder)
            if report is None:
                return
            result_id = await asyncio.to_thread(identity.result_id, job.job_id, report, folder / "out")
            report = await asyncio.to_thread(self._keep_artefacts, report, folder / "out", result_id)
            now = self._clock.now()
            await insist(
                self._database,
                lambda c: record_run(c, table, job, study, context, outcomes, report, result_id, now, failed),
            )
            self._on_result()
        finally:
            keeper.cancel()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _is_behind(self, table: Table) -> bool:
        """Whether another table is active than the one that this engine has."""
        active = await self._database.read(table_versions.active)
        return active is not None and active.version != table.version

    async def _keep_lease(self, job: Any) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            due = self._clock.now() + self._lease
            with contextlib.suppress(DatabaseUnavailable):  # it may be back before the lease ends
                await self._database.write(partial(work.extend_job, job=job, due_at=due))

    async def _process(
        self, job: Any, processor: Processor | None, study: Study, folder: Path
    ) -> tuple[Report | None, str]:
        """The report, and why it is a failure report; no report when the job will run again."""
        try:
            if processor is None:
                raise ProcessorFailed(f"the table has no processor {job.processor!r} any more")
            run = Job(job.job_id, folder / "in", folder / "out", study, job.attempts)
            return await processor.process(run), ""
        except (ProcessorFailed, TryAgain) as error:
            return await self._without_findings(job, error)
        except Exception as error:
            if is_full(error):
                raise
            logger.exception("a processor raised outside its contract", extra={"pons": {"job": job.job_id}})
            failure = f"the processor broke: {type(error).__name__}"
            return failure_report(job.processor, failure, ""), failure

    async def _without_findings(
        self, job: Any, error: ProcessorFailed | TransformFailed | TryAgain
    ) -> tuple[Report | None, str]:
        """A failure report and its reason; nothing when the job will run again."""
        failure, detail = str(error), error.detail if isinstance(error, ProcessorFailed) else ""
        if isinstance(error, TransformFailed):
            failure = f"transform: {failure}"
        elif isinstance(error, TryAgain):
            again_at = next_attempt(
                RETRY,
                attempt=job.attempts,
                created_at=job.queued_at,
                now=self._clock.now(),
                random=random.random(),  # noqa: S311 jitter, not a secret
                after=error.after,
            )
            if again_at is not None:
                why = failure
                await self._database.write(
                    lambda c: work.finish_job(
                        c, job, "queued", self._clock.now(), detail=why, due_at=again_at
                    )
                )
                return None, ""
            failure = f"gave up after {job.attempts} runs: {failure}"
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


def _has_all(table: Table, outcomes: Sequence[RouteOutcome]) -> bool:
    """Whether a table has every destination that outcomes name."""
    return all(sending.to in table.outbound for one in outcomes for sending in one.deliver)


def _site(table: Table, key: str) -> Site:
    """The site of a study; what is known of one that the table has no longer is its key."""
    return table.sites.get(key) or Site(key=key, name=key, timezone="UTC")


def _selected(study: Study, outcome: RouteOutcome) -> Study:
    """The study with the series that a route selects."""
    wanted = set(outcome.series) or {one.series_instance_uid for one in study.stored}
    return replace(
        study,
        stored=tuple(one for one in study.stored if one.series_instance_uid in wanted),
        instances=tuple(one for one in study.instances if one.series_instance_uid in wanted),
    )


def _lay_out(study: Study, steps: Steps, folder: Path, base: Path) -> Study:
    """The folder contract: `in/<series>/<sop>.dcm` copies, edited by the steps, an empty `out/`."""
    (folder / "out").mkdir(parents=True, mode=0o700)
    (folder / "in").mkdir(mode=0o700)
    return replace(study, stored=copy_instances(study.stored, folder / "in", steps, base))


def failure_report(processor: str, failure: str, detail: str) -> Report:
    """What goes out when no findings could be made: that, and why."""
    return Report(
        title="Processing failed",
        narrative="\n".join(filter(None, (f"Processor {processor}: {failure}.", detail))),
        impression="No result could be produced for this study.",
        algorithm=Algorithm(name=processor, version="unknown"),
    )
