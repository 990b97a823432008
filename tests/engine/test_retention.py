"""Retention takes what is finished, and nothing else, whatever happens at that moment."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from engine.audit import verify
from engine.errors import Busy
from engine.intake import DurableIntake
from engine.model import uid_from
from engine.retention import Retention
from engine.sections import Retention as Policy
from engine.spool import Spool
from engine.store import lanes, studies
from engine.store import retention as queries
from engine.store.database import Database
from engine.store.tables import (
    attempts,
    audit_events,
    commitment_requests,
    decisions,
    deliveries,
    holds,
    instances,
    jobs,
    results,
    revisions,
)
from engine.store.tables import lanes as lane_table
from engine.store.tables import studies as study_table
from tests.engine.store.rows import study_row

DAY = 86400.0


class Crash(Exception):
    """Where a process might have died."""


class Rig:
    """An intake, a clock and retention with a policy, on one data folder."""

    def __init__(self, intake: DurableIntake, database: Database, spool: Spool, clock: Any) -> None:
        self.intake, self.database, self.spool, self.clock = intake, database, spool, clock
        self.data = spool.instances.parent

    def retention(self, **policy: Any) -> Retention:
        return Retention(self.database, self.spool, self.clock, Policy.model_validate(policy), data=self.data)

    def rows(self, table: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))

    def write(self, *statements: Any) -> None:
        self.database.write_now(lambda c: [c.execute(statement) for statement in statements])

    def close(self, study_id: int, state: str = "decided") -> None:
        """Close the open revision of a study and settle it."""
        now = self.clock.now()

        def work(c: Any) -> None:
            revision = studies.close_revision(c, study_id, now, "told to", on_late="rerun", last_at=now)
            assert revision is not None
            [row] = c.execute(
                select(revisions).where(revisions.c.study_id == study_id, revisions.c.revision == revision)
            )
            if row.state == "closed":
                studies.set_revision_state(c, study_id, revision, state)

        self.database.write_now(work)

    def deliver(self, study_id: int, delivery_id: str, state: str = "delivered") -> None:
        """A delivery of the study, with its payload on disk and its attempt on record."""
        now = self.clock.now()
        self.database.write_now(
            lambda c: lanes.enqueue(
                c,
                now,
                delivery_id=delivery_id,
                destination="pacs",
                order_key=f"st-marys/{study_id}",
                lineage=f"{study_id}/{delivery_id}",
                study_id=study_id,
                study_revision=1,
                result_id=None,
                status="study",
                transform=[],
                after=[],
            )
        )
        self.write(
            update(deliveries)
            .where(deliveries.c.delivery_id == delivery_id)
            .values(state=state, finished_at=None if state in ("queued", "waiting") else now),
            update(lane_table).values(pending=0),
            insert(attempts).values(delivery_id=delivery_id, attempt=1, started_at=now, outcome="delivered"),
        )
        folder = self.data / "payloads" / delivery_id
        folder.mkdir(parents=True)
        (folder / "0.part").write_bytes(b"rendered")

    def files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.data))
            for name in ("instances", "payloads", "artefacts", "trash", "landing")
            for path in (self.data / name).rglob("*")
            if path.is_file() and path.name != "lock"
        )


@pytest.fixture
def rig(intake: DurableIntake, database: Database, spool: Spool, clock: Any) -> Rig:
    return Rig(intake, database, spool, clock)


async def test_a_finished_study_goes_when_it_is_old_enough_and_is_on_the_trail(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    for number in (1, 2):
        await rig.intake.accept(arrive(instance(number)))
    rig.close(1)
    rig.deliver(1, "d-1")
    artefacts = rig.data / "artefacts" / "r-1"
    artefacts.mkdir(parents=True)
    (artefacts / "montage.png").write_bytes(b"png")
    rig.write(
        insert(results).values(
            result_id="r-1",
            study_id=1,
            study_revision=1,
            lineage="1/x",
            revision=1,
            status="final",
            shadow=False,
            produced_at=rig.clock.now(),
            document={},
        )
    )
    retention = rig.retention(keep="7d")

    rig.clock.advance(7 * DAY - 1)
    assert (await retention.sweep()).studies == 0
    assert len(rig.files()) == 4

    rig.clock.advance(2)
    swept = await retention.sweep()
    assert (swept.studies, swept.instances) == (1, 2)
    assert rig.files() == []
    assert rig.rows(instances) == []
    assert rig.rows(study_table)[0].purged_at == rig.clock.now()
    assert len(rig.rows(deliveries)) == 1, "the history stays"
    event = rig.rows(audit_events)[-1]
    assert (event.actor, event.action) == ("retention", "instances removed")
    assert event.subject == f"study {uid_from('test', 'a')}"
    assert event.detail["instances"] == 2
    assert rig.database.read_now(verify) is None
    assert (await retention.sweep()).studies == 0, "once is enough"


UNFINISHED: dict[str, Callable[[Rig], None]] = {
    "receiving": lambda rig: rig.write(update(study_table).values(state="receiving")),
    "undecided": lambda rig: rig.write(update(revisions).values(state="closed")),
    "held": lambda rig: rig.write(insert(holds).values(study_id=1, revision=1, reason="x", held_at=0.0)),
    "queued": lambda rig: rig.deliver(1, "d-2", "queued"),
    "waiting": lambda rig: rig.deliver(1, "d-2", "waiting"),
    "dead": lambda rig: rig.deliver(1, "d-2", "dead"),
    "queued job": lambda rig: rig.write(_job("queued")),
    "running job": lambda rig: rig.write(_job("running")),
}


def _job(state: str) -> Any:
    return insert(jobs).values(
        job_id="j-1",
        study_id=1,
        revision=1,
        processor="x",
        lineage="1/x",
        outcomes=[],
        state=state,
        due_at=0.0,
        queued_at=0.0,
    )


@pytest.mark.parametrize("what", UNFINISHED)
async def test_what_is_not_finished_stays_however_old_large_or_full(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any], what: str
) -> None:
    await rig.intake.accept(arrive(instance()))
    rig.close(1)
    UNFINISHED[what](rig)
    rig.clock.advance(1000 * DAY)
    before = rig.files()
    low = Spool(rig.data, max_instance=10_000_000, min_free=1, free_space=lambda _: 0)
    retention = Retention(
        rig.database,
        low,
        rig.clock,
        Policy.model_validate({"keep": "1s", "max_size": 0, "history": "1s"}),
        data=rig.data,
    )
    assert (await retention.sweep()).studies == 0
    assert rig.files() == before
    assert len(rig.rows(instances)) == 1
    low.close()


async def test_above_the_size_the_oldest_finished_go_and_no_more_than_needed(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    for number, name in enumerate("abcd", 1):
        await rig.intake.accept(arrive(instance(study=name)))
        if name != "b":
            rig.close(number)
        rig.clock.advance(60)
    size = sum(row.size for row in rig.rows(instances))
    await rig.retention(max_size=size - 1).sweep()
    assert [row.study_id for row in rig.rows(instances)] == [2, 3, 4]
    await rig.retention(max_size=1).sweep()
    assert [row.study_id for row in rig.rows(instances)] == [2], "the open study stays, whatever its age"


async def test_below_the_watermark_studies_go_before_their_time_until_there_is_space(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    for number, name in enumerate("abc", 1):
        await rig.intake.accept(arrive(instance(study=name)))
        rig.close(number)
        rig.clock.advance(60)
    low = Spool(
        rig.data,
        max_instance=10_000_000,
        min_free=100,
        free_space=lambda _: 100 if len(list(rig.spool.instances.glob("*/*"))) < 2 else 99,
    )
    retention = Retention(
        rig.database, low, rig.clock, Policy.model_validate({"keep": "365d"}), data=rig.data
    )
    assert (await retention.sweep()).studies == 2
    assert [row.study_id for row in rig.rows(instances)] == [3]
    nothing_configured = Retention(rig.database, low, rig.clock, Policy(), data=rig.data)
    low._min_free = 1000
    assert (await nothing_configured.sweep()).studies == 0, "without a policy nothing is ever removed"
    low.close()


async def test_what_comes_after_a_removal_is_held_and_never_decided_as_if_whole(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    await rig.intake.accept(arrive(instance(1)))
    rig.close(1)
    rig.clock.advance(10)
    await rig.retention(keep="1s").sweep()

    await rig.intake.accept(arrive(instance(1)))  # the same again is new: the first is gone
    await rig.intake.accept(arrive(instance(2)))
    rig.close(1)
    assert [(row.revision, row.state, row.instances) for row in rig.rows(revisions)] == [
        (1, "decided", 1),
        (2, "held", 2),
    ]
    assert [row.reason for row in rig.rows(holds)] == ["earlier instances were removed by retention"]
    assert [rig.spool.holds(row.path, row.size) for row in rig.rows(instances)] == [True, True]

    rig.clock.advance(10)
    assert (await rig.retention(keep="1s").sweep()).studies == 0, "a person has not answered yet"
    rig.write(update(holds).values(released_at=rig.clock.now()))
    rig.clock.advance(10)
    assert (await rig.retention(keep="1s").sweep()).instances == 2
    assert rig.files() == []


async def test_an_instance_that_arrives_while_its_study_is_removed_is_kept_or_refused_never_lost(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    for number in range(1, 31):
        await rig.intake.accept(arrive(instance(number)))
    rig.close(1)
    rig.clock.advance(10)
    retention = rig.retention(keep="1s")

    async def send(number: int) -> bool:
        try:
            await rig.intake.accept(arrive(instance(number)))
        except Busy:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        sending = [group.create_task(send(number)) for number in range(1, 61)]
        group.create_task(retention.sweep())
    # The first thirty may have been counted as duplicates before they went; the others were never here.
    acknowledged = {uid_from("test", "a", "a", str(n)) for n in range(31, 61) if sending[n - 1].result()}
    here = {row.sop_instance_uid for row in rig.rows(instances)}
    assert acknowledged
    assert acknowledged <= here
    assert all(rig.spool.holds(row.path, row.size) for row in rig.rows(instances))


async def test_between_its_file_and_its_record_an_instance_may_lose_its_folder_and_is_refused(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.intake.accept(arrive(instance(1)))
    rig.close(1)
    rig.clock.advance(10)
    kept, goes_on = threading.Event(), threading.Event()
    submit = rig.database.submit

    def late_submit(work: Any) -> Any:
        kept.set()
        goes_on.wait()
        return submit(work)

    monkeypatch.setattr(rig.database, "submit", late_submit)
    sending = asyncio.create_task(rig.intake.accept(arrive(instance(2))))
    await asyncio.to_thread(kept.wait)
    assert (await rig.retention(keep="1s").sweep()).studies == 1
    goes_on.set()
    with pytest.raises(Busy, match="removed at this moment"):
        await sending
    assert rig.rows(instances) == []
    await rig.intake.accept(arrive(instance(2)))
    assert rig.spool.holds(rig.rows(instances)[0].path, rig.rows(instances)[0].size)


@pytest.mark.parametrize("broken_at", ["before the rows", "before the files", "before the trash is empty"])
async def test_a_crash_at_any_step_leaves_all_or_is_finished_at_the_next_look(
    rig: Rig,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    broken_at: str,
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    await rig.intake.accept(arrive(instance()))
    rig.close(1)
    rig.deliver(1, "d-1")
    rig.clock.advance(10)
    retention = rig.retention(keep="1s")
    with monkeypatch.context() as patched:
        if broken_at == "before the rows":
            patched.setattr(queries, "remove", crash)
        elif broken_at == "before the files":
            patched.setattr(retention, "_remove_files", crash)
        else:
            patched.setattr("engine.retention._remove_trees", crash)
        with pytest.raises(Crash):
            await retention.sweep()
    note = list((rig.data / "trash").glob("*.json"))
    assert len(note) == 1
    assert len(rig.rows(instances)) == (1 if broken_at == "before the rows" else 0)

    await rig.retention().sweep()  # another process, and no policy any more
    assert list((rig.data / "trash").glob("*.json")) == []
    if broken_at == "before the rows":
        (row,) = rig.rows(instances)
        assert rig.spool.holds(row.path, row.size)
    else:
        assert rig.files() == []


async def test_the_records_of_a_removed_study_go_later_and_the_trail_stays(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    for number, name in enumerate("ab", 1):
        await rig.intake.accept(arrive(instance(study=name)))
        rig.close(number)
    rig.deliver(1, "d-1")
    rig.deliver(2, "d-2", "dead")
    asked = {"site": "st-marys", "inbound": "pacs", "calling_ae_title": "X", "called_ae_title": "PONS"}
    asked |= {"references": [], "requested_at": rig.clock.now(), "due_at": 0.0}
    rig.write(
        insert(decisions).values(study_id=1, revision=1, table_version="v", decided_at=0.0, decision={}),
        insert(commitment_requests).values(transaction_uid="1.1", state="reported", **asked),
        insert(commitment_requests).values(transaction_uid="1.2", state="owed", **asked),
    )
    retention = rig.retention(keep="1s", history="30d")
    rig.clock.advance(10)
    await retention.sweep()
    rig.clock.advance(30 * DAY - 1)
    assert (await retention.sweep()).forgotten == 0
    rig.clock.advance(2)
    assert (await retention.sweep()).forgotten == 1
    assert [row.id for row in rig.rows(study_table)] == [2]
    assert [row.delivery_id for row in rig.rows(deliveries)] == ["d-2"]
    assert [row.order_key for row in rig.rows(lane_table)] == ["st-marys/2"]
    assert rig.rows(decisions) == []
    assert [row.state for row in rig.rows(commitment_requests)] == ["owed"]
    assert [row.action for row in rig.rows(audit_events)] == ["instances removed", "records removed"]
    assert rig.database.read_now(verify) is None


async def test_of_two_engines_on_a_folder_one_looks_at_a_time(
    rig: Rig, instance: Callable[..., bytes], arrive: Callable[..., Any]
) -> None:
    await rig.intake.accept(arrive(instance()))
    rig.close(1)
    rig.clock.advance(10)
    retention = rig.retention(keep="1s")
    with (rig.data / "trash" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert (await retention.sweep()).studies == 0
    assert (await retention.sweep()).studies == 1


async def test_the_last_event_is_whatever_came_last(rig: Rig) -> None:
    now = rig.clock.now()
    rig.write(
        insert(study_table).values(study_row(id=7, site="st-marys", opened_at=now, last_at=now)),
        insert(holds).values(study_id=7, revision=1, reason="x", held_at=now + 1, released_at=now + 9),
    )
    [row] = rig.database.read_now(lambda c: queries.candidates(c, 10))
    assert queries.last_event(row) == now + 9
    assert (row.held, row.dead, row.instances, row.size) == (False, False, 0, 0)
    assert rig.database.read_now(lambda c: queries.removable(c, now + 8, 10)) == []
    assert rig.database.read_now(lambda c: queries.removable(c, now + 9, 10)) == [(7, "st-marys/1.2")]
