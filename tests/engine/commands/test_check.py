"""`pons check`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.commands.table_house import pons

BROKEN = Path(__file__).parents[1] / "broken_tables"


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
        "unknown key 'ae_title'; did you mean 'ae_titles'? [unknown-key]"
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
                "code": "unknown-type",
            }
        ],
    }


def test_a_table_that_is_not_there_is_a_wrong_use(tmp_path: Path) -> None:
    done = pons("check", tmp_path / "none.yaml")
    assert done.exit_code == 2
