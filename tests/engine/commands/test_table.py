"""`pons check`, `test`, `explain`, `schema`, as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import insert
from typer.testing import CliRunner

from engine.cli import app
from engine.config import load
from engine.model import uid_from
from engine.route import decide, decision_to_json
from engine.store import work
from engine.store.database import locate, open_database
from engine.store.migrate import migrate
from engine.store.tables import studies

BROKEN = Path(__file__).parents[1] / "broken_tables"

TABLE = """version: 1
sites:
  a: {addresses: [10.0.0.1], ae_titles: [A]}
inbound:
  pacs: {type: c_store, listen: "127.0.0.1:11112"}
outbound:
  archive: {type: dicom_forward, site: a, host: 10.0.0.1, port: 104, ae_title: A}
routes:
  - {name: magnetic, match: {site: a, series: {Modality: MR, instances: {at_least: 2}}}, deliver: [archive]}
  - {name: rest, otherwise: true, hold: nobody took it}
tests:
  - name: a pair goes on
    given: {site: a, series: [{Modality: MR, instances: 2}]}
    expect: {routes: [magnetic]}
"""


def pons(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    return path


def test_a_sound_table_is_fine(table: Path) -> None:
    done = pons("check", table)
    assert done.exit_code == 0
    assert done.output.startswith(
        f"{table}: fine: sites 1, ways in 1, ways out 1, routes 2, tests 1; version sha256:"
    )


def test_a_broken_table_exits_with_1_and_lists_every_finding() -> None:
    done = pons("check", BROKEN / "everything-at-once.yaml")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert (
        lines[0] == f"{BROKEN}/everything-at-once.yaml:3:26: sites.a.ae_title: "
        "unknown key 'ae_title'; did you mean 'ae_titles'?"
    )
    assert lines[-1] == f"{BROKEN / 'everything-at-once.yaml'}: 5 errors"


def test_findings_are_data_for_programs() -> None:
    done = pons("check", BROKEN / "channel-type.yaml", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output) == {
        "version": None,
        "findings": [
            {
                "file": "channel-type.yaml",
                "line": 5,
                "column": 15,
                "path": "outbound.his.type",
                "message": "no channel type 'hl7_orru'; did you mean 'hl7_oru'?",
                "severity": "error",
            }
        ],
    }


@pytest.mark.parametrize("command", ["check", "test"])
def test_a_table_that_is_not_there_is_a_wrong_use(command: str, tmp_path: Path) -> None:
    done = pons(command, tmp_path / "none.yaml")
    assert done.exit_code == 2


def test_the_tests_of_a_table_run(table: Path) -> None:
    done = pons("test", table)
    assert (done.exit_code, done.output) == (0, f"ok   a pair goes on\n{table}: 1 of 1 tests pass\n")


def test_a_failing_test_of_a_table_shows_expected_got_and_why(table: Path) -> None:
    table.write_text(TABLE.replace("instances: 2}]}", "instances: 1}]}"))
    done = pons("test", table)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "FAIL a pair goes on",
        "     routes: expected magnetic; got rest (routes.yaml:12:5)",
        "     magnetic: did not fire, routes.yaml:9:62: wanted one series with instances at least 2, found 1",
        "     rest: fired, no other route fired",
        f"{table}: 0 of 1 tests pass",
    ]
    told = json.loads(pons("test", table, "--json").output)
    assert told[0]["passed"] is False
    assert told[0]["differences"] == [{"what": "routes", "expected": ["magnetic"], "got": ["rest"]}]


# ── explain ─────────────────────────────────────────────────────────────────────────────────────


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
    decision = decide(loaded.tests[0].study, loaded)
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


@pytest.mark.parametrize(("arguments", "title"), [([], "Pons routing table"), (["result"], "pons.result/1")])
def test_schemas_are_printed(arguments: list[str], title: str) -> None:
    done = pons("schema", *arguments)
    assert json.loads(done.output)["title"] == title
