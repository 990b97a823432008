"""A study is held open by whoever receives it, on whichever engine of those that share the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from engine import open_sessions
from engine.assembly import Assembly, Quiet
from engine.errors import DatabaseUnavailable
from engine.intake import DurableIntake
from engine.model import Arrival
from engine.spool import Spool
from engine.store.database import PostgresDatabase, SqliteDatabase
from engine.store.tables import study_holders
from tests.engine.conftest import HandClock

QUIET = Quiet(stable_after=10, force_after=2700, on_late="rerun")
LEASE = 60.0


class Engine:
    """One of several on a database: its intake and its assembly."""

    def __init__(self, node: str, database: PostgresDatabase, clock: HandClock, data: Path) -> None:
        spool = Spool(data, max_instance=10_000_000, min_free=0)
        self.intake = DurableIntake(spool, database, clock, node=node, lease=LEASE)
        self.sessions = self.intake.sessions
        self.assembly = Assembly(database, self.sessions, clock, QUIET, on_closed=lambda: None)

    async def take_in(self, content: bytes, session: str) -> None:
        landing = self.intake.land()
        landing.write(content)
        await self.intake.accept(
            Arrival("st-marys", "pacs", session, landing, "127.0.0.1", "STM_PACS", "PONS")
        )


@pytest.fixture
async def engines(
    postgres_database: PostgresDatabase, clock: HandClock, tmp_path: Path
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two engines on one database and one data folder."""
    made = tuple(Engine(node, postgres_database, clock, tmp_path / "data") for node in ("a", "b"))
    yield made[0], made[1]
    for engine in made:
        engine.intake.close()


def rows(database: PostgresDatabase | SqliteDatabase) -> int:
    query = select(func.count()).select_from(study_holders)
    return int(database.read_now(lambda c: c.execute(query).scalar_one()))


async def test_an_association_open_on_one_engine_holds_the_study_open_on_the_other(
    engines: tuple[Engine, Engine], clock: HandClock, instance: Callable[..., bytes]
) -> None:
    one, other = engines
    await one.take_in(instance(1), "slow")
    clock.advance(LEASE - 1)
    assert await other.assembly.close_stable() == 0
    await one.sessions.renew()
    clock.advance(LEASE - 1)
    assert await other.assembly.close_stable() == 0, "its engine still lives"
    one.intake.leave("slow")
    await one.sessions.tell_ends()
    assert await other.assembly.close_stable() == 1


async def test_one_of_two_associations_on_two_engines_is_enough(
    engines: tuple[Engine, Engine], clock: HandClock, instance: Callable[..., bytes]
) -> None:
    one, other = engines
    await one.take_in(instance(1), "first")
    await other.take_in(instance(2), "second")
    other.intake.leave("second")
    await other.sessions.tell_ends()
    clock.advance(30)
    assert await other.assembly.close_stable() == 0
    assert await one.assembly.close_stable() == 0
    one.intake.leave("first")
    await one.sessions.tell_ends()
    assert await one.assembly.close_stable() == 1


async def test_what_a_dead_engine_held_is_free_when_its_lease_has_run_out(
    engines: tuple[Engine, Engine],
    clock: HandClock,
    instance: Callable[..., bytes],
    postgres_database: PostgresDatabase,
) -> None:
    one, other = engines
    await one.take_in(instance(1), "never ended")
    clock.advance(LEASE + 1)
    assert await other.assembly.close_stable() == 1
    clock.advance(LEASE)
    await other.sessions.renew()
    assert rows(postgres_database) == 0, "and its row is forgotten"


async def test_an_association_of_many_instances_is_one_row_and_leaves_none(
    engines: tuple[Engine, Engine], instance: Callable[..., bytes], postgres_database: PostgresDatabase
) -> None:
    one, _ = engines
    for number in range(5):
        await one.take_in(instance(number), "s")
    await one.take_in(instance(0), "s")  # a duplicate
    assert rows(postgres_database) == 1
    one.intake.leave("s")
    one.intake.leave("s")
    await one.sessions.tell_ends()
    assert rows(postgres_database) == 0


async def test_an_end_that_overtakes_the_record_leaves_nothing_held(
    engines: tuple[Engine, Engine],
    clock: HandClock,
    instance: Callable[..., bytes],
    postgres_database: PostgresDatabase,
) -> None:
    one, other = engines
    await one.take_in(instance(1), "s")
    one.intake.leave("s")
    await one.sessions.tell_ends()
    study = postgres_database.read_now(lambda c: c.exec_driver_sql("SELECT id FROM studies").scalar_one())
    postgres_database.write_now(lambda c: one.sessions.touch(c, "t", study))
    one.intake.leave("t")
    await one.sessions.tell_ends()
    postgres_database.write_now(lambda c: None)
    one.sessions.recorded("t", study)  # the commit is heard of only now
    await one.sessions.tell_ends()
    clock.advance(30)
    assert await other.assembly.close_stable() == 1


async def test_an_engine_that_stops_lets_go_of_everything(
    engines: tuple[Engine, Engine], instance: Callable[..., bytes], postgres_database: PostgresDatabase
) -> None:
    one, other = engines
    await one.take_in(instance(1), "s")
    await other.take_in(instance(2), "t")
    running = asyncio.create_task(one.sessions.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rows(postgres_database) == 1, "the other's"


async def test_one_engine_alone_tells_nobody(
    sqlite_database: SqliteDatabase, clock: HandClock, tmp_path: Path, instance: Callable[..., bytes]
) -> None:
    spool = Spool(tmp_path / "data", max_instance=10_000_000, min_free=0)
    intake = DurableIntake(spool, sqlite_database, clock)
    landing = intake.land()
    landing.write(instance(1))
    await intake.accept(Arrival("st-marys", "pacs", "s", landing, "127.0.0.1"))
    assert await intake.sessions.holding([1, 2]) == {1}
    assert rows(sqlite_database) == 0
    await intake.sessions.run()  # returns: there is nothing to keep true
    intake.close()


async def test_a_database_that_is_away_is_tried_again(
    engines: tuple[Engine, Engine], instance: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = engines
    monkeypatch.setattr(open_sessions, "LOOK", 0.01)
    await one.take_in(instance(1), "s")
    told, fails = asyncio.Event(), 2

    async def tell_ends() -> None:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise DatabaseUnavailable("away")
        told.set()

    monkeypatch.setattr(one.sessions, "tell_ends", tell_ends)
    running = asyncio.create_task(one.sessions.run())
    async with asyncio.timeout(30):
        await told.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await other.sessions.holding([1]) == set(), "and it let go at the end"
