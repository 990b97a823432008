"""One table proposed in the place of the running one: what it is compared with, what speaks against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.active_table import activate
from engine.errors import PonsError
from engine.proposal import Place, database_of, kept, place_of, propose
from engine.store.database import Database, SqliteDatabase
from engine.store.migrate import migrate
from engine.store.table_versions import record_version
from tests.engine.proposal_house import TABLE, House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.start()
    return made


def test_the_active_version_is_what_a_new_table_is_compared_with(house: House) -> None:
    house.start(lambda table: table["outbound"]["ris"].update(port=2576), action="applied")
    house.write(name="routes.yaml")  # the file on disk is not what runs
    found = house.propose(lambda table: table["outbound"]["ris"].update(port=2577))
    (change,) = found.found.changes
    assert [(key.before, key.after) for key in change.keys] == [("2576", "2577")]
    assert found.running is not None
    assert (found.running.action, found.is_running) == ("applied", False)


def test_the_running_table_itself_changes_nothing(house: House) -> None:
    found = house.propose()
    assert found.is_running
    assert found.found.changes == ()
    assert found.objections(force=False) == []


def test_before_an_engine_ran_the_file_that_it_would_be_given_counts(
    tmp_path: Path, database: Database
) -> None:
    house = House(database, tmp_path)
    house.write(name="routes.yaml")
    found = house.propose(lambda table: table["outbound"]["ris"].update(port=2577))
    assert (found.running, [change.name for change in found.found.changes]) == (None, ["ris"])
    alone = propose(house.place, None, house.file, 100)
    assert {change.sign for change in alone.found.changes} == {"+"}, "there is nothing to compare it with"


def test_errors_end_it_and_name_every_finding(house: House) -> None:
    path = house.folder / "new.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\nroutes: [{name: a, deliver: [nobody]}]\n")
    found = propose(house.place, house.database, path, 100, named=Path("some/where"))
    assert found.table is None
    assert {finding.file for finding in found.findings} == {"some/where/new.yaml"}
    assert found.objections(force=True) == ["the table has errors"]


def test_paths_in_a_new_table_start_where_the_running_one_lies(house: House, tmp_path: Path) -> None:
    elsewhere = tmp_path / "candidate" / "new.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(yaml.safe_dump(TABLE))
    found = propose(house.place, house.database, elsewhere, 100)
    assert found.table is not None
    assert found.table.engine.data == house.folder / "data"
    assert found.found.changes == ()


def test_tests_that_fail_speak_against_it_unless_forced(house: House) -> None:
    def edit(table: dict[str, Any]) -> None:
        table["tests"][0]["expect"]["routes"] = ["mr"]

    found = house.propose(edit)
    assert [verdict.test.name for verdict in found.failed] == ["ultrasound waits"]
    assert found.objections(force=False) == [
        "1 of 1 tests of the table fail (--force applies it all the same)"
    ]
    assert found.objections(force=True) == []


def without_archive(table: dict[str, Any]) -> None:
    del table["outbound"]["archive"]
    table["routes"][0]["deliver"] = ["ris"]


def test_deliveries_that_would_strand_speak_against_it_unless_forced(house: House) -> None:
    house.study(1)
    assert house.propose(without_archive).objections(force=False) == []
    house.delivery(1, "archive", "d-1")
    found = house.propose(without_archive)
    (objection,) = found.objections(force=False)
    assert objection.startswith("outbound archive has 1 queued: nobody delivers them until")
    assert found.objections(force=True) == []


def test_no_force_sends_to_another_site_or_changes_what_needs_a_restart(house: House) -> None:
    house.study(1)
    house.delivery(1, "cellar", "d-1")

    def edit(table: dict[str, Any]) -> None:
        table["outbound"]["cellar"]["site"] = "county"
        table["engine"]["http"] = "127.0.0.1:9191"

    found = house.propose(edit).objections(force=True)
    assert [line.partition(":")[0] for line in found] == [
        "engine.http needs a restart",
        "outbound cellar has 1 queued",
    ]


def test_a_running_table_that_this_release_cannot_read_is_compared_as_written(house: House) -> None:
    broken = yaml.safe_dump({**TABLE, "retired": {"key": 1}}, sort_keys=False)

    def work(c: Any) -> None:
        record_version(c, "sha256:old", "routes.yaml", {"routes.yaml": broken}, 1.0)
        activate(c, "sha256:old", 2.0, actor="engine n1", action="started")

    house.database.write_now(work)
    house.study(1)
    found = house.propose(lambda table: table["outbound"]["ris"].update(port=2577))
    assert found.before.table is None
    assert [(change.sign, change.section, change.name) for change in found.found.changes] == [
        ("-", "retired", ""),
        ("~", "outbound", "ris"),
    ]
    assert found.effects == (), "it cannot decide any more"


def test_a_kept_version_is_proposed_like_a_file(house: House) -> None:
    first = house.start()
    house.start(lambda table: table["outbound"]["ris"].update(port=2576), action="applied")
    with kept(house.database, first) as path:
        found = propose(house.place, house.database, path, 100)
    assert found.table is not None
    assert found.table.version == first
    (change,) = found.found.changes
    assert [(key.before, key.after) for key in change.keys] == [("2576", "2575")]
    assert not path.exists()


def test_an_engine_is_found_by_a_table_that_is_broken_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\nroutes: [{nme: a}]\n")
    place = place_of(path)
    assert (place.base, place.engine.data) == (tmp_path, tmp_path / "data")
    with database_of(place) as database:
        assert database is None
    assert not (tmp_path / "data").exists(), "looking makes nothing"


def test_a_database_of_an_earlier_release_is_told_so(tmp_path: Path) -> None:
    earlier = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    migrate(earlier.engine, "0003")
    earlier.close()
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\n")
    place = place_of(path)
    assert isinstance(place, Place)
    with pytest.raises(PonsError, match="not of this release; start its engine once"), database_of(place):
        pass
