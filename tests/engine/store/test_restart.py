"""A PostgreSQL that is restarted under load: all that was said to be written is, and work goes on."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, make_url, select

from engine.errors import DatabaseUnavailable
from engine.store import lanes, postgres
from engine.store.database import PostgresDatabase, insist
from engine.store.dialect import insert_unless_there
from engine.store.migrate import migrate
from engine.store.recording import NewInstance
from engine.store.tables import deliveries, instances
from engine.store.tables import lanes as lane_rows
from tests.engine.store.test_together import a_delivery, a_study, an_instance
from tests.peers.postgres import Cluster

pytestmark = pytest.mark.faults

COLUMNS = {column.name for column in instances.c} & {field.name for field in fields(NewInstance)}


@pytest.fixture
def cluster(free_port: Callable[[], int]) -> Iterator[Cluster]:
    """A PostgreSQL that this test alone may stop; it forgets nothing."""
    with tempfile.TemporaryDirectory() as folder:
        made = Cluster(
            Path(folder) / "postgres", free_port(), ("unix_socket_directories=''", "log_min_messages=fatal")
        )
        yield made
        made.stop()


@pytest.fixture
def database(cluster: Cluster) -> Iterator[PostgresDatabase]:
    opened = PostgresDatabase(make_url(cluster.database()))
    migrate(opened.engine)
    yield opened
    opened.close()


def delivered(connection: Connection) -> set[str]:
    query = select(deliveries.c.delivery_id).where(deliveries.c.state == "delivered")
    return set(connection.execute(query).scalars())


async def test_deliveries_go_on_through_restarts_in_order_and_none_is_left(
    cluster: Cluster, database: PostgresDatabase
) -> None:
    many, deep = 12, 12
    ids = [a_study(database, number) for number in range(1, many + 1)]

    def fill(connection: Connection) -> None:
        for number in range(deep):
            for study_id in ids:
                a_delivery(connection, study_id, f"{study_id}/{number}")

    database.write_now(fill)
    sent: dict[str, list[int]] = {}
    settled: set[str] = set()
    a_third, half = asyncio.Event(), asyncio.Event()
    moments = itertools.count(2)

    async def deliver(owner: str) -> None:
        while len(settled) < many * deep:
            now = float(next(moments))
            take = partial(lanes.claim, destination="ris", owner=owner, now=now, lease=30.0, limit=2)
            try:
                claims = await database.write(take)
            except DatabaseUnavailable:
                continue  # what it may have claimed comes due by itself
            for one in claims:
                key, number = one.delivery.delivery_id.split("/")
                sent.setdefault(key, []).append(int(number))
            answers = [lanes.Settlement(one, "delivered") for one in claims]
            await insist(database, partial(lanes.settle, settlements=answers, now=now))
            settled.update(await insist(database, delivered))
            if len(settled) > many * deep // 3:
                a_third.set()
            if len(settled) > many * deep // 2:
                half.set()

    async def restart() -> None:
        for moment in (a_third, half):
            await moment.wait()
            await asyncio.to_thread(cluster.stop, "immediate")
            await asyncio.to_thread(cluster.start)

    async with asyncio.timeout(180), asyncio.TaskGroup() as tasks:
        tasks.create_task(restart())
        for number in range(4):
            tasks.create_task(deliver(f"n{number}"))
    for key, numbers in sent.items():
        assert list(dict.fromkeys(numbers)) == list(range(deep)), f"lane {key}"
        assert numbers == sorted(numbers), f"lane {key}: a repeat comes before the next"
    left = database.read_now(lambda c: c.execute(select(func.sum(lane_rows.c.pending))).scalar_one())
    assert left == 0


async def test_what_was_said_to_be_recorded_is_there_after_a_crash_of_the_server(
    cluster: Cluster, database: PostgresDatabase
) -> None:
    recorded: set[str] = set()
    some, crashed = asyncio.Event(), asyncio.Event()

    async def record(number: int) -> None:
        if number >= 200:
            await crashed.wait()
        new = asdict(an_instance(number))
        values = {"study_id": 1, "received_at": 1.0, **{name: new[name] for name in COLUMNS}}
        await insist(database, lambda c: insert_unless_there(c, instances, **values))
        recorded.add(new["sop_instance_uid"])
        if len(recorded) == 50:
            some.set()

    async def crash() -> None:
        await some.wait()
        await asyncio.to_thread(cluster.stop, "immediate")
        await asyncio.to_thread(cluster.start)
        crashed.set()

    a_study(database)
    async with asyncio.timeout(180), asyncio.TaskGroup() as tasks:
        tasks.create_task(crash())
        for number in range(2, 240):
            tasks.create_task(record(number))
    there = database.read_now(lambda c: set(c.execute(select(instances.c.sop_instance_uid)).scalars()))
    assert recorded == {f"9.{number}" for number in range(2, 240)}
    assert recorded <= there


async def test_a_database_that_stays_away_is_said_to_be_away_and_comes_back(
    cluster: Cluster, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PATIENCE", 0.2)
    await asyncio.to_thread(cluster.stop, "immediate")
    for ask in (database.write, database.read):
        with pytest.raises(DatabaseUnavailable) as said:
            await ask(lambda c: c.execute(select(1)).scalar_one())
        assert "127.0.0.1" not in str(said.value), "an address may hold a user's name"
    written = asyncio.create_task(insist(database, lambda c: c.execute(select(1)).scalar_one()))
    await asyncio.to_thread(cluster.start)
    async with asyncio.timeout(60):
        assert await written == 1
