"""`pons test`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

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
