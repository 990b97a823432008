"""Taking a result back: who is told, what is kept, and when it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from engine.config import load
from engine.errors import PonsError
from engine.model import Algorithm, Order, Patient, Report, Result, ResultStatus, StudyReference
from engine.reason import checked_reason
from engine.retraction import plan, retract
from engine.store import lanes, work
from engine.store.database import Database
from engine.store.tables import audit_events, holds, results, studies
from engine.store.tables import deliveries as delivery_rows

TABLE = """
version: 1
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1]}
outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  desk: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
"""
NOW = 1_700_000_000.0


@dataclass
class Lineage:
    """Versions of one result in a database, made one by one."""

    database: Database
    outbound: Any

    def now(self, work_: Callable[[Connection], Any]) -> Any:
        """One transaction, at once."""
        engine = self.database.engine.connect().execution_options(begin="IMMEDIATE")
        with engine as connection, connection.begin():
            return work_(connection)

    def version(
        self,
        number: int,
        status: str,
        *,
        to: tuple[str, ...] = (),
        shadow: bool = False,
        state: str = "queued",
    ) -> str:
        """Keep a version and queue it to some destinations."""
        result = Result(
            result_id=str(uuid.UUID(int=number)),
            site="st-marys",
            route="mr",
            status=ResultStatus(status),
            revision=number,
            produced_at=datetime(2026, 1, 2, tzinfo=UTC),
            patient=Patient(patient_id="P-1"),
            order=Order(),
            study=StudyReference(study_instance_uid="1.2"),
            report=Report(narrative=f"version {number}", algorithm=Algorithm(name="a", version="1")),
        )

        def keep(connection: Connection) -> None:
            work.record_result(
                connection, result_id=result.result_id, study_id=1, study_revision=1, lineage="1/a",
                revision=number, status=status, supersedes=None, shadow=shadow, produced_at=NOW,
                document=result.model_dump(mode="json"),
            )  # fmt: skip
            for name in to:
                lanes.enqueue(
                    connection, NOW, delivery_id=str(uuid.uuid4()), destination=name, order_key="k",
                    lineage="1/a", study_id=1, study_revision=1, result_id=result.result_id, status=status,
                    transform=[], after=[],
                )  # fmt: skip
            connection.execute(
                delivery_rows.update()
                .where(delivery_rows.c.result_id == result.result_id)
                .values(state=state)
            )

        self.now(keep)
        return result.result_id

    def retract(self, result_id: str) -> Any:
        return self.now(lambda c: retract(c, result_id, "wrong patient side", self.outbound, NOW, actor="x"))

    def rows(self, table: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))


@pytest.fixture
def lineage(database: Database, tmp_path: Path) -> Lineage:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    made = Lineage(database, load(path).outbound)
    made.now(
        lambda c: c.execute(
            studies.insert().values(
                id=1, site="st-marys", study_instance_uid="1.2", state="stable", revision=1, inbound="pacs",
                calling_ae_title="", called_ae_title="", remote_address="", opened_at=0.0, last_at=0.0,
            )
        )
    )  # fmt: skip
    return made


@pytest.mark.parametrize("state", ["delivered", "dead", "superseded", "queued"])
def test_everybody_who_was_sent_any_version_is_told_whatever_came_of_it(lineage: Lineage, state: str) -> None:
    lineage.version(1, "preliminary", to=("desk",), state=state)
    final = lineage.version(2, "final", to=("ris",), state=state)
    done = lineage.retract(final)
    assert done.tell == ("desk", "ris")
    assert done.unreachable == ()
    sent = [row for row in lineage.rows(delivery_rows) if row.status == "retracted"]
    assert {row.destination: (row.state, row.result_id) for row in sent} == {
        "desk": ("queued", done.result.result_id),
        "ris": ("queued", done.result.result_id),
    }
    if state == "queued":  # what had not gone out yet need not go
        assert {row.state for row in lineage.rows(delivery_rows) if row.status != "retracted"} == {
            "superseded"
        }


def test_the_last_version_keeps_the_findings_and_says_why(lineage: Lineage) -> None:
    final = lineage.version(1, "final", to=("ris",))
    done = lineage.retract(final)
    row = lineage.rows(results)[-1]
    kept = Result.model_validate(row.document)
    assert (row.status, row.revision, row.supersedes, row.lineage) == ("retracted", 2, final, "1/a")
    assert kept == done.result
    assert kept.report.narrative == "Retracted: wrong patient side\nversion 1"
    assert kept.patient.patient_id == "P-1"


def test_a_failure_that_came_later_does_not_hide_the_report_that_stands(lineage: Lineage) -> None:
    final = lineage.version(1, "final", to=("ris",), state="delivered")
    failed = lineage.version(2, "failed", to=("desk",), state="delivered")
    with pytest.raises(PonsError, match="is a failure report"):
        lineage.retract(failed)
    done = lineage.retract(final)
    assert (done.result.revision, done.result.supersedes) == (3, failed)
    assert done.result.report.narrative.endswith("version 1")
    assert done.tell == ("ris", "desk")


def test_a_destination_that_left_the_table_leaves_a_hold(lineage: Lineage) -> None:
    final = lineage.version(1, "final", to=("ris", "fax"), state="delivered")
    done = lineage.retract(final)
    assert (done.tell, done.unreachable) == (("ris",), ("fax",))
    assert "destination fax had a result that is retracted now" in lineage.rows(holds)[0].reason


def test_it_is_done_once_by_the_version_that_stands(lineage: Lineage) -> None:
    first = lineage.version(1, "final", to=("ris",))
    second = lineage.version(2, "corrected", to=("ris",))
    with pytest.raises(PonsError, match=f"was superseded; retract {second}"):
        lineage.retract(first)
    done = lineage.retract(second)
    for again in (first, second, done.result.result_id):
        with pytest.raises(PonsError, match="is retracted already"):
            lineage.retract(again)
    assert len(lineage.rows(results)) == 3
    assert [row.action for row in lineage.rows(audit_events)] == ["result retracted"]


def test_what_is_not_there_or_never_left_is_refused(lineage: Lineage) -> None:
    shadow = lineage.version(1, "final", shadow=True)
    with pytest.raises(PonsError, match="never left the house"):
        lineage.retract(shadow)
    with pytest.raises(PonsError, match="no result nobody here"):
        lineage.retract("nobody")
    assert lineage.rows(audit_events) == []


def test_a_plan_changes_nothing(lineage: Lineage) -> None:
    final = lineage.version(1, "final", to=("ris",))
    planned = lineage.now(lambda c: plan(c, final, "why", lineage.outbound, NOW))
    assert planned.tell == ("ris",)
    assert len(lineage.rows(results)) == len(lineage.rows(delivery_rows)) == 1
    assert lineage.rows(audit_events) == []


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\x1bb", "a\u202eb"])
def test_a_reason_that_is_none_is_refused(reason: str) -> None:
    with pytest.raises(PonsError, match="the reason must be one line"):
        checked_reason(reason)


def test_a_reason_is_one_line() -> None:
    assert checked_reason(" wrong \n protocol ") == "wrong protocol"
