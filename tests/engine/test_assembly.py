"""When a study is stable, and what a late instance does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from engine.assembly import Assembly, Quiet, why_stable
from engine.intake import DurableIntake
from engine.store import look
from engine.store.database import Database
from engine.store.studies import members
from engine.store.tables import instances, studies

QUIET = Quiet(stable_after=60, force_after=2700, on_late="rerun")


@pytest.mark.parametrize(
    ("now", "last_at", "opened_at", "held_open", "stable"),
    [
        (1000, 939, 900, False, True),  # quiet long enough
        (1000, 941, 900, False, False),  # something came a moment ago
        (1000, 900, 900, True, False),  # quiet, but the association is still open
        (3700, 3699, 1000, True, True),  # open for too long: closed whatever is open
        (3699, 3698, 1000, True, False),  # one second before that
    ],
)
def test_when_a_study_is_stable(
    now: float, last_at: float, opened_at: float, held_open: bool, stable: bool
) -> None:
    why = why_stable(QUIET, now=now, last_at=last_at, opened_at=opened_at, held_open=held_open)
    assert (why is not None) is stable


class Rig:
    def __init__(self, database: Database, intake: DurableIntake, clock: object, on_late: str) -> None:
        self.closed = 0
        self.database = database
        self.assembly = Assembly(
            database, intake.sessions, clock, Quiet(60, 2700, on_late), on_closed=self._count
        )

    def _count(self) -> None:
        self.closed += 1

    def revisions(self) -> list[tuple[int, str, int]]:
        study = self.database.read_now(lambda c: c.execute(select(studies.c.id)).scalar_one())
        rows = self.database.read_now(lambda c: look.revisions_of(c, study))
        return [(row.revision, row.state, row.instances) for row in rows]


async def test_a_study_waits_for_quiet_and_for_its_association(
    database: Database, intake: DurableIntake, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    rig = Rig(database, intake, clock, "rerun")
    await intake.accept(arrive(instance(1), session="slow"))
    clock.advance(600)
    assert await rig.assembly.close_stable() == 0, "its association is still open"
    await intake.accept(arrive(instance(2), session="slow"))
    intake.leave("slow")
    clock.advance(59)
    assert await rig.assembly.close_stable() == 0, "not quiet for long enough"
    clock.advance(2)
    assert await rig.assembly.close_stable() == 1
    assert rig.revisions() == [(1, "closed", 2)]
    assert rig.closed == 1
    assert await rig.assembly.close_stable() == 0


async def test_a_sender_that_never_hangs_up_does_not_hold_a_study_for_ever(
    database: Database, intake: DurableIntake, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    rig = Rig(database, intake, clock, "rerun")
    await intake.accept(arrive(instance(1), session="forever"))
    clock.advance(2700)
    assert await rig.assembly.close_stable() == 1


@pytest.mark.parametrize(("on_late", "state"), [("rerun", "closed"), ("hold", "held"), ("ignore", "ignored")])
async def test_a_late_instance_opens_the_next_revision(
    database: Database,
    intake: DurableIntake,
    clock: object,
    instance: Callable[..., bytes],
    arrive: Callable,
    on_late: str,
    state: str,
) -> None:
    rig = Rig(database, intake, clock, on_late)
    for number in (1, 2):
        await intake.accept(arrive(instance(number)))
    intake.leave("s-1")
    clock.advance(61)
    await rig.assembly.close_stable()
    await intake.accept(arrive(instance(3), session="late"))
    await intake.accept(arrive(instance(3), session="late"))  # a duplicate of the late one
    intake.leave("late")
    clock.advance(61)
    assert await rig.assembly.close_stable() == 1
    assert rig.revisions() == [(1, "closed", 2), (2, state, 3)]


async def test_a_duplicate_does_not_reopen_a_stable_study(
    database: Database, intake: DurableIntake, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    rig = Rig(database, intake, clock, "rerun")
    await intake.accept(arrive(instance(1)))
    intake.leave("s-1")
    clock.advance(61)
    await rig.assembly.close_stable()
    await intake.accept(arrive(instance(1), session="again"))
    intake.leave("again")
    clock.advance(600)
    assert await rig.assembly.close_stable() == 0
    assert rig.revisions() == [(1, "closed", 1)]


async def test_the_latest_version_of_an_instance_stands_in_its_revision(
    database: Database, intake: DurableIntake, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    rig = Rig(database, intake, clock, "rerun")
    for comment in ("first", "second"):
        await intake.accept(arrive(instance(1, ImageComments=comment)))
    await intake.accept(arrive(instance(2)))
    intake.leave("s-1")
    clock.advance(61)
    await rig.assembly.close_stable()
    await intake.accept(arrive(instance(1, ImageComments="third"), session="late"))
    intake.leave("late")
    clock.advance(61)
    await rig.assembly.close_stable()
    assert rig.revisions() == [(1, "closed", 2), (2, "closed", 2)]
    by_arrival = select(instances.c.id).order_by(instances.c.id)
    first, second, other, third = database.read_now(lambda c: c.execute(by_arrival).scalars().all())
    for revision, expected in ((1, {second, other}), (2, {third, other})):
        rows = database.read_now(lambda c, revision=revision: members(c, 1, revision))
        assert {row.id for row in rows} == expected
    assert first not in expected


async def test_an_instance_that_comes_while_a_study_is_being_closed_keeps_it_open(
    database: Database, intake: DurableIntake, clock: object, instance: Callable[..., bytes], arrive: Callable
) -> None:
    rig = Rig(database, intake, clock, "rerun")
    await intake.accept(arrive(instance(1)))
    intake.leave("s-1")
    seen = clock.now()
    clock.advance(61)
    await database.write(lambda c: c.execute(update(studies).values(last_at=clock.now())) and None)
    assert not await rig.assembly._close(1, seen, clock.now(), "raced")
    assert rig.revisions() == []
