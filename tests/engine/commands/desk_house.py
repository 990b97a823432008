"""A table with a database beside it: a held study, dead letters, something delivered."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from typer.testing import CliRunner

from engine import cli
from engine.errors import PonsError
from engine.model import (
    Algorithm,
    Order,
    Patient,
    PersonName,
    Report,
    Result,
    ResultStatus,
    StudyReference,
)
from engine.store import lanes, work
from engine.store import studies as study_queries
from engine.store.database import SqliteDatabase
from engine.store.lanes import Settlement
from engine.store.migrate import migrate
from engine.store.tables import deliveries, revisions, studies
from tests.engine.store.rows import study_row

TABLE = """
version: 1
engine: {data: ./data}
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1]}
outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  desk: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
"""
PATIENT = ("P-4711", "Yamada", "1951")
RESULT = str(uuid.UUID(int=1))
NOW = 1_700_000_000.0


@dataclass
class House:
    """The folder of the table, and the commands run on it."""

    folder: Path

    @property
    def table(self) -> str:
        return str(self.folder / "routes.yaml")

    def run(self, *arguments: str, expect: int = 0) -> str:
        """`pons …`; its output, in which no patient may stand."""
        done = CliRunner().invoke(cli.application(), [*arguments, "--table", self.table])
        assert done.exit_code == expect, (done.output, done.exception)
        assert not [word for word in PATIENT if word in done.output]
        return done.output

    def refused(self, *arguments: str) -> str:
        """The same where it must fail; what it says."""
        done = CliRunner().invoke(cli.application(), [*arguments, "--table", self.table])
        assert isinstance(done.exception, PonsError), (done.output, done.exception)
        assert not [word for word in PATIENT if word in str(done.exception)]
        return str(done.exception)

    def states(self) -> dict[str, str]:
        """The state of each delivery."""
        database = SqliteDatabase(self.folder / "data" / "pons.sqlite")
        try:
            rows = database.read_now(lambda c: c.execute(deliveries.select()).all())
        finally:
            database.close()
        return {row.delivery_id: row.state for row in rows}


def result_saying(**report: Any) -> Result:
    """The result of a study of that patient, with more in its report."""
    return Result(
        result_id=RESULT,
        site="st-marys",
        route="mr",
        status=ResultStatus.FINAL,
        produced_at=datetime(2026, 1, 2, tzinfo=UTC),
        patient=Patient(patient_id="P-4711", name=PersonName(alphabetic="Yamada^Tarou")),
        order=Order(),
        study=StudyReference(study_instance_uid="1.2.3"),
        report=Report(algorithm=Algorithm(name="Hippo", version="2"), **report),
    )


def furnish(folder: Path) -> House:
    """Make the table and its database: d-1, d-2 dead at ris, d-3 at one that is gone, d-4 delivered."""
    (folder / "routes.yaml").write_text(TABLE)
    database = SqliteDatabase(folder / "data" / "pons.sqlite")
    migrate(database.engine)
    database.write_now(_fill)
    database.close()
    return House(folder)


def _fill(connection: Connection) -> None:
    connection.execute(studies.insert().values(study_row(site="st-marys", study_instance_uid="1.2.3")))
    connection.execute(
        revisions.insert().values(
            study_id=1, revision=1, state="held", closed_at=NOW, why="quiet", instances=1
        )
    )
    study_queries.hold(connection, 1, 1, "no route matched", NOW)
    result = result_saying()
    work.record_result(
        connection, result_id=RESULT, study_id=1, study_revision=1, lineage="1/a", revision=1,
        status="final", supersedes=None, shadow=False, produced_at=NOW,
        document=result.model_dump(mode="json"),
    )  # fmt: skip
    for number, to, outcome in (
        (1, "ris", "refused"), (2, "ris", "refused"), (3, "old", "refused"), (4, "desk", "delivered"),
    ):  # fmt: skip
        lanes.enqueue(
            connection, NOW, delivery_id=f"d-{number}", destination=to, order_key="k", lineage=f"1/{number}",
            study_id=1, study_revision=1, result_id=RESULT, status="final", transform=[], after=[],
        )  # fmt: skip
        (claim,) = lanes.claim(connection, to, "n1", NOW, 60.0, 1)
        lanes.settle(connection, [Settlement(claim, outcome, "AR", "unknown code in OBR-4")], NOW)
