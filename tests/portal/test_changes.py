"""Changes of orders are told once each, also those that are committed late, and nobody is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from channels.inbound.portal.changes import BEHIND, PER_PERSON, Changes
from channels.inbound.portal.failure import PageRaised
from engine.model import NewOrder, OrderState, Submitter
from engine.orders import Orders
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from engine.store.tables import orders as table

SAM = Submitter(kind="person", name="sam")
NEW = NewOrder(site="st-marys", submitter=SAM)


class HandClock:
    """A clock that moves when the test says so."""

    time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    migrate(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def desk(database: SqliteDatabase, clock: HandClock) -> Orders:
    return Orders(database, clock)


async def test_each_change_is_told_once_with_what_the_order_is_then(desk: Orders, clock: HandClock) -> None:
    changes = Changes(desk)
    assert await changes.look() == []
    first = await desk.create(NEW)
    assert [one.order_id for one in await changes.look()] == [first.order_id]
    assert await changes.look() == []
    clock.time += 3600
    second = await desk.create(NEW)
    await desk.cancel(first.order_id, actor=SAM)
    assert {one.order_id: one.state for one in await changes.look()} == {
        first.order_id: OrderState.CANCELLED,
        second.order_id: OrderState.CREATED,
    }
    assert await changes.look() == []


async def test_a_change_that_is_committed_after_a_later_one_is_told_too(
    desk: Orders, database: SqliteDatabase, clock: HandClock
) -> None:
    slow, quick = await desk.create(NEW), await desk.create(NEW)
    changes = Changes(desk)
    await changes.look()
    clock.time += 5
    await desk.cancel(quick.order_id, actor=SAM)
    assert [one.order_id for one in await changes.look()] == [quick.order_id]
    values = {"state": "failed", "version": slow.version + 1, "updated_at": clock.time - 4}
    await database.write(
        lambda c: c.execute(update(table).where(table.c.order_id == slow.order_id).values(values))
    )
    assert [(one.order_id, one.state) for one in await changes.look()] == [(slow.order_id, OrderState.FAILED)]


async def test_who_reads_too_slowly_is_told_to_look_again(desk: Orders) -> None:
    changes = Changes(desk)
    with changes.listening("p-1") as listener:
        for _ in range(BEHIND + 1):
            listener.tell([])
        assert listener.missed
        assert listener.news.qsize() == 1
        async with changes.following():
            pass
        assert [listener.news.get_nowait() for _ in range(2)] == [[], None], "and that it is over"


async def test_one_person_takes_so_many_places(desk: Orders) -> None:
    changes = Changes(desk)
    places = [changes.listening("p-1") for _ in range(PER_PERSON)]
    for place in places:
        place.__enter__()
    with pytest.raises(PageRaised, match="of your pages"), changes.listening("p-1"):
        raise AssertionError("let in")
    with changes.listening("p-2") as another:
        assert not another.missed
    places[0].__exit__(None, None, None)
    with changes.listening("p-1") as again:
        assert not again.missed
