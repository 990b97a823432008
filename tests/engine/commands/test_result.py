"""`pons result` on a database at rest: what it shows, writes and refuses, and how it says so."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from engine import cli
from engine.model import (
    Artefact,
    Code,
    Finding,
    Result,
)
from engine.store import lanes, work
from engine.store.database import SqliteDatabase
from engine.store.migrate import migrate
from engine.store.tables import studies
from tests.engine.commands.desk_house import PATIENT, RESULT, TABLE, House, result_saying
from tests.engine.store.rows import study_row

ID = RESULT


class ResultHouse(House):
    """The same table and database; its commands are those of `pons result`."""

    def run(self, *arguments: str, expect: int = 0) -> str:
        return super().run("result", *arguments, expect=expect)

    def refused(self, *arguments: str) -> str:
        return super().refused("result", *arguments)


@pytest.fixture
def house(tmp_path: Path) -> ResultHouse:
    (tmp_path / "routes.yaml").write_text(TABLE)
    picture = tmp_path / "data" / "montage.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG")
    result = result_saying(
        findings=(Finding(concept=Code(value="r", scheme="99X", meaning="Remark"), value="fine"),),
        artefacts=(Artefact(name="montage.png", media_type="image/png", path=Path(picture.name)),),
    )

    def fill(connection: Connection) -> None:
        connection.execute(studies.insert().values(study_row(site="st-marys", study_instance_uid="1.2.3")))
        work.record_result(
            connection, result_id=ID, study_id=1, study_revision=1, lineage="1/a", revision=1, status="final",
            supersedes=None, shadow=False, produced_at=0.0, document=result.model_dump(mode="json"),
        )  # fmt: skip
        lanes.enqueue(
            connection, 0.0, delivery_id="d", destination="ris", order_key="k", lineage="1/a", study_id=1,
            study_revision=1, result_id=ID, status="final", transform=[], after=[],
        )  # fmt: skip

    database = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
    migrate(database.engine)
    with database.engine.connect() as connection, connection.begin():
        fill(connection)
    database.close()
    return ResultHouse(tmp_path)


def test_a_result_is_listed_and_shown_without_its_patient(house: ResultHouse) -> None:
    (row,) = json.loads(house.run("list", "1.2.3", "--json"))
    assert (row["result"], row["status"], row["findings"]) == (ID, "final", 1)
    shown = json.loads(house.run("show", ID, "--json"))
    assert shown["findings"][0]["value"] == "fine"
    assert shown["artefacts"] == ["montage.png"]
    assert shown["deliveries"] == [{"destination": "ris", "state": "queued", "attempts": 0}]
    for words in ("Hippo 2", "Remark", "ris", "queued"):
        assert words in house.run("show", ID)
    assert house.run("list", "9.9") == "no result of study 9.9\n"


def test_an_export_goes_to_standard_output_or_into_a_private_file(house: ResultHouse) -> None:
    command = ["result", "export", ID, "--table", house.table, "--format", "json"]
    done = CliRunner().invoke(cli.application(), command)
    assert Result.model_validate_json(done.stdout_bytes).patient.patient_id == "P-4711"
    out = house.folder / "result.json"
    out.write_text("older")
    assert house.run("export", ID, "--format", "json", "--out", str(out)) == ""
    assert out.read_bytes() == done.stdout_bytes
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_an_export_is_on_the_audit_trail_without_the_patient(house: ResultHouse) -> None:
    house.run("export", ID, "--format", "csv", "--out", str(house.folder / "result.csv"))
    listed = CliRunner().invoke(cli.application(), ["audit", "--json", "--table", house.table])
    (event,) = json.loads(listed.output)
    assert (event["action"], event["subject"]) == ("result exported", f"result {ID}")
    assert event["detail"] == {"format": "csv", "to": "a file"}
    assert "uid " in event["actor"]
    assert not [word for word in PATIENT if word in listed.output]
    house.refused("export", "nobody", "--format", "csv")
    listed = CliRunner().invoke(cli.application(), ["audit", "--json", "--table", house.table])
    assert len(json.loads(listed.output)) == 1, "nothing left the house"


def test_an_unknown_format_names_those_there_are(house: ResultHouse) -> None:
    said = house.run("export", ID, "--format", "docx", expect=2)
    assert "no format 'docx'" in said
    assert "csv, fhir, json, pdf, png, sr, txt, xml" in " ".join(said.replace("│", " ").split())


def test_an_artefact_that_is_gone_is_an_error_without_a_patient(house: ResultHouse) -> None:
    (house.folder / "data" / "montage.png").unlink()
    said = house.refused("export", ID, "--format", "png", "--out", str(house.folder / "x.png"))
    assert said == f"result {ID}: an artefact is missing or was changed on the disk"
    assert not (house.folder / "x.png").exists()


REFUSED: list[tuple[Callable[[House], tuple[str, ...]], str]] = [
    (lambda _: ("show", "nobody"), "no result nobody here"),
    (lambda _: ("retract", ID, "--reason", "\x1b[31m", "--yes"), "the reason must be one line"),
    (lambda _: ("retract", "nobody", "--reason", "why", "--yes"), "no result nobody here"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_what_cannot_be_done_is_refused(
    house: ResultHouse, arguments: Callable[[House], tuple[str, ...]], words: str
) -> None:
    assert words in house.refused(*arguments(house))


def test_retracting_shows_first_and_does_only_when_told(house: ResultHouse) -> None:
    preview = house.run("retract", ID, "--reason", "wrong side")
    assert preview.splitlines() == [
        f"result {ID} would be retracted by version 2",
        "told: ris",
        "nothing was changed; add --yes to do it",
    ]
    assert len(json.loads(house.run("list", "1.2.3", "--json"))) == 1
    done = house.run("retract", ID, "--reason", "wrong side", "--yes")
    assert f"result {ID} is retracted by version 2" in done
    rows: list[dict[str, Any]] = json.loads(house.run("list", "1.2.3", "--json"))
    assert [row["status"] for row in rows] == ["final", "retracted"]
    assert rows[1]["result"] in done
    assert "is retracted already" in house.refused("retract", ID, "--reason", "again", "--yes")


def test_without_a_database_there_is_nothing_to_retract(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(TABLE)
    bare = ResultHouse(tmp_path)
    for more in ((), ("--yes",)):
        assert "no database yet" in bare.refused("retract", ID, "--reason", "why", *more)
    assert not (tmp_path / "data").exists()
