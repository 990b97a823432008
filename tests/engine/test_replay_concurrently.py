"""A replay and a newer version of the same, at once, on a database that several processes write to."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from engine.config import load
from engine.replay import Selection, Stage, replay
from engine.store import lanes
from engine.store.database import PostgresDatabase
from engine.store.tables import deliveries
from tests.engine.test_replay import LATER, TABLE, House

PATIENCE = 20.0


@pytest.fixture
def house(postgres_database: PostgresDatabase, tmp_path: Path) -> House:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    made = House(postgres_database, tmp_path, load(path, surroundings=False))
    made.study()
    return made


class Midway:
    """Does something in a transaction of a thread of its own and stops before the commit."""

    def __init__(self, house: House, work: Callable[[Connection], object]) -> None:
        self.done, self.go_on = threading.Event(), threading.Event()
        self.failure: BaseException | None = None

        def run(connection: Connection) -> None:
            work(connection)
            self.done.set()
            assert self.go_on.wait(PATIENCE)

        def guarded() -> None:
            try:
                house.database.write_now(run)
            except BaseException as error:
                self.failure = error

        self._thread = threading.Thread(target=guarded)
        self._thread.start()

    def commit(self) -> None:
        self.go_on.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.failure is None


def test_a_newer_version_that_comes_while_an_old_one_is_put_back_takes_its_place(house: House) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    new = house.result("1/a", "final")
    selection = Selection(ids=(old,))
    replaying = Midway(
        house,
        lambda c: replay(c, Stage.DELIVER, selection, house.table, LATER, actor="ann", reason="why"),
    )
    assert replaying.done.wait(PATIENCE)
    queueing = Midway(house, lambda c: _enqueue(c, new))
    assert not queueing.done.wait(0.3), "it waits for the lane"
    replaying.commit()
    queueing.commit()
    assert house.row(old).state == "superseded"
    assert house.deliver_all("ris") == [row.delivery_id for row in _of(house, new)]


def test_an_old_version_is_left_out_when_a_newer_one_is_just_being_queued(house: House) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    new = house.result("1/a", "final")
    queueing = Midway(house, lambda c: _enqueue(c, new))
    assert queueing.done.wait(PATIENCE)
    replaying = Midway(
        house,
        lambda c: replay(
            c, Stage.DELIVER, Selection(ids=(old,)), house.table, LATER, actor="ann", reason="why"
        ),
    )
    assert not replaying.done.wait(0.3), "it waits for the lane"
    queueing.commit()
    replaying.commit()
    assert house.row(old).state == "dead"
    assert [row.state for row in _of(house, new)] == ["queued"]


def _enqueue(connection: Connection, result_id: str) -> None:
    lanes.enqueue(
        connection, LATER, delivery_id=str(uuid.uuid4()), destination="ris", order_key="k1", lineage="1/a",
        study_id=1, study_revision=1, result_id=result_id, status="final", transform=[], after=[],
    )  # fmt: skip


def _of(house: House, result_id: str) -> list[Any]:
    return [row for row in house.rows(deliveries) if row.result_id == result_id]
