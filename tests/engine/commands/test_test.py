"""`pons test`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import application
from tests.engine.commands.table_house import TABLE, pons


def test_a_table_that_is_not_there_is_a_wrong_use(tmp_path: Path) -> None:
    done = pons("test", tmp_path / "none.yaml")
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
        "     routes: expected magnetic; got rest (routes.yaml:14:14)",
        "     magnetic: did not fire, routes.yaml:9:62: wanted one series with instances at least 2, found 1",
        "     rest: fired, no other route fired",
        f"{table}: 0 of 1 tests pass",
    ]
    told = json.loads(pons("test", table, "--json").output)
    assert (told["passed"], told["failed"]) == (0, 1)
    assert told["tests"][0]["differences"] == [
        {"what": "routes", "expected": ["magnetic"], "got": ["rest"], "position": "routes.yaml:14:14"}
    ]


TWO = (
    TABLE
    + """  - name: one stays
    given: {site: a, Modality: MR}
    expect: {held: nobody took it}
"""
)


def test_only_what_is_named_is_run(table: Path) -> None:
    table.write_text(TWO)
    done = pons("test", table, "--only", "one stays")
    assert (done.exit_code, done.output) == (0, f"ok   one stays\n{table}: 1 of 1 tests pass\n")
    done = pons("test", table, "--only", "one stay")
    assert done.exit_code == 2
    assert "did you mean 'one stays'?" in " ".join(done.output.split())


def test_coverage_names_what_no_test_exercises(table: Path) -> None:
    table.write_text(TWO)
    done = pons("test", table, "--coverage")
    assert done.exit_code == 0
    assert done.output.splitlines()[2:] == [
        f"{table}: 2 of 2 tests pass",
        "     magnetic: no test in which Modality MR fails (routes.yaml:9:48)",
        f"{table}: coverage 88.8 %: 2 of 2 routes fire, 2 of 3 predicates are seen to hold and to fail",
    ]


def test_too_little_coverage_fails_the_run(table: Path) -> None:
    table.write_text(TWO)
    assert pons("test", table, "--fail-under", "88").exit_code == 0
    done = pons("test", table, "--fail-under", "90")
    assert done.exit_code == 1
    assert f"{table}: coverage 88.8 % is below 90 %" in done.output


def test_coverage_is_data_for_programs(table: Path) -> None:
    table.write_text(TWO)
    told = json.loads(pons("test", table, "--coverage", "--json").output)["coverage"]
    assert told["percent"] == 88.8
    magnetic, rest = told["routes"]
    assert (magnetic["route"], magnetic["fires"], magnetic["does_not_fire"]) == ("magnetic", True, True)
    assert magnetic["predicates"][1] == {
        "position": "routes.yaml:9:48",
        "predicate": "Modality MR",
        "holds": True,
        "fails": False,
        "unseen": ["fails"],
    }
    assert rest["predicates"] == []


def test_the_outcome_is_written_for_build_servers_whether_or_not_it_is_good(
    table: Path, tmp_path: Path
) -> None:
    table.write_text(TWO.replace("held: nobody", "held: somebody"))
    report = tmp_path / "report.xml"
    assert pons("test", table, "--junit", report).exit_code == 1
    assert b'failures="1"' in report.read_bytes()


def test_a_terminal_sees_colour_unless_it_wants_none(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str:
        return CliRunner().invoke(application(), ["test", str(table)], color=True).output

    assert told().startswith("\x1b[32mok  \x1b[0m a pair goes on")
    table.write_text(TABLE.replace("routes: [magnetic]}", "routes: [rest]}"))
    assert "routes: expected \x1b[32mrest\x1b[0m; got \x1b[31mmagnetic\x1b[0m \x1b[2m(" in told()
    table.write_text(TABLE)
    monkeypatch.setenv("NO_COLOR", "1")
    assert told().startswith("ok   a pair goes on")
