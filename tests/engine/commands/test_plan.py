"""`pons plan`: what another table would change, in words and as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import cli
from tests.engine.commands.plan_house import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.start()
    return made


def edit(table: dict[str, Any]) -> None:
    table["outbound"]["ris"]["port"] = 2576
    table["outbound"]["ris"]["timeout"] = "40s"
    del table["outbound"]["archive"]
    table["routes"][0]["deliver"] = ["ris", "cellar"]
    table["sites"]["new"] = {"addresses": ["127.0.0.3"], "ae_titles": ["NEW"]}


def fill(desk: Desk) -> None:
    with desk.house() as house:
        house.study(1)
        house.study(2, attributes={"Modality": "US"})
        house.study(3, attributes={})
        house.delivery(1, "archive", "d-1")
        house.delivery(1, "ris", "d-2")


def test_a_plan_reads_from_top_to_bottom(desk: Desk) -> None:
    fill(desk)
    version = desk.json("plan", desk.write(edit))["version"]
    said = desk.run("plan", desk.write(edit)).splitlines()
    running = desk.json("history")[0]
    start = said.index("1 of 1 tests pass")
    assert said[start : start + 2] == [
        "1 of 1 tests pass",
        f"{running['version']} runs (started by engine n1 at 2023-11-14 22:13:20 UTC); {version} would",
    ]
    changes = said[start + 3 : said.index("1 added, 2 changed, 1 removed") - 1]
    assert changes == [
        "+ site new",
        "    addresses: [127.0.0.3]",
        "    ae_titles: [NEW]",
        "~ outbound ris",
        "    port: 2575 -> 2576",
        "    timeout: 40s (was not given)",
        "- outbound archive",
        "    type: dicom_forward",
        "    site: st-marys",
        "    host: 127.0.0.1",
        "    port: 104",
        "    ae_title: ARCHIVE",
        "~ route mr",
        "    deliver: [ris, archive] -> [ris, cellar]",
    ]
    rest = said[said.index("1 added, 2 changed, 1 removed") + 2 :]
    assert rest == [
        "of the last 3 studies 1 would go elsewhere, 0 to the same places otherwise, 1 as before; "
        "1 cannot be told",
        "    archive: 1 -> 0 studies",
        "    cellar: 0 -> 1 studies",
        "~ 1.2.1 of st-marys: ris, archive -> ris, cellar",
        "    route 'mr' has another deliver",
        "",
        "under way:",
        "  outbound archive: 1 queued; nobody delivers them until a table has it again",
        "  outbound ris: 1 queued; they go by the new settings; an attempt under way ends by the old ones",
        "`pons apply` would refuse it: outbound archive has 1 queued: nobody delivers them until a table has "
        "it again (--force does it all the same)",
    ]


def test_the_same_as_data(desk: Desk) -> None:
    fill(desk)
    told = desk.json("plan", desk.write(edit), "--studies", "2")
    assert (told["is_running"], told["restart"]) == (False, [])
    assert [(one["sign"], one["section"], one["name"]) for one in told["changes"]] == [
        ("+", "sites", "new"),
        ("~", "outbound", "ris"),
        ("-", "outbound", "archive"),
        ("~", "routes", "mr"),
    ]
    assert told["changes"][1]["keys"][0] == {"path": "port", "before": "2575", "after": "2576"}
    assert told["studies"]["counts"] == {"as before": 1, "elsewhere": 0, "otherwise": 0, "unknown": 1}
    assert [(one["name"], one["counts"], one["stop"]) for one in told["under_way"]] == [
        ("archive", {"queued": 1}, "strands"),
        ("ris", {"queued": 1}, ""),
    ]


def test_nothing_changed_says_so(desk: Desk) -> None:
    assert desk.run("plan", desk.write()).splitlines()[-1] == "nothing changes: this is the running table"
    path = Path(desk.write())
    path.write_text(f"# in other words\n{path.read_text()}")
    said = desk.run("plan", str(path))
    assert "nothing that the engine does changes: only wording, comments or the layout of files" in said
    assert desk.json("plan", str(path))["changes"] == []


def test_findings_come_first_and_end_it(desk: Desk) -> None:
    path = desk.write(lambda table: table["routes"][0].update(deliver=["arhive"]))
    said = desk.run("plan", path, expect=1)
    assert f"{path}:" in said
    assert "did you mean 'archive'?" in said
    assert "added" not in said
    told = desk.json("plan", path, expect=1)
    assert told["version"] is None
    assert "deliver" in told["findings"][0]["path"]


def test_tests_that_fail_are_shown_with_their_reasons(desk: Desk) -> None:
    path = desk.write(lambda table: table["tests"][0]["expect"].update(routes=["mr"]))
    said = desk.run("plan", path, expect=1)
    assert "FAIL ultrasound waits" in said
    assert "routes: expected mr; got us" in said
    assert "1 of 1 tests of the table fail (--force applies it all the same)" in said
    assert desk.json("plan", path, expect=1)["tests"]["failed"][0]["test"] == "ultrasound waits"


def test_what_needs_a_restart_is_told(desk: Desk) -> None:
    said = desk.run("plan", desk.write(lambda table: table["engine"].update(http="127.0.0.1:9191")))
    assert "~ engine" in said
    assert "needs a restart: engine.http" in said


def test_many_studies_are_cut_for_people_and_whole_for_programs(desk: Desk) -> None:
    with desk.house() as house:
        for number in range(1, 31):
            house.study(number)
    path = desk.write(lambda table: table["routes"][0].update(deliver=["ris"]))
    assert "and 10 more; --json has all" in desk.run("plan", path)
    assert len(desk.json("plan", path)["studies"]["changed"]) == 30


def test_nothing_of_a_patient_is_shown(desk: Desk) -> None:
    with desk.house() as house:
        house.study(1, attributes={"Modality": "MR", "PatientName": "Yamada^Tarou", "PatientID": "P-4711"})

    def ask(table: dict[str, Any]) -> None:
        table["routes"][0]["match"]["PatientName"] = {"matches": "^Doe"}

    path = desk.write(ask)
    told = desk.run("plan", path) + desk.run("plan", path, "--json")
    assert "does not fire" in told
    assert not [word for word in ("Yamada", "P-4711") if word in told]


def test_a_table_speaks_for_itself_where_no_engine_ran(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nengine: {data: ./data}\nsites: {a: {addresses: [127.0.0.1]}}\n")
    done = CliRunner().invoke(cli.application(), ["plan", str(path), "--table", str(tmp_path / "none.yaml")])
    assert done.exit_code == 0, done.output
    assert "would be the first table to run here" in done.output
    assert "+ site a" in done.output
    assert not (tmp_path / "data").exists()
