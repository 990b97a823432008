"""Which results stand although no decision makes a version of them any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import load
from engine.store.database import Database
from engine.store.standing import Standing, left_standing
from tests.engine.test_replay import TABLE, House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    made = House(database, tmp_path, load(path, surroundings=False))
    made.study()
    return made


def standing(house: House, *lineages: str) -> list[Standing]:
    return house.database.read_now(lambda c: left_standing(c, 1, lineages))


def test_a_result_of_another_lineage_that_reached_somebody_stands(house: House) -> None:
    first = house.result("1/model/mr", "final")
    house.delivery(first, lineage="1/model/mr", state="delivered")
    house.delivery(first, lineage="1/model/mr", to="desk", state="lost")
    (found,) = standing(house, "1/model/renamed")
    assert (found.result_id, found.route, found.destinations) == (first, "mr", ("desk", "ris"))
    assert f"result {first} of route mr stands at desk, ris" in found.reason
    assert standing(house, "1/model/mr") == [], "there will be a version of it"


def test_what_reached_nobody_or_was_taken_back_stands_nowhere(house: House) -> None:
    assert standing(house) == []
    house.delivery(house.result("1/a", "final"), lineage="1/a", state="dead")
    assert standing(house) == []
    house.delivery(house.result("1/b", "final"), lineage="1/b", to="desk", state="delivered")
    house.result("1/b", "retracted")
    assert standing(house) == []


def test_a_failure_report_that_came_later_replaces_nothing(house: House) -> None:
    final = house.result("1/a", "final")
    house.delivery(final, lineage="1/a", state="delivered")
    house.result("1/a", "failed")
    assert [one.result_id for one in standing(house)] == [final]
