"""What is under way and meets another table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config import load
from engine.document import read
from engine.plan import Written, difference
from engine.plan_in_flight import Stop, Touched, touched
from engine.store.under_way import UnderWay
from tests.engine.proposal_house import TABLE

DELIVERIES = Counter(
    {
        ("ris", "st-marys", "queued"): 3,
        ("ris", "st-marys", "waiting"): 1,
        ("ris", "st-marys", "dead"): 2,
        ("cellar", "st-marys", "dead"): 5,
        ("elsewhere", "county", "queued"): 9,
    }
)
NOW = UnderWay(
    deliveries=DELIVERIES,
    runs=Counter({("model", "queued"): 2, ("model", "running"): 1}),
    runs_for=Counter({"archive": 2}),
    holds=Counter({"us": 4}),
    receiving=Counter({("pacs", "st-marys"): 2, ("pacs", "county"): 1}),
)


@pytest.fixture
def notice(tmp_path: Path) -> Callable[..., list[Touched]]:
    """A function that tells what is under way and would notice an edit of the table."""

    def written(name: str, table: dict[str, Any]) -> Written:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(table, sort_keys=False))
        return Written(load(path, surroundings=False), read(path).data)

    def make(edit: Callable[[dict[str, Any]], Any], now: UnderWay = NOW) -> list[Touched]:
        table = yaml.safe_load(yaml.safe_dump(TABLE))
        edit(table)
        before, after = written("routes.yaml", TABLE), written("new.yaml", table)
        assert after.table is not None
        return touched(difference(before, after), after.table, now)

    return make


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    """The table without some destinations."""

    def edit(table: dict[str, Any]) -> None:
        for name in names:
            del table["outbound"][name]
        for route in table["routes"]:
            if "deliver" in route:
                route["deliver"] = [to for to in route["deliver"] if to not in names] or ["cellar"]

    return edit


def test_nothing_under_way_notices_nothing(notice: Callable[..., list[Touched]]) -> None:
    assert notice(without("ris"), UnderWay()) == []
    assert notice(lambda table: None) == []


def test_a_destination_that_goes_strands_what_is_bound_for_it(notice: Callable[..., list[Touched]]) -> None:
    (one,) = notice(without("ris"))
    assert (one.name, one.counted, one.stop) == ("ris", "3 queued, 1 waiting, 2 dead", Stop.STRANDS)
    assert "nobody delivers them" in one.becomes


def test_dead_letters_alone_stop_nobody(notice: Callable[..., list[Touched]]) -> None:
    (one,) = notice(without("cellar"))
    assert (one.counted, one.stop) == ("5 dead", Stop.NO)
    assert "pons replay --from deliver --to" in one.becomes


def test_runs_whose_result_is_for_it_count_too(notice: Callable[..., list[Touched]]) -> None:
    (one,) = notice(without("archive"))
    assert (one.counted, one.stop) == ("2 runs with results for it", Stop.STRANDS)


def test_a_destination_that_changes_says_by_what_its_deliveries_go(
    notice: Callable[..., list[Touched]],
) -> None:
    (one,) = notice(lambda table: table["outbound"]["ris"].update(port=2576))
    assert (one.counted, one.stop) == ("3 queued, 1 waiting", Stop.NO)
    assert one.becomes.startswith("they go by the new settings")


def test_what_is_queued_never_goes_to_another_site(notice: Callable[..., list[Touched]]) -> None:
    def edit(table: dict[str, Any]) -> None:
        without("ris")(table)
        table["outbound"]["ris"] = {**TABLE["outbound"]["ris"], "site": "county"}

    (one,) = notice(edit)
    assert (one.name, one.counted, one.stop) == ("ris", "3 queued, 1 waiting", Stop.ASTRAY)
    assert "of another site than county" in one.becomes


def test_runs_of_a_processor_that_goes_end_as_failed(notice: Callable[..., list[Touched]]) -> None:
    def edit(table: dict[str, Any]) -> None:
        del table["processors"]["model"]
        del table["routes"][0]["process"]
        table["routes"][0]["deliver"] = ["archive"]

    found = {(one.section, one.name): one for one in notice(edit)}
    one = found["processors", "model"]
    assert (one.counted, one.becomes, one.stop) == (
        "2 queued, 1 running", "they will end as failed", Stop.STRANDS,
    )  # fmt: skip
    (changed,) = notice(lambda table: table["processors"]["model"].update(timeout="5m"))
    assert (changed.counted, changed.stop) == ("2 queued, 1 running", Stop.NO)


def test_ways_in_sites_and_holds_are_told(notice: Callable[..., list[Touched]]) -> None:
    def edit(table: dict[str, Any]) -> None:
        del table["inbound"]["pacs"]
        del table["sites"]["county"]
        del table["routes"][1]
        table["tests"] = []

    found = {(one.section, one.name): (one.counted, one.stop) for one in notice(edit)}
    assert found == {
        ("inbound", "pacs"): ("3 studies still coming in", Stop.NO),
        ("sites", "county"): ("1 studies still coming in", Stop.NO),
        ("routes", "us"): ("4 held", Stop.NO),
    }
