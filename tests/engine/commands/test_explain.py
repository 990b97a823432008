"""`pons explain`, as an operator types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from sqlalchemy import Connection, select, update
from typer.testing import CliRunner

from engine.cli import application
from engine.config import load
from engine.decide import Decider
from engine.intake import DurableIntake
from engine.model import Arrival, uid_from
from engine.spool import Spool
from engine.store import studies
from engine.store.database import Database
from engine.store.tables import decisions
from tests.engine.commands.table_house import TABLE, pons
from tests.engine.conftest import HandClock

Instance = Callable[..., bytes]


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
    version = load(table).version
    assert done.output.splitlines() == [
        "1 of the files are not DICOM and were left out",
        f"study {uid_from('test', 'a')} of site a by table {version}: routed",
        "  fires magnetic  holds: site a, a series with Modality MR, instances at least 2  routes.yaml:9:5",
        "  -     rest      another route fired: magnetic  routes.yaml:10:5",
        "  deliver to archive  dicom_forward  10.0.0.1:104 A",
        f"study {uid_from('test', 'b')} of site a by table {version}: held",
        "  -     magnetic  wanted one series with instances at least 2, found 1  routes.yaml:9:62",
        "  fires rest      no other route fired  routes.yaml:10:5",
        "  hold: nobody took it",
    ]


def test_one_route_is_told_in_full(table: Path, files: Path) -> None:
    table.write_text(
        TABLE.replace(
            "deliver: [archive]}",
            "process: qc, transform: [{set: {BodyPartExamined: BRAIN}}],\n     "
            "deliver: [archive, {to: ris, after: archive, when: {status: final}}]}",
        )
        .replace("inbound:", "processors: {qc: {type: quality_control}}\ninbound:", 1)
        .replace("outbound:", "outbound:\n  ris: {type: hl7_oru, site: a, host: 10.0.0.1, port: 2575}", 1)
    )
    done = pons("explain", files / "deeper", "--table", table, "--route", "magnetic")
    assert done.output.splitlines()[1:] == [
        "  magnetic does not fire routes.yaml:11:5",
        "    wanted  one series with instances at least 2  routes.yaml:11:62",
        "    found   1",
    ]
    done = pons("explain", files, "--table", table, "--route", "magnetic")
    assert done.output.splitlines()[2:9] == [
        "  magnetic fires routes.yaml:11:5",
        "    holds: site a, a series with Modality MR, instances at least 2",
        "    process qc with 1 series:",
        f"      {uid_from('test', 'a', 'a')}",
        "    edit copies: set BodyPartExamined",
        "    deliver to archive  dicom_forward  10.0.0.1:104 A  edited: set BodyPartExamined",
        "    deliver to ris  hl7_oru  10.0.0.1:2575  after archive  when final",
    ]
    done = pons("explain", files, "--table", table, "--route", "magnet")
    assert done.exit_code == 2
    assert "did you mean 'magnetic'?" in " ".join(done.output.split())


def test_a_large_table_lists_what_could_fire_unless_all_is_asked_for(table: Path, files: Path) -> None:
    more = "".join(f"  - {{name: r{n}, match: {{StudyID: X{n}}}, hold: x}}\n" for n in range(300))
    table.write_text(TABLE.replace("  - {name: rest", f"{more}  - {{name: rest"))
    done = pons("explain", files / "deeper", "--table", table)
    assert "  300 more routes could not fire, by the index (--all lists them)" in done.output.splitlines()
    done = pons("explain", files / "deeper", "--table", table, "--all")
    assert "wanted StudyID X299, found no value" in done.output
    done = pons("explain", files / "deeper", "--table", table, "--route", "r7")
    assert "wanted  StudyID X7" in done.output


def test_an_explanation_is_data_of_a_documented_shape(table: Path, files: Path) -> None:
    (told,) = json.loads(pons("explain", files / "1.dcm", "--table", table, "--json").output)
    assert (told["study"], told["source"], told["verdict"]) == (uid_from("test", "a"), "files", "held")
    assert (told["holds"], told["destinations"]) == (["nobody took it"], [])
    assert [(one["route"], one["hit"]) for one in told["outcomes"]] == [("magnetic", False), ("rest", True)]
    assert told["outcomes"][0]["failed"] == {
        "position": "routes.yaml:9:62",
        "wanted": "one series with instances at least 2",
        "found": "1",
    }
    schema = json.loads(pons("schema", "explanation").output)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate([told], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([told | {"verdict": "perhaps"}], schema)


def test_a_terminal_sees_colour(table: Path, files: Path) -> None:
    done = CliRunner().invoke(
        application(), ["explain", str(files / "1.dcm"), "--table", str(table)], color=True
    )
    assert "found \x1b[31m1\x1b[0m" in done.output
    assert "\x1b[32mfires\x1b[0m rest" in done.output


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


@pytest.fixture
async def decided(table: Path, database: Database, spool: Spool, clock: HandClock, instance: Instance) -> str:
    """A study that came in twice, decided by the engine both times: held, then routed."""
    intake = DurableIntake(spool, database, clock, keywords=("Modality",))
    decider = Decider(database, spool, clock, load(table), lambda: None)
    for number in (1, 2):
        landing = intake.land()
        landing.write(instance(number))
        await intake.accept(Arrival("a", "pacs", "s", landing, "10.0.0.1", "A", "PONS"))
        intake.leave("s")
        clock.advance(100)
        await database.write(
            lambda c: studies.close_revision(c, 1, clock.now(), "quiet", on_late="rerun", last_at=clock.now())
        )
        await decider.decide_closed()
    intake.close()
    return uid_from("test", "a")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_study_uid_shows_the_decision_that_was_taken(table: Path, decided: str) -> None:
    version = load(table).version
    done = pons("explain", decided, "--table", table)
    head = f"study {decided} of site a, revision 2, by table {version} at 2023-11-14T22:16:40+00:00: routed"
    assert done.output.splitlines()[0] == head
    done = pons("explain", decided, "--table", table, "--revision", "1")
    assert done.output.splitlines()[0].startswith(f"study {decided} of site a, revision 1, by table")
    assert "wanted one series with instances at least 2, found 1" in done.output
    done = pons("explain", decided, "--table", table, "--revision", "3")
    assert f"study {decided} has no decided revision 3; there is 1, 2" in str(done.exception)
    assert "no study '1.2.4'" in str(pons("explain", "1.2.4", "--table", table).exception)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_beside_the_record_stands_what_the_table_makes_of_the_study_now(table: Path, decided: str) -> None:
    done = pons("explain", decided, "--table", table, "--now")
    assert done.output.splitlines()[-1] == "  the table as it stands decides the same"
    before = load(table).version
    table.write_text(TABLE.replace("at_least: 2", "at_least: 3").replace("- {name: rest", "- {name: left"))
    done = pons("explain", decided, "--table", table, "--now")
    lines = done.output.splitlines()
    assert [line for line in lines if line.startswith("study ")] == [
        f"study {decided} of site a, revision 2, by table {before} at 2023-11-14T22:16:40+00:00: routed",
        f"study {decided} of site a, revision 2, now, by table {load(table).version}: held",
    ]
    assert lines[-2:] == [
        "  no longer fires: magnetic: routes.yaml:9:62: wanted one series with instances at least 3, found 2",
        "  fires now: left: no other route fired",
    ]
    (told,) = json.loads(pons("explain", decided, "--table", table, "--now", "--json").output)
    assert (told["verdict"], told["now"]["verdict"]) == ("routed", "held")
    jsonschema.validate([told], json.loads(pons("schema", "explanation").output))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_decided_before_reasons_were_data_is_explained_by_its_sentences(
    table: Path, decided: str, database: Database
) -> None:
    def age(connection: Connection) -> None:
        (row,) = connection.execute(select(decisions).where(decisions.c.revision == 1)).all()
        for outcome in row.decision["outcomes"]:
            outcome.pop("failed", None)
        connection.execute(update(decisions).where(decisions.c.id == row.id).values(decision=row.decision))

    database.write_now(age)
    done = pons("explain", decided, "--table", table, "--revision", "1")
    assert "routes.yaml:9:62: wanted one series with instances at least 2, found 1" in done.output


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_study_whose_files_are_gone_cannot_be_asked_what_was_not_noted(
    table: Path, decided: str, spool: Spool
) -> None:
    shutil.rmtree(spool.instances)
    assert pons("explain", decided, "--table", table, "--now").exit_code == 0, "the modality was noted"
    table.write_text(TABLE.replace("Modality: MR, instances", "Modality: MR, EchoTime: 5, instances", 1))
    done = pons("explain", decided, "--table", table, "--now")
    assert "cannot be decided again: its files are gone" in str(done.exception)


def test_a_study_uid_without_a_store_says_so(table: Path) -> None:
    assert "holds no studies yet" in str(pons("explain", "1.2.3", "--table", table).exception)
