"""The desk as provider: what sites ask is answered by what is on the disk, and owed until it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import MRImageStorage

from engine.commitment import Commitments
from engine.errors import Busy, DatabaseUnavailable
from engine.intake import DurableIntake
from engine.model import Arrival, CommitmentRequest, OwedReport, uid_from
from engine.spool import Spool
from engine.store import commitment_requests
from engine.store.commitment_requests import LEASE, REMEMBERED
from engine.store.database import Database
from engine.store.tables import commitment_requests as table
from tests.engine.conftest import HandClock

MR = str(MRImageStorage)
CT = "1.2.840.10008.5.1.4.1.1.2"
UID = "2.25.7"


def sop(number: int) -> str:
    return uid_from("test", "a", "a", str(number))


def request(
    *references: tuple[str, str], site: str = "st-marys", calling: str = "STM_CT", uid: str = UID
) -> CommitmentRequest:
    return CommitmentRequest(site, "pacs", calling, "PONS", uid, references or ((MR, sop(1)),))


@pytest.fixture
def desk(database: Database, spool: Spool, clock: HandClock) -> Commitments:
    return Commitments(database, spool, clock)


async def one(desk: Commitments) -> OwedReport:
    (owed,) = await desk.owed("pacs", 16)
    return owed


async def state(database: Database, uid: str = UID) -> Any:
    def read(connection: Any) -> Any:
        return connection.execute(table.select().where(table.c.transaction_uid == uid)).one()

    return await database.read(read)


async def test_each_instance_is_answered_by_what_is_there(
    desk: Commitments,
    intake: DurableIntake,
    spool: Spool,
    arrive: Callable[..., Arrival],
    instance: Callable[..., bytes],
) -> None:
    for number in (1, 2, 3):
        await intake.accept(arrive(instance(number)))
        if number == 2:
            (lost,) = [
                path for path in spool.instances.rglob("*.dcm") if sop(2).encode() in path.read_bytes()
            ]
            lost.write_bytes(lost.read_bytes()[:-2])  # cut short is not there in full
    await intake.accept(arrive(instance(5), site="st-lukes"))
    references = ((MR, sop(1)), (MR, sop(2)), (CT, sop(3)), (MR, sop(4)), (MR, sop(5)))
    await desk.requested(request(*references))
    report = (await one(desk)).report
    assert report.committed == ((MR, sop(1)),)
    assert report.failed == (
        (MR, sop(2), 0x0110),
        (CT, sop(3), 0x0119),
        (MR, sop(4), 0x0112),
        (MR, sop(5), 0x0112),  # what another site has is not told
    )


async def test_who_is_told_is_who_asked(desk: Commitments) -> None:
    await desk.requested(request())
    owed = await one(desk)
    assert (owed.site, owed.calling_ae_title, owed.called_ae_title) == ("st-marys", "STM_CT", "PONS")
    assert (owed.attempt, owed.report.transaction_uid) == (1, UID)


async def test_a_report_is_owed_to_one_at_a_time_and_again_when_nobody_is_heard(
    desk: Commitments, clock: HandClock
) -> None:
    await desk.requested(request())
    await one(desk)
    assert await desk.owed("pacs", 16) == []
    clock.advance(LEASE)
    assert (await one(desk)).attempt == 2


async def test_the_association_that_asked_has_the_first_word(desk: Commitments, clock: HandClock) -> None:
    await desk.requested(request(), hold=10)
    assert await desk.owed("pacs", 16) == []
    claimed = await desk.claim("st-marys", UID)
    assert claimed is not None
    clock.advance(10)
    assert await desk.owed("pacs", 16) == []
    assert await desk.claim("st-lukes", UID) is None
    await desk.sent(claimed)
    assert await desk.claim("st-marys", UID) is None


async def test_other_listeners_owe_nothing(desk: Commitments) -> None:
    await desk.requested(request())
    assert await desk.owed("research", 16) == []


async def test_only_as_many_as_can_be_sent_are_claimed(desk: Commitments) -> None:
    for number in range(5):
        await desk.requested(request(uid=f"2.25.{number}"))
    assert [len(await desk.owed("pacs", 2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_was_taken_is_over(desk: Commitments, database: Database, clock: HandClock) -> None:
    await desk.requested(request())
    await desk.sent(await one(desk))
    row = await state(database)
    assert (row.state, row.failed, row.reported_at) == ("reported", 1, clock.now())
    clock.advance(LEASE * 2)
    assert await desk.owed("pacs", 16) == []


async def test_what_is_asked_again_is_answered_again_as_it_is_asked_now(
    desk: Commitments, clock: HandClock
) -> None:
    await desk.requested(request())
    await desk.sent(await one(desk))
    clock.advance(60)
    await desk.requested(request((MR, sop(8)), (MR, sop(9)), calling="STM_PACS"))
    owed = await one(desk)
    assert (owed.calling_ae_title, owed.attempt, len(owed.report.failed)) == ("STM_PACS", 1, 2)


async def test_two_sites_may_use_one_transaction_uid(desk: Commitments) -> None:
    await desk.requested(request())
    await desk.requested(request(site="st-lukes"))
    assert {owed.site for owed in await desk.owed("pacs", 16)} == {"st-marys", "st-lukes"}


async def test_what_was_not_taken_comes_back_with_growing_waits_and_is_given_up_after_three_days(
    desk: Commitments, database: Database, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.requested(request())
    began, waits = clock.now(), []
    while True:
        await desk.not_sent(await one(desk), "STM_CT at 10.90.7.3:104: no connection")
        row = await state(database)
        if row.state == "given_up":
            break
        waits.append(row.due_at - clock.now())
        clock.time = row.due_at
    assert 2 <= waits[0] <= 5
    assert max(waits) <= 900
    assert clock.now() - began == pytest.approx(3 * 86400)
    assert row.detail == "STM_CT at 10.90.7.3:104: no connection"
    assert caplog.messages[-1] == "storage commitment report given up"


@pytest.mark.parametrize(("again", "expected"), [("at once", ("owed", 0)), ("never", ("given_up", None))])
async def test_what_was_not_taken_may_be_due_at_once_or_never(
    desk: Commitments, database: Database, clock: HandClock, again: Any, expected: tuple[str, float | None]
) -> None:
    await desk.requested(request())
    await desk.not_sent(await one(desk), "why", again=again)
    row = await state(database)
    due_in = row.due_at - clock.now() if row.state == "owed" else None
    assert (row.state, due_in) == expected


async def test_who_comes_late_changes_nothing(
    desk: Commitments, database: Database, clock: HandClock
) -> None:
    await desk.requested(request())
    late = await one(desk)
    clock.advance(LEASE)
    second = await one(desk)
    await desk.not_sent(late, "late", again="at once")
    assert await desk.owed("pacs", 16) == []  # the second attempt has it still
    await desk.sent(second)
    await desk.not_sent(second, "late", again="at once")
    assert (await state(database)).state == "reported"


async def test_after_a_restart_everything_owed_is_due(
    desk: Commitments, database: Database, clock: HandClock
) -> None:
    await desk.requested(request())
    await one(desk)  # claimed by a process that is no more
    await database.write(lambda c: commitment_requests.due_now(c, clock.now()))
    assert (await one(desk)).attempt == 2


async def test_what_is_long_over_is_forgotten(
    desk: Commitments, database: Database, clock: HandClock
) -> None:
    await desk.requested(request())
    await desk.sent(await one(desk))
    clock.advance(REMEMBERED + 1)
    await desk.requested(request(uid="2.25.8"))
    await desk.sent(await one(desk))
    rows = await database.read(lambda c: c.execute(table.select()).all())
    assert [row.transaction_uid for row in rows] == ["2.25.8"]


async def test_a_request_that_cannot_be_recorded_is_not_answered_with_success(
    desk: Commitments, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    async def fail(_work: object) -> None:
        raise DatabaseUnavailable("the database is away")

    monkeypatch.setattr(database, "write", fail)
    with pytest.raises(Busy):
        await desk.requested(request())
