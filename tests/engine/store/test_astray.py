"""What is of one site never leaves by a destination of another, whatever a table says meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.astray import turn_back
from engine.store.database import Database
from engine.store.lanes import Claim, claim
from engine.store.tables import deliveries
from tests.engine.proposal_house import NOW, House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.study(1)
    made.study(2, site="county")
    return made


def claimed(house: House, site: str) -> list[Claim]:
    return house.database.write_now(
        lambda c: turn_back(c, claim(c, "ris", "n1", NOW, 60.0, 10), "ris", site, NOW)
    )


def test_what_is_of_another_site_becomes_a_dead_letter_with_its_reason(house: House) -> None:
    house.delivery(1, "ris", "mine")
    house.delivery(2, "ris", "theirs")
    assert [one.delivery.delivery_id for one in claimed(house, "st-marys")] == ["mine"]
    rows = {
        row.delivery_id: row
        for row in house.database.read_now(lambda c: c.execute(deliveries.select()).all())
    }
    assert (rows["mine"].state, rows["theirs"].state) == ("queued", "dead")
    assert (
        rows["theirs"].reason == "site destination ris belongs to site st-marys now; nothing was sent there"
    )


def test_all_may_be_of_it_none_may_be_and_there_may_be_nothing(house: House) -> None:
    assert claimed(house, "st-marys") == []
    house.delivery(1, "ris", "a")
    assert claimed(house, "county") == []
    assert claimed(house, "st-marys") == [], "it is dead, not waiting"
    house.delivery(2, "ris", "b")
    assert [one.delivery.delivery_id for one in claimed(house, "county")] == ["b"]
