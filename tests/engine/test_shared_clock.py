"""Engines on one database agree on the time, whatever their own clocks say."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Connection, select

from engine import shared_clock
from engine.shared_clock import SharedClock
from engine.store import lanes
from engine.store.database import PostgresDatabase
from engine.store.tables import lanes as lane_rows
from tests.engine.store.test_together import a_delivery, a_study


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the database's clock says from now on."""
    says = [1_700_000_000.0]

    def database_time(connection: Connection) -> float:
        return says[0]

    monkeypatch.setattr(shared_clock, "database_time", database_time)
    return says


async def test_two_engines_with_clocks_an_hour_apart_agree(postgres_database: PostgresDatabase) -> None:
    right = SharedClock(postgres_database, 60.0)
    wrong = SharedClock(postgres_database, 60.0, steady=lambda: time.monotonic() + 3600)
    await right.sample()
    await wrong.sample()
    assert abs(right.now() - wrong.now()) < 5
    assert abs(right.now() - time.time()) < 5, "here the database's clock is that of this machine"


async def test_a_clock_that_drifts_never_runs_backwards(
    postgres_database: PostgresDatabase, told: list[float]
) -> None:
    counted = [50.0]
    clock = SharedClock(postgres_database, 60.0, steady=lambda: counted[0])
    await clock.sample()
    told[0] -= 1
    assert await clock.sample() == -1
    assert clock.now() == 1_700_000_000
    counted[0] += 3
    assert clock.now() == 1_700_000_002


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_clock_that_was_set_is_followed(
    postgres_database: PostgresDatabase, told: list[float], step: float
) -> None:
    clock = SharedClock(postgres_database, 60.0, steady=lambda: 50.0)
    await clock.sample()
    told[0] += step
    assert await clock.sample() == step
    assert clock.now() == 1_700_000_000 + step


async def test_a_running_engine_brings_back_what_the_step_left_in_the_future(
    postgres_database: PostgresDatabase, told: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, now = postgres_database, told[0]
    clock = SharedClock(database, 60.0, steady=lambda: 50.0)
    await clock.sample()
    study_id = a_study(database)
    database.write_now(lambda c: a_delivery(c, study_id, "a", now))
    (one,) = database.write_now(lambda c: lanes.claim(c, "ris", "n", now, 60.0, 1))
    again = lanes.Settlement(one, "again", next_at=now + 30)
    database.write_now(lambda c: lanes.settle(c, [again], now))
    told[0] -= 3600
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 1:
            raise ConnectionAbortedError

    monkeypatch.setattr(shared_clock.asyncio, "sleep", sleep)
    with pytest.raises(ConnectionAbortedError):
        await clock.run()
    due_at = database.read_now(lambda c: c.execute(select(lane_rows.c.due_at)).scalar_one())
    assert due_at == now - 3600 + 30
