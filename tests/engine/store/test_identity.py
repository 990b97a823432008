"""Ids come out the same when the same is done again, and differ wherever anything else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from engine.model import Algorithm, Artefact, Report
from engine.store import identity, work
from engine.store.database import Database, SqliteDatabase
from engine.store.migrate import migrate, revisions
from engine.store.tables import instances
from tests.engine.store.earlier import RESULT, lay


@pytest.fixture
def full(sqlite_database: SqliteDatabase, tmp_path: Path) -> Database:
    lay(sqlite_database, revisions()[-1], tmp_path)
    return sqlite_database


def of_study(database: Database, **changed: object) -> str:
    facts = {
        "study_id": 1,
        "revision": 1,
        "result_id": None,
        "destination": "archive",
        "lineage": "1/study",
        "transform": [],
        **changed,
    }
    return database.read_now(lambda c: identity.delivery_id(c, **facts))  # type: ignore[arg-type]


def test_a_database_that_is_restored_gives_the_ids_that_it_gave_before(
    full: Database, tmp_path: Path
) -> None:
    again = SqliteDatabase(tmp_path / "again" / "pons.sqlite")
    migrate(again.engine)
    lay(again, revisions()[-1], tmp_path)
    for make in (of_study, lambda d: of_study(d, result_id=RESULT), _run):
        assert make(again) == make(full)
    again.close()


def _run(database: Database, lineage: str = "1/dti-qc/mr") -> str:
    return database.read_now(lambda c: identity.job_id(c, 1, 1, lineage))


def test_whatever_is_different_has_another_id(full: Database) -> None:
    edit = [{"set": {"BodyPartExamined": "BRAIN"}}]
    ids = [
        of_study(full),
        of_study(full, destination="other"),
        of_study(full, transform=edit),
        of_study(full, revision=2),
        of_study(full, study_id=3),
        of_study(full, result_id=RESULT),
        _run(full),
        _run(full, "1/dti-qc/other"),
    ]
    full.write_now(lambda c: c.execute(update(instances).where(instances.c.id == 1).values(sha256="f" * 64)))
    ids += [of_study(full), _run(full)]
    assert len(set(ids)) == len(ids), "and so have other instances under the same revision"


def test_what_is_asked_for_once_more_has_another_id(full: Database) -> None:
    """The deliveries and runs that are there already are not repeated: they are followed."""
    sent = of_study(full, destination="his", result_id=RESULT)
    assert sent != of_study(full, destination="nobody yet", result_id=RESULT)
    first = _run(full)
    job = {"study_id": 1, "revision": 1, "processor": "dti-qc", "lineage": "1/dti-qc/mr", "outcomes": []}
    full.write_now(lambda c: work.queue_job(c, job_id=first, now=0.0, **job))
    assert _run(full) != first


def test_a_result_is_its_findings_and_its_files(tmp_path: Path) -> None:
    report = Report(
        algorithm=Algorithm(name="a", version="1"),
        artefacts=(Artefact(name="a.png", media_type="image/png"),),
    )
    (tmp_path / "a.png").write_bytes(b"picture")
    first = identity.result_id("job", report, tmp_path)
    assert first == identity.result_id("job", report, tmp_path)
    assert first != identity.result_id("job 2", report, tmp_path)
    assert first != identity.result_id("job", report.model_copy(update={"impression": "x"}), tmp_path)
    (tmp_path / "a.png").write_bytes(b"another")
    assert first != identity.result_id("job", report, tmp_path)
