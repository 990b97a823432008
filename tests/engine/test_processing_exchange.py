"""Jobs and tables: a run ends by the table it began with, and one for another table waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from engine.active_table import activate
from engine.channel import Job, Processor
from engine.intake import DurableIntake
from engine.model import Arrival, Report
from engine.store import table_versions
from engine.store.tables import deliveries, holds, jobs, results
from engine.table import Table
from tests.engine.conftest import HandClock
from tests.engine.processing_rig import Rig, writes

Instance = Callable[..., bytes]
Arrive = Callable[..., Arrival]


class Gate:
    """A processor that begins, and goes on when it is let."""

    def __init__(self, inner: Processor) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._inner = inner

    async def process(self, job: Job) -> Report:
        self.begun.set()
        await self.go.wait()
        return await self._inner.process(job)


def make_active(made: Rig, version: str) -> None:
    made.database.write_now(lambda c: table_versions.record_version(c, version, "t", {"t": ""}, 1.0))
    made.database.write_now(lambda c: activate(c, version, 1.0, actor="ann", action="applied"))


def without(table: Table, *destinations: str) -> Table:
    """The same table, some destinations and its processor gone."""
    kept = {name: one for name, one in table.outbound.items() if name not in destinations}
    return replace(table, version="sha256:000000000000", outbound=kept)


async def test_a_job_that_names_what_only_the_active_table_has_waits_uncounted_for_it(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    instance: Instance,
    arrive: Arrive,
    clock: HandClock,
) -> None:
    made = rig(writes(impression="as expected"))
    processors = made.processing._processors
    await intake.accept(arrive(instance()))
    await made.close()
    made.processing.take(without(made.table), {})  # another engine decided, by what we have not taken yet
    make_active(made, made.table.version)
    assert await made.run_guarded()
    [job] = made.rows(jobs)
    assert (job.state, job.attempts) == ("queued", 0)
    assert not await made.run_guarded(), "not again at once"
    made.processing.take(made.table, processors)
    clock.advance(2)
    assert await made.run_guarded()
    assert [row.status for row in made.rows(results)] == ["final"]


async def test_a_job_whose_processor_is_gone_for_good_fails_and_is_held(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Instance, arrive: Arrive
) -> None:
    made = rig(writes(impression="as expected"))
    await intake.accept(arrive(instance()))
    await made.close()
    gone = without(made.table)
    make_active(made, gone.version)
    made.processing.take(gone, {})
    assert await made.run_guarded()
    assert [row.status for row in made.rows(results)] == ["failed"]
    assert ["no processor 'model' any more" in row.reason for row in made.rows(holds)] == [True]


async def test_a_destination_that_went_before_the_run_began_is_a_hold_and_nobody_waits_for_it(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Instance, arrive: Arrive
) -> None:
    made = rig(writes(impression="as expected"))
    await intake.accept(arrive(instance()))
    await made.close()
    made.processing.take(without(made.table, "ris"), made.processing._processors)
    assert await made.run_guarded()
    assert [row.destination for row in made.rows(deliveries)] == ["archive"]
    [hold] = made.rows(holds)
    assert hold.reason == "destination ris is no longer in the table; nothing was sent there"


async def test_a_run_that_has_begun_delivers_by_the_table_it_began_with(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Instance, arrive: Arrive
) -> None:
    made = rig(writes(impression="as expected"))
    gate = Gate(made.processing._processors["model"])
    made.processing.take(made.table, {"model": gate})
    await intake.accept(arrive(instance()))
    await made.close()
    run = asyncio.create_task(made.run_guarded())
    await gate.begun.wait()
    made.processing.take(without(made.table, "ris"), {})
    gate.go.set()
    assert await run
    assert made.queued() == {"archive": [], "ris": ["archive"]}
    assert made.rows(holds) == []
