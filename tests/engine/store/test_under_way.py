"""What is under way, counted by what of the table it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.store.database import Database
from engine.store.holds import list_holds, release
from engine.store.under_way import latest_studies, under_way
from tests.engine.proposal_house import NOW, House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


def sent_by(route: str, *names: str, shadow: bool = False) -> dict[str, Any]:
    return {"route": route, "hit": True, "shadow": shadow, "deliver": [{"to": name} for name in names]}


def test_an_empty_database_has_nothing_under_way(house: House) -> None:
    found = house.database.read_now(under_way)
    assert not any((found.deliveries, found.runs, found.runs_for, found.holds, found.receiving))


def test_deliveries_are_counted_by_destination_site_and_state(house: House) -> None:
    house.study(1)
    house.study(2, site="county")
    house.delivery(1, "ris", "a", state="dead")
    for study, key in ((1, "b"), (1, "c"), (2, "d")):
        house.delivery(study, "ris", key)
    assert house.database.read_now(under_way).deliveries == {
        ("ris", "st-marys", "dead"): 1,
        ("ris", "st-marys", "queued"): 2,
        ("ris", "county", "queued"): 1,
    }


def test_runs_are_counted_by_processor_and_by_where_their_results_go(house: House) -> None:
    house.study(1)
    house.run(1, "model", [sent_by("a", "ris", "archive"), sent_by("b", "ris")], "one")
    house.run(1, "model", [sent_by("trial", "desk", shadow=True)], "two")
    found = house.database.read_now(under_way)
    assert found.runs == {("model", "queued"): 2}
    assert found.runs_for == {"ris": 1, "archive": 1}, "a shadow delivers nothing"


def test_holds_are_counted_by_the_route_that_asked(house: House) -> None:
    for number in (1, 2):
        house.study(number)
        house.held(number, "us", "ask")
    assert house.database.read_now(under_way).holds == {"us": 2}
    (first, _) = house.database.read_now(
        lambda c: list_holds(c, site=None, study=None, released=False, limit=9)
    )
    house.database.write_now(lambda c: release(c, first.id, NOW))
    assert house.database.read_now(under_way).holds == {"us": 1}


def test_open_studies_are_counted_by_way_in_and_site(house: House) -> None:
    house.study(1, state="receiving", revision=0)
    house.study(2, state="receiving", inbound="web")
    house.study(3)
    assert house.database.read_now(under_way).receiving == {("pacs", "st-marys"): 1, ("web", "st-marys"): 1}


def test_the_studies_that_came_last_come_first(house: House) -> None:
    for number in (2, 1, 3):
        house.study(number)
    house.study(4, revision=0, state="receiving")
    found = house.database.read_now(lambda c: latest_studies(c, 2))
    assert [row.id for row in found] == [3, 2]
