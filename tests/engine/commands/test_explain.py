"""`pons explain`, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from engine.config import load
from engine.model import uid_from
from engine.route import decide, decision_to_json
from engine.store import work
from engine.store.database import locate, open_database
from engine.store.migrate import migrate
from engine.store.tables import studies
from tests.engine.commands.table_house import TABLE, pons


@pytest.fixture
def files(tmp_path: Path, instance: Callable[..., bytes]) -> Path:
    """A folder with two instances of one series, one of another study, and a file that is no DICOM."""
    folder = tmp_path / "files"
    (folder / "deeper").mkdir(parents=True)
    (folder / "1.dcm").write_bytes(instance(1))
    (folder / "deeper" / "2").write_bytes(instance(2))
    (folder / "other.dcm").write_bytes(instance(1, study="b"))
    (folder / "notes.txt").write_text("not DICOM\n")
    return folder


def test_files_are_explained_by_the_table_as_it_stands(table: Path, files: Path) -> None:
    done = pons("explain", files, "--table", table)
    assert done.exit_code == 0
    assert "1 of the files are not DICOM and were left out" in done.output
    assert f"study {uid_from('test', 'a')} by table {load(table).version}: routed" in done.output
    assert "fires magnetic at routes.yaml:9:5" in done.output
    assert "deliver to archive" in done.output
    assert f"study {uid_from('test', 'b')} by table {load(table).version}: held" in done.output
    assert "wanted one series with instances at least 2, found 1" in done.output
    assert "hold: nobody took it" in done.output


def test_an_explanation_is_data_for_programs(table: Path, files: Path) -> None:
    (told,) = json.loads(pons("explain", files / "1.dcm", "--table", table, "--json").output)
    assert (told["study"], told["verdict"]) == (uid_from("test", "a"), "held")
    assert [(one["route"], one["hit"]) for one in told["outcomes"]] == [("magnetic", False), ("rest", True)]


def test_the_real_study_is_explained(table: Path, real_study: Path) -> None:
    done = pons("explain", real_study, "--table", table)
    assert "fires magnetic" in done.output


REFUSED: list[tuple[list[str], str]] = [
    (["--site", "b"], "no site 'b'"),
    (["--inbound", "web"], "no inbound channel 'web'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_facts_that_the_table_does_not_know_are_refused(
    table: Path, files: Path, options: list[str], message: str
) -> None:
    done = pons("explain", files, "--table", table, *options)
    assert done.exit_code == 2
    assert message in done.output


def test_the_site_must_be_told_when_there_are_several(table: Path, files: Path) -> None:
    table.write_text(TABLE.replace("inbound:", "  b: {addresses: [10.0.0.2]}\ninbound:", 1))
    done = pons("explain", files, "--table", table)
    assert done.exit_code == 2
    assert "give --site, one of a, b" in done.output
    assert "fires rest" in pons("explain", files, "--table", table, "--site", "b").output


def test_a_folder_without_dicom_says_so(table: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM instance" in str(pons("explain", tmp_path / "empty", "--table", table).exception)


def test_a_study_uid_shows_the_decision_that_was_taken(table: Path) -> None:
    loaded = load(table)
    decision = decide(loaded.tests[0].given.study, loaded)
    database = open_database(locate(loaded.engine))
    try:
        migrate(database.engine)
        with database.engine.begin() as connection:
            values = {"site": "a", "study_instance_uid": "1.2.3", "state": "decided", "revision": 1}
            needed = {
                column.name: 0 if column.type.python_type in (int, float) else ""
                for column in studies.columns
                if not column.nullable and column.default is None and not column.primary_key
            }
            key = connection.execute(insert(studies).values(needed | values)).inserted_primary_key[0]
            work.record_decision(connection, key, 1, "sha256:000000000000", decision_to_json(decision), 0.0)
    finally:
        database.close()
    done = pons("explain", "1.2.3", "--table", table)
    assert done.exit_code == 0
    assert f"study 1.2.3 by table {loaded.version}: routed" in done.output
    assert "no study '1.2.4'" in str(pons("explain", "1.2.4", "--table", table).exception)


def test_a_study_uid_without_a_store_says_so(table: Path) -> None:
    assert "holds no studies yet" in str(pons("explain", "1.2.3", "--table", table).exception)
