"""`pons check`, as an operator types it."""

from __future__ import annotations

import json
import socket
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


def test_warnings_refuse_only_where_that_is_asked_for() -> None:
    shadowed = BROKEN / "otherwise-shadowed.yaml"
    done = pons("check", shadowed)
    assert done.exit_code == 0
    assert ": fine, 3 warnings: sites 3, " in done.output
    for strict in ("--strict", "--warnings-as-errors"):
        assert pons("check", shadowed, strict).exit_code == 1


def test_a_broken_table_is_sarif_for_a_code_host() -> None:
    done = pons("check", BROKEN / "channel-type.yaml", "--format", "sarif")
    assert done.exit_code == 1
    (result,) = json.loads(done.output)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("unknown-type", "error")


def test_the_source_is_shown_on_demand() -> None:
    done = pons("check", BROKEN / "channel-type.yaml", "--format", "source")
    assert done.output.splitlines()[4] == "  |               ^^^^^^^^"


def test_a_destination_that_does_not_answer_is_told_and_refuses(table: Path) -> None:
    with socket.socket() as held, socket.socket() as free:
        held.bind(("127.0.0.1", 0))  # bound, not listening: whoever calls is refused
        free.bind(("127.0.0.1", 0))
        ours = free.getsockname()[1]
        free.close()
        port = held.getsockname()[1]
        text = table.read_text().replace("host: 10.0.0.1, port: 104", f"host: 127.0.0.1, port: {port}")
        table.write_text(
            text.replace("127.0.0.1:11112", f"127.0.0.1:{ours}") + 'engine: {http: "127.0.0.1:0"}\n'
        )
        done = pons("check", table, "--online")
        as_json = pons("check", table, "--online", "--json")
    assert done.exit_code == 1
    line, last = done.output.splitlines()
    assert line.startswith(f"no answer  archive (dicom_forward at 127.0.0.1:{port}) after ")
    assert last == f"{table}: 1 error"
    told = json.loads(as_json.output)
    assert [(one["destination"], one["answered"]) for one in told["probes"]] == [("archive", False)]
    assert [(one["code"], one["line"]) for one in told["findings"]] == [("no-answer", 7)]


def test_a_time_limit_has_a_unit(table: Path) -> None:
    done = pons("check", table, "--online", "--timeout", "10")
    assert done.exit_code == 2
    assert "a duration needs a unit" in done.output
