"""What intake promises: durable and recorded before it returns, or nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.audit import verify
from engine.errors import Busy, Rejected, RejectedReason
from engine.intake import DurableIntake
from engine.model import uid_from
from engine.spool import Spool
from engine.store.database import Database
from engine.store.tables import audit_events, instances, studies


def rows(database: Database, table: object) -> list[object]:
    return list(database.read_now(lambda c: c.execute(select(table)).all()))


def kept(spool: Spool) -> list[Path]:
    data = spool.instances.parent
    return sorted(
        file
        for file in data.rglob("*")
        if file.is_file() and "sqlite" not in file.name and data / "log" not in file.parents
    )


async def test_an_accepted_instance_is_on_disk_and_on_record(
    intake: DurableIntake, database: Database, spool: Spool, instance: Callable[..., bytes], arrive: Callable
) -> None:
    content = instance(SeriesDescription="DTI 64")
    receipt = await intake.accept(arrive(content))
    assert receipt.sop_instance_uid == uid_from("test", "a", "a", "1")
    assert not receipt.duplicate
    (row,) = rows(database, instances)
    assert spool.path(row.path).read_bytes() == content
    assert row.attributes == {"Modality": "MR", "SeriesDescription": "DTI 64"}
    (study,) = rows(database, studies)
    assert (study.state, study.calling_ae_title) == ("receiving", "STM_PACS")


async def test_the_same_content_again_is_acknowledged_and_counted(
    intake: DurableIntake, database: Database, spool: Spool, instance: Callable[..., bytes], arrive: Callable
) -> None:
    await intake.accept(arrive(instance(sender="A")))
    receipt = await intake.accept(arrive(instance(sender="B")))  # other file meta, same data set
    assert receipt.duplicate
    assert len(rows(database, instances)) == 1
    assert rows(database, studies)[0].duplicates == 1
    assert len(kept(spool)) == 1


async def test_other_content_under_the_same_uid_is_kept_beside_the_first_and_audited(
    intake: DurableIntake, database: Database, spool: Spool, instance: Callable[..., bytes], arrive: Callable
) -> None:
    await intake.accept(arrive(instance()))
    receipt = await intake.accept(arrive(instance(ImageComments="changed")))
    assert not receipt.duplicate
    assert len(rows(database, instances)) == len(kept(spool)) == 2
    (event,) = rows(database, audit_events)
    assert event.action == "instance version"
    assert database.read_now(verify) is None


async def test_a_conflict_is_refused_where_versions_are_not_kept(
    spool: Spool, database: Database, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    strict = DurableIntake(spool, database, clock, keep_versions=False)
    await strict.accept(arrive(instance()))
    with pytest.raises(Rejected) as refusal:
        await strict.accept(arrive(instance(ImageComments="changed")))
    assert refusal.value.reason is RejectedReason.CONFLICT
    assert len(rows(database, instances)) == len(kept(spool)) == 1
    assert rows(database, audit_events)[0].action == "instance conflict"
    strict.close()


@pytest.mark.parametrize(
    ("content", "announced", "reason"),
    [
        (b"", {}, RejectedReason.NOT_DICOM),
        (b"not dicom at all" * 100, {}, RejectedReason.NOT_DICOM),
        (None, {"sop_instance_uid": "1.2.3"}, RejectedReason.SOP_MISMATCH),
        (None, {"sop_class_uid": "1.2.3"}, RejectedReason.SOP_MISMATCH),
        (None, {"study_instance_uid": "1.2.3"}, RejectedReason.STUDY_MISMATCH),
    ],
)
async def test_a_bad_arrival_is_rejected_and_nothing_is_kept(
    intake: DurableIntake,
    database: Database,
    spool: Spool,
    instance: Callable[..., bytes],
    arrive: Callable,
    content: bytes | None,
    announced: dict[str, str],
    reason: RejectedReason,
) -> None:
    with pytest.raises(Rejected) as refusal:
        await intake.accept(arrive(instance() if content is None else content, **announced))
    assert refusal.value.reason is reason
    assert "Doe" not in str(refusal.value)
    assert not kept(spool)
    assert not rows(database, instances)
    assert not rows(database, studies)


async def test_a_hundred_at_once_are_all_there(
    intake: DurableIntake, database: Database, spool: Spool, instance: Callable[..., bytes], arrive: Callable
) -> None:
    arrivals = [arrive(instance(number)) for number in range(100)]
    receipts = await asyncio.gather(*(intake.accept(arrival) for arrival in arrivals))
    assert len({receipt.sop_instance_uid for receipt in receipts}) == 100
    assert len(kept(spool)) == len(rows(database, instances)) == 100
    assert len(rows(database, studies)) == 1


async def test_a_draining_engine_is_busy(intake: DurableIntake) -> None:
    intake.drain()
    with pytest.raises(Busy):
        intake.land()


async def test_a_session_holds_its_studies_open_until_it_leaves(
    intake: DurableIntake, database: Database, instance: Callable[..., bytes], arrive: Callable
) -> None:
    await intake.accept(arrive(instance(1), session="one"))
    await intake.accept(arrive(instance(2), session="two"))
    (study,) = rows(database, studies)
    for session, still_held in (("one", True), ("two", False), ("two", False)):
        intake.leave(session)
        await intake.sessions.tell_ends()
        assert (study.id in await intake.sessions.holding([study.id])) is still_held
