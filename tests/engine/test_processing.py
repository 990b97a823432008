"""From a closed revision to results, holds and queued deliveries, with real processors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.faults.disk import Disk
from engine.intake import DurableIntake
from engine.processing import BROKEN_RUNS, FULL_PAUSE
from engine.spool import Spool
from engine.store import look, work
from engine.store.database import Database
from engine.store.tables import decisions, deliveries, holds, jobs, results, studies
from engine.story import tell
from tests.engine.processing_rig import TABLE, Rig, writes
from tests.peers.process import wait_until


async def test_a_report_becomes_a_result_for_those_who_want_it(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes(impression="as expected"))
    await intake.accept(arrive(instance()))
    await made.close()
    assert made.queued() == {"archive": []}, "the study goes out without waiting for the processor"
    assert await made.run()
    (result,) = made.rows(results)
    assert (result.status, result.revision, result.supersedes) == ("final", 1, None)
    assert result.document["report"]["impression"] == "as expected"
    assert made.queued() == {"archive": [], "ris": ["archive"]}
    assert made.rows(holds) == []


async def test_a_later_revision_corrects_the_result_and_supersedes_what_waits(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance(1)))
    await made.close()
    await made.run()
    await intake.accept(arrive(instance(2)))
    await made.close()
    await made.run()
    first, second = made.rows(results)
    assert (second.status, second.revision, second.supersedes) == ("corrected", 2, first.result_id)
    states = [(row.destination, row.study_revision, row.state) for row in made.rows(deliveries)]
    assert ("ris", 1, "superseded") in states
    assert ("ris", 2, "waiting") in states, "after the archive"


async def test_a_run_for_an_earlier_revision_that_has_not_begun_is_superseded(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes())
    for number in (1, 2):
        await intake.accept(arrive(instance(number)))
        await made.close()
    assert [row.state for row in made.rows(jobs)] == ["superseded", "queued"]
    assert await made.run()
    assert not await made.run()
    assert len(made.rows(results)) == 1


async def test_a_failing_processor_leaves_a_failure_report_and_a_hold(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig("import sys; print('no GPU here', file=sys.stderr); sys.exit(3)")
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    (result,) = made.rows(results)
    assert result.status == "failed"
    assert "no GPU here" in result.document["report"]["narrative"]
    assert made.queued() == {"archive": [], "desk": []}, (
        "only who asked for failures; ris is nobody to wait for"
    )
    (hold,) = made.rows(holds)
    assert "processor model failed" in hold.reason


async def test_a_processor_that_asks_for_it_runs_again_later(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable,
    clock: object,
    tmp_path: Path,
) -> None:
    flag = tmp_path / "flag"
    made = rig(
        f"import pathlib, sys; flag = pathlib.Path({str(flag)!r})\n"
        f"if not flag.exists(): flag.touch(); sys.exit(75)\n{writes()}"
    )
    await intake.accept(arrive(instance()))
    await made.close()
    assert await made.run()
    assert made.rows(results) == []
    assert not await made.run(), "not before its time"
    clock.advance(11)
    assert await made.run()
    assert [row.status for row in made.rows(results)] == ["final"]


@pytest.mark.faults
async def test_a_full_disk_is_not_held_against_a_study(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable,
    clock: object,
    tmp_path: Path,
) -> None:
    with Disk(tmp_path / "data" / "work", 1) as disk:
        made = rig(writes())
        await intake.accept(arrive(instance()))
        await made.close()
        with disk.full():
            for _ in range(2 * BROKEN_RUNS):
                assert await made.run_guarded()
                assert not await made.run_guarded(), "not before its time"
                clock.advance(FULL_PAUSE + 1)
        assert (made.rows(results), made.rows(holds)) == ([], [])
        assert [(row.state, row.attempts) for row in made.rows(jobs)] == [("queued", 0)]
        assert await made.run_guarded()
    assert [row.status for row in made.rows(results)] == ["final"]


async def test_the_processor_sees_copies_and_cannot_touch_the_originals(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    spool: Spool,
    instance: Callable[..., bytes],
    arrive: Callable,
) -> None:
    spoil = (
        "import pathlib, sys\nfor f in pathlib.Path(sys.argv[1]).rglob('*.dcm'): f.write_bytes(b'spoilt')\n"
    )
    made = rig(spoil + writes())
    content = instance()
    await intake.accept(arrive(content))
    await made.close()
    await made.run()
    assert [row.status for row in made.rows(results)] == ["final"]
    (original,) = spool.instances.rglob("*.dcm")
    assert original.read_bytes() == content


async def test_a_study_that_nothing_matches_is_held_with_the_reason(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance(Modality="CT")))
    await made.close()
    assert [row.reason for row in made.rows(holds)] == ["no route matched"]
    assert made.queued() == {}
    assert not await made.run()
    assert [row.state for row in made.rows(studies)] == ["stable"]


async def test_a_destination_of_another_site_gets_nothing_whatever_the_table_says(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance(), site="elsewhere"))
    await made.close()
    assert made.queued() == {}
    assert "belongs to another site" in made.rows(holds)[0].reason


async def test_a_run_that_a_crash_cut_off_is_taken_up_at_once_after_a_restart(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    database: Database,
    clock: object,
    instance: Callable[..., bytes],
    arrive: Callable,
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    now = clock.now()
    await database.write(lambda c: work.claim_job(c, "dead", now, 60.0))
    assert not await made.run(), "its lease still counts"
    await database.write(lambda c: work.free_jobs(c, now))
    assert await made.run()
    assert [(row.state, row.attempts) for row in made.rows(jobs)] == [("done", 2)]


async def test_a_run_that_no_engine_survives_is_given_up_and_held(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    database: Database,
    clock: object,
    instance: Callable[..., bytes],
    arrive: Callable,
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    now = clock.now()
    for _ in range(work.CRASHES):
        assert await database.write(lambda c: work.claim_job(c, "dies", now, 60.0)) is not None
        await database.write(lambda c: work.free_jobs(c, now))  # as the next engine does
    assert await database.write(lambda c: work.claim_job(c, "lives", now, 60.0)) is None
    (job,) = made.rows(jobs)
    assert (job.state, job.crashes, job.owner) == ("failed", 3, None)
    assert "the engine ended 3 times while it ran" in made.rows(holds)[0].reason


async def test_an_engine_that_is_told_to_stop_gives_its_run_back_uncounted(
    rig: Callable[[str], Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable,
    tmp_path: Path,
) -> None:
    started = tmp_path / "started"
    made = rig(f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)")
    await intake.accept(arrive(instance()))
    await made.close()
    loop = asyncio.create_task(made.processing.run())
    await asyncio.to_thread(wait_until, started.exists, "the run to begin", 60.0)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    (job,) = made.rows(jobs)
    assert (job.state, job.attempts, job.crashes, job.owner) == ("queued", 0, 0, None)


async def test_two_engines_decide_a_study_once_and_run_it_once(
    rig: Callable[[str], Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    one, other = rig(writes()), rig(writes())
    await intake.accept(arrive(instance()))
    await asyncio.gather(one.close(), other.close())
    await asyncio.gather(one.run(), other.run())
    assert len(one.rows(decisions)) == len(one.rows(jobs)) == len(one.rows(results)) == 1
    assert len(one.rows(deliveries)) == 2


WITH_WHEN = TABLE.replace(
    "      - {to: ris, after: [archive]}\n",
    "      - {to: ris, when: {outcome: failed, findings: {concept: Motion, flag: abnormal}}}\n",
)
MOTION = {"concept": {"value": "m", "scheme": "99X", "meaning": "Motion"}, "value": "much", "flag": "A"}


async def test_a_destination_gets_the_results_that_it_asks_for_and_their_corrections(
    rig: Callable[..., Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes(outcome="failed", findings=[MOTION]), WITH_WHEN)
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    assert "ris" in made.queued()
    made = rig(writes(outcome="passed"), WITH_WHEN)
    await intake.accept(arrive(instance(2)))
    await made.close()
    await made.run()
    first, second = (row for row in made.rows(deliveries) if row.destination == "ris")
    assert (first.state, second.state, second.status) == ("superseded", "queued", "corrected")


async def test_the_story_says_why_a_destination_got_nothing(
    rig: Callable[..., Rig], intake: DurableIntake, instance: Callable[..., bytes], arrive: Callable
) -> None:
    made = rig(writes(outcome="passed"), WITH_WHEN)
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()

    def story(connection: Any) -> list[str]:
        (study,) = look.list_studies(connection, site=None, uid=None, limit=9)
        return [event.text for event in tell(connection, study) if event.what == "not sent"]

    assert made.database.read_now(story) == [
        "ris: wanted outcome failed, found passed",
        "desk: wanted status failed, found final",
    ]
