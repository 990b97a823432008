"""What another table would do with the studies that came last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.intake import DurableIntake
from engine.model import Arrival
from engine.plan_effect import Effect, Kind
from engine.store import studies
from engine.store.database import Database
from tests.engine.conftest import HandClock
from tests.engine.proposal_house import House

GONE = "its files are gone, or cannot be read"


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.start()
    return made


def told(house: House, edit: Callable[[dict[str, Any]], Any], studies: int = 100) -> list[Effect]:
    return list(house.propose(edit, studies).effects)


def test_a_study_that_would_go_elsewhere_says_where_from_and_where_to(house: House) -> None:
    uid = house.study(1)

    def edit(table: dict[str, Any]) -> None:
        table["routes"][0]["deliver"] = ["ris", "cellar"]

    (effect,) = told(house, edit)
    assert (effect.study, effect.site, effect.kind) == (uid, "st-marys", Kind.ELSEWHERE)
    assert (effect.before.deliver, effect.after.deliver) == (("ris", "archive"), ("ris", "cellar"))
    assert (str(effect.before), str(effect.after)) == ("ris, archive", "ris, cellar")
    assert effect.why == "route 'mr' has another deliver"


def test_the_reason_is_the_first_predicate_that_fails_without_what_it_found(house: House) -> None:
    house.study(1, attributes={"Modality": "MR", "StudyDescription": "Yamada hip"})

    def edit(table: dict[str, Any]) -> None:
        table["routes"][0]["match"]["Modality"] = {"in": ["CT", "PT"]}

    (effect,) = told(house, edit)
    assert str(effect.after) == "held: no route matched"
    assert effect.why.startswith("route 'mr' does not fire: new.yaml:")
    assert effect.why.endswith(" wants Modality CT or PT")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda t: t["routes"].pop(0), "route 'mr' is gone"),
        (
            lambda t: t["routes"].insert(
                0, {"name": "all", "match": {"site": "st-marys"}, "deliver": ["cellar"]}
            ),
            "route 'all' fires now (new.yaml:",
        ),
        (lambda t: t["sites"].pop("st-marys"), "site st-marys is gone"),
        (lambda t: t["inbound"].pop("pacs"), "way in pacs is gone"),
        (
            lambda t: t["sites"]["st-marys"].update(ae_titles=["OTHER"]),
            "site st-marys is not known by its calling ae title any more",
        ),
        (
            lambda t: t["sites"]["st-marys"].update(addresses=["127.0.0.9"]),
            "site st-marys is not known by its address any more",
        ),
    ],
)
def test_every_way_to_go_elsewhere_has_its_reason(
    house: House, edit: Callable[[dict[str, Any]], Any], why: str
) -> None:
    house.study(1)

    def whole(table: dict[str, Any]) -> None:
        edit(table)
        table["tests"] = []
        if "st-marys" not in table["sites"]:  # nothing may stay that belongs to it
            table["outbound"], table["processors"] = {}, {}
            table["routes"] = [{"name": "rest", "otherwise": True, "hold": "no route matched"}]

    (effect,) = told(house, whole)
    assert effect.kind is Kind.ELSEWHERE
    assert effect.why.startswith(why)


def test_an_otherwise_route_that_stands_back_names_the_one_that_fires(house: House) -> None:
    house.study(1, attributes={"Modality": "CT"})

    def edit(table: dict[str, Any]) -> None:
        table["routes"].insert(1, {"name": "ct", "match": {"Modality": "CT"}, "deliver": ["archive"]})

    (effect,) = told(house, edit)
    assert (str(effect.before), str(effect.after)) == ("held: no route matched", "archive")
    assert effect.why == "route 'rest' stands back: 'ct' fires now"


def test_the_same_places_otherwise_are_told_apart_from_other_places(house: House) -> None:
    house.study(1)
    house.study(2, attributes={"Modality": "US"})
    house.study(3, attributes={"Modality": "CT"})

    def edit(table: dict[str, Any]) -> None:
        table["routes"][0]["name"] = "magnetic resonance"
        table["routes"][1]["hold"] = "ask somebody"

    found = {effect.study: effect.kind for effect in told(house, edit)}
    assert found == {"1.2.1": Kind.OTHERWISE, "1.2.2": Kind.OTHERWISE, "1.2.3": Kind.SAME}


def test_the_latest_studies_are_asked_and_what_has_no_files_is_unknown(house: House) -> None:
    for number in range(1, 5):
        house.study(number)
    house.study(5, attributes={})  # was never asked for its modality, and its file is gone
    house.study(6, revision=0, state="receiving")  # not stable yet
    house.study(7, purged_at=1.0)
    house.database.write_now(
        lambda c: c.exec_driver_sql("DELETE FROM instances WHERE study_id = 7")  # as retention does
    )
    found = told(house, lambda table: table["routes"][1].update(hold="wait"), studies=4)
    assert [(effect.study, effect.kind) for effect in found] == [
        ("1.2.7", Kind.UNKNOWN),
        ("1.2.5", Kind.UNKNOWN),
        ("1.2.4", Kind.SAME),
        ("1.2.3", Kind.SAME),
    ]
    assert found[0].why == GONE


async def test_new_questions_are_asked_of_the_files(
    database: Database,
    tmp_path: Path,
    intake: DurableIntake,
    clock: HandClock,
    instance: Callable[..., bytes],
    arrive: Callable[..., Arrival],
) -> None:
    house = House(database, tmp_path)
    house.start()
    await intake.accept(arrive(instance(EchoTime="80", PatientName="Yamada^Tarou")))
    now = clock.now()
    database.write_now(lambda c: studies.close_revision(c, 1, now, "quiet", on_late="rerun", last_at=now))

    def edit(table: dict[str, Any]) -> None:
        table["routes"][0]["match"]["EchoTime"] = {"at_least": 100}

    (effect,) = told(house, edit)
    assert (effect.kind, str(effect.after)) == (Kind.ELSEWHERE, "held: no route matched")
    assert effect.why.endswith(" wants EchoTime at least 100")


def test_a_time_is_told_in_the_zone_that_the_new_table_gives_the_site(house: House) -> None:
    house.study(1, attributes={"Modality": "US"})  # 22:13 in Dublin, 07:13 in Tokyo

    def night(table: dict[str, Any]) -> None:
        table["routes"][1]["match"] = {"time": {"between": ["22:00", "06:00"]}}
        table["tests"] = []

    house.start(night, action="applied")

    def moved(table: dict[str, Any]) -> None:
        night(table)
        table["sites"]["st-marys"]["timezone"] = "Asia/Tokyo"

    (effect,) = told(house, moved)
    assert (str(effect.before), str(effect.after)) == ("held: ask the radiologist", "held: no route matched")
