"""Every earlier schema, with data in each of its tables, becomes one that this release works on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, select, text

from engine.audit import append_event, verify
from engine.errors import DatabaseUnavailable, PonsError
from engine.model import CommitmentReport
from engine.store import commitments, lanes, look, order_states, studies, work
from engine.store.database import Database, PostgresDatabase, SqliteDatabase
from engine.store.lanes import Settlement
from engine.store.migrate import MIGRATIONS, migrate, revisions, schema_of
from engine.store.tables import deliveries, metadata, orders, results
from engine.stored_result import stored_result
from engine.story import tell
from tests.engine.store.earlier import BEGAN, RESULT, STUDY, empty_tables, lay
from tests.peers.postgres import Cluster

NOW = BEGAN + 3600


@pytest.fixture(params=["sqlite", "postgres"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table, on each of the two."""
    if request.param == "sqlite":
        opened: Database = SqliteDatabase(tmp_path / "data" / "pons.sqlite")
        yield opened
        opened.close()
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    address = postgres.database()
    opened = PostgresDatabase(make_url(address))
    yield opened
    opened.close()
    postgres.drop(address)


def test_the_names_of_the_migrations_tell_their_order() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    assert [script.revision for script in scripts][::-1] == revisions()


@pytest.fixture(params=revisions())
def upgraded(request: pytest.FixtureRequest, bare: Database, tmp_path: Path) -> Database:
    """A database of each schema that there has been, filled, and then brought to this release's."""
    lay(bare, request.param, tmp_path / "data")
    assert empty_tables(bare) == [], "an earlier schema is only tested with data in it"
    migrate(bare.engine)
    return bare


def states(database: Database) -> dict[str, str]:
    rows = database.read_now(lambda c: c.execute(select(deliveries.c.destination, deliveries.c.state)).all())
    return {row.destination: row.state for row in rows}


def deliver(database: Database, destination: str) -> str:
    """Claim the head of a destination and settle it; which delivery it was."""

    def work_(connection: Connection) -> str:
        [claimed] = lanes.claim(connection, destination, "me", NOW, 60.0, 10)
        done = lanes.settle(connection, [Settlement(claimed, "delivered", code="200")], NOW)
        assert done == {claimed.delivery.delivery_id}
        return str(claimed.delivery.delivery_id)

    return database.write_now(work_)


def test_the_tables_are_those_of_this_release(upgraded: Database) -> None:
    with upgraded.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert schema_of(connection) == revisions()[-1]


def test_what_was_queued_goes_out_and_what_waited_for_it_follows(upgraded: Database) -> None:
    upgraded.write_now(lambda c: lanes.free_all(c, NOW))
    assert (states(upgraded)["his"], states(upgraded)["pacs"]) == ("queued", "waiting")

    assert deliver(upgraded, "his").startswith("00000001")
    assert deliver(upgraded, "pacs").startswith("00000002")

    assert states(upgraded)["pacs"] == "delivered"
    assert (states(upgraded)["hook"], states(upgraded)["fhir"]) == ("dead", "delivered")


def test_a_dead_letter_can_be_sent_again(upgraded: Database) -> None:
    upgraded.write_now(lambda c: lanes.requeue(c, [3], NOW))
    assert deliver(upgraded, "hook").startswith("00000003")


def test_new_deliveries_are_counted_on_and_older_versions_give_way(upgraded: Database) -> None:
    def enqueue(connection: Connection) -> None:
        lanes.free_all(connection, NOW)
        lanes.enqueue(
            connection, NOW, delivery_id="new", destination="his", order_key="k", lineage="1/dti-qc/mr",
            study_id=1, study_revision=1, result_id=RESULT, status="corrected", transform=[], after=[],
        )  # fmt: skip

    _catch_up(upgraded)
    upgraded.write_now(enqueue)
    [old, new] = upgraded.read_now(
        lambda c: c.execute(
            select(deliveries).where(deliveries.c.destination == "his").order_by(deliveries.c.seq)
        ).all()
    )
    assert (old.state, new.state, new.delivery_id) == ("superseded", "queued", "new")


def test_jobs_studies_and_holds_go_on(upgraded: Database) -> None:
    def go_on(connection: Connection) -> tuple[Any, int | None]:
        work.free_jobs(connection, NOW)
        job = work.claim_job(connection, "me", NOW, 60.0)
        assert job is not None
        assert work.finish_job(connection, job, "done", NOW)
        closed = studies.close_revision(connection, 2, NOW, "quiet", on_late="rerun", last_at=NOW)
        return job, closed

    _catch_up(upgraded)
    job, closed = upgraded.write_now(go_on)
    assert (job.job_id, closed) == ("job-2", 1)
    [held] = upgraded.read_now(lambda c: look.holds_of(c, 3))
    assert held.reason == "no route matched"


def test_every_study_has_an_order_in_the_state_that_follows(upgraded: Database) -> None:
    assert upgraded.write_now(lambda c: order_states.reconcile(c, NOW)) == 0
    rows = upgraded.read_now(
        lambda c: c.execute(
            select(orders).where(orders.c.study_id.is_not(None)).order_by(orders.c.study_id)
        ).all()
    )
    assert [(row.study_id, row.submitter, row.state) for row in rows] == [
        (1, "pacs", "processing"), (2, "pacs", "receiving"), (3, "pacs", "held"),
    ]  # fmt: skip
    assert len({row.order_id for row in rows}) == 3


def test_a_result_finds_its_picture_and_a_study_tells_its_story(upgraded: Database, tmp_path: Path) -> None:
    picture = tmp_path / "elsewhere" / "artefacts" / RESULT / "montage.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    document = upgraded.read_now(lambda c: c.execute(select(results.c.document)).scalar_one())
    found = stored_result(document, tmp_path / "elsewhere")
    assert found.report.artefacts[0].read() == b"picture"
    assert (str(found.report.findings[0].value), found.patient.name.ideographic) == ("23.50", "山田^太郎")

    [study] = upgraded.read_now(lambda c: look.list_studies(c, site=None, uid=STUDY, limit=9))
    events = upgraded.read_now(lambda c: [event.what for event in tell(c, study)])
    assert {"received", "attempt"} <= set(events)


def test_the_audit_trail_still_holds_and_goes_on(upgraded: Database) -> None:
    def append(connection: Connection) -> None:
        append_event(connection, NOW, actor="a", action="b", subject="c", detail={})

    _catch_up(upgraded)
    upgraded.write_now(append)
    assert upgraded.read_now(verify) is None


def test_a_commitment_that_was_asked_for_before_is_applied_after(bare: Database, tmp_path: Path) -> None:
    lay(bare, "0002", tmp_path / "data")
    migrate(bare.engine)
    report = CommitmentReport("1.2.826.0.1.3680043.8.498.77", (), ())
    assert bare.write_now(lambda c: commitments.apply(c, "st-marys", report, NOW))
    assert states(bare)["archive"] == "delivered"


def test_a_database_of_a_newer_release_is_refused_and_left_alone(bare: Database) -> None:
    migrate(bare.engine)
    bare.write_now(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(PonsError, match=r"schema 9999, which this release .* does not know: run the release"):
        migrate(bare.engine)
    with bare.engine.connect() as connection:
        assert schema_of(connection) == "9999"


def test_several_that_start_at_once_migrate_once(
    bare: Database, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    lay(bare, "0001", tmp_path / "data")
    url = bare.engine.url.render_as_string(hide_password=False)
    program = (
        "import sys; from sqlalchemy import make_url; from engine.store.database import open_database;"
        "from engine.store.migrate import migrate; d = open_database(make_url(sys.argv[1]));"
        "migrate(d.engine); d.close()"
    )
    starting = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE) for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[1] for process in starting]
    assert [process.returncode for process in starting] == [0, 0, 0], said
    with bare.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert states(bare)["pacs"] == "waiting"


def _catch_up(database: Database) -> None:
    """PostgreSQL counts by sequences, which rows with numbers of their own leave behind."""
    if database.shared:
        columns = (("deliveries", "seq"), ("audit_events", "id"), ("holds", "id"))

        def count(connection: Connection) -> None:
            for table, column in columns:
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), 100)"))

        database.write_now(count)


def test_a_server_that_is_not_there_is_told_without_its_user(free_port: Callable[[], int]) -> None:
    database = PostgresDatabase(make_url(f"postgresql://quillfeather@127.0.0.1:{free_port()}/pons"))
    with pytest.raises(
        DatabaseUnavailable, match=r"engine\.database: the database cannot be reached"
    ) as told:
        migrate(database.engine)
    database.close()
    assert "quillfeather" not in str(told.value)
