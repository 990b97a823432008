"""What a study does when the hold that kept it is answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from engine.config import load
from engine.release import next_stage, plan, release
from engine.replay_plan import Stage
from engine.store import studies as study_queries
from engine.store import work
from engine.store.database import Database
from engine.store.tables import audit_events, holds, jobs, revisions, studies
from engine.table import Table

TABLE = """
version: 1
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1]}
processors:
  model: {type: command, command: ["true"]}
"""
NOW = 1_700_000_000.0


class House:
    """One study with revisions and holds."""

    def __init__(self, database: Database, table: Table) -> None:
        self.database, self.table = database, table

    def revision(self, number: int, state: str, *, decided: bool = True, held: str = "") -> None:
        def make(connection: Connection) -> None:
            connection.execute(studies.update().values(revision=number))
            connection.execute(
                revisions.insert().values(
                    study_id=1, revision=number, state=state, closed_at=NOW, why="", instances=1
                )
            )
            if decided:
                outcome = {
                    "route": "mr", "position": "routes.yaml:1:1", "hit": True, "why": "", "process": "model",
                }  # fmt: skip
                decision = {"table_version": "t", "passed_over": 0, "outcomes": [outcome]}
                work.record_decision(connection, 1, number, "t", decision, NOW)
            if held:
                study_queries.hold(connection, 1, number, held, NOW)

        self.database.write_now(make)

    def release(self, *ids: int, then: Stage | None = None) -> list[str]:
        steps = self.database.write_now(
            lambda c: release(c, ids, then, self.table, NOW, actor="ann", reason="seen")
        )
        return [step.left_out or step.effect for step in steps]

    def rows(self, table: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))

    def states(self) -> dict[int, str]:
        return {row.revision: row.state for row in self.rows(revisions)}


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    fill: Callable[[Connection], Any] = lambda c: c.execute(  # noqa: E731
        studies.insert().values(
            id=1, site="st-marys", study_instance_uid="1.2", state="stable", revision=0, inbound="pacs",
            calling_ae_title="", called_ae_title="", remote_address="", opened_at=0.0, last_at=0.0,
        )
    )  # fmt: skip
    database.write_now(fill)
    return House(database, load(path, surroundings=False))


def test_a_revision_of_late_instances_is_decided_when_its_hold_is_released(house: House) -> None:
    house.revision(1, "decided")
    house.revision(2, "held", decided=False, held="instances arrived after the study was stable")
    (effect,) = house.release(1)
    assert effect.startswith("revision 2 is decided again")
    assert house.states() == {1: "decided", 2: "closed"}
    (event,) = house.rows(audit_events)
    assert (event.actor, event.action, event.subject) == ("ann", "hold released", "hold 1")
    assert (event.detail["then"], event.detail["reason"]) == ("route", "seen")


def test_an_earlier_held_revision_is_passed_over(house: House) -> None:
    house.revision(1, "held", decided=False, held="late")
    house.revision(2, "held", decided=False, held="later")
    assert house.release(1) == ["released; nothing else happens"]
    assert house.states() == {1: "ignored", 2: "held"}
    house.release(2)
    assert house.states() == {1: "ignored", 2: "closed"}


def test_what_was_decided_stays_as_it_is_unless_wanted(house: House) -> None:
    house.revision(1, "held", held="no route matched")
    assert house.release(1) == ["released; nothing else happens"]
    assert house.states() == {1: "decided"}
    assert house.rows(jobs) == []


def test_a_revision_with_another_hold_stays_held(house: House) -> None:
    house.revision(1, "held", held="no route matched")
    house.database.write_now(lambda c: study_queries.hold(c, 1, 1, "processor failed", NOW))
    house.release(1)
    assert house.states() == {1: "held"}
    house.release(2)
    assert house.states() == {1: "decided"}


def test_two_holds_of_one_study_make_one_run(house: House) -> None:
    house.revision(1, "decided", held="processor model failed")
    house.database.write_now(lambda c: study_queries.hold(c, 1, 1, "and again", NOW))
    house.release(1, 2, then=Stage.PROCESS)
    assert [job.state for job in house.rows(jobs)] == ["queued"]
    assert all(row.released_at == NOW for row in house.rows(holds))


def test_looking_changes_nothing(house: House) -> None:
    house.revision(1, "held", decided=False, held="late")
    before = house.rows(holds), house.rows(revisions)
    (step,) = house.database.read_now(lambda c: plan(c, [1], None, house.table))
    assert step.effect.startswith("revision 1 is decided again")
    assert (house.rows(holds), house.rows(revisions)) == before


def test_a_hold_stays_where_what_is_wanted_cannot_be(house: House) -> None:
    house.revision(1, "decided", held="processor model failed")
    house.database.write_now(lambda c: c.execute(studies.update().values(purged_at=NOW)))
    assert house.release(1, then=Stage.PROCESS) == ["its instances were removed by retention"]
    assert house.rows(holds)[0].released_at is None
    assert house.rows(audit_events) == []
    assert house.release(1) == ["released; nothing else happens"]


ROWS = [
    # released, undecided, latest, purged, then → stage, why the hold stays
    ((False, True, True, False, None), (Stage.ROUTE, False)),
    ((False, True, True, True, None), (None, False)),  # what came after a purge is not the whole study
    ((False, True, False, False, None), (None, False)),
    ((False, False, True, False, None), (None, False)),
    ((False, False, True, False, Stage.PROCESS), (Stage.PROCESS, False)),
    ((False, False, False, False, Stage.ROUTE), (None, True)),
    ((True, True, True, False, None), (None, True)),
]


@pytest.mark.parametrize(("given", "expected"), ROWS)
def test_how_a_study_goes_on(given: tuple[Any, ...], expected: tuple[Stage | None, bool]) -> None:
    released, undecided, latest, purged, then = given
    stage, why = next_stage(released=released, undecided=undecided, latest=latest, purged=purged, then=then)
    assert (stage, bool(why)) == expected
