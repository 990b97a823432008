"""A clock set back by an hour between two runs strands nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from engine.store import lanes, studies, work
from engine.store.clock_set_back import bring_back
from engine.store.database import Database
from engine.store.recording import record
from engine.store.tables import commitments, destinations, jobs
from engine.store.tables import deliveries as delivery_rows
from engine.store.tables import lanes as lane_rows
from engine.store.tables import studies as study_rows
from tests.engine.store.test_together import a_delivery, a_study, an_instance

THEN = 1_700_000_000.0
NOW = THEN - 3600


def one(database: Database, column: Any) -> Any:
    return database.read_now(lambda c: c.execute(select(column)).scalar_one())


def a_job(connection: Connection, study_id: int) -> None:
    work.queue_job(
        connection,
        job_id="j",
        study_id=study_id,
        revision=1,
        processor="p",
        lineage="l",
        outcomes=[],
        now=THEN,
    )


def test_a_study_that_was_arriving_becomes_stable(database: Database) -> None:
    study_id = a_study(database)
    new = an_instance(7, study="1.1")
    database.write_now(lambda c: record(c, new, THEN, keep_versions=True))
    assert database.write_now(lambda c: bring_back(c, NOW, 60)) == 3600
    quiet = database.read_now(lambda c: studies.quiet_studies(c, NOW, NOW - 9999))
    assert [row.id for row in quiet] == [study_id]
    assert one(database, study_rows.c.last_at) == NOW


def test_a_delivery_that_was_to_be_tried_again_is_in_the_time_that_was_left(database: Database) -> None:
    study_id = a_study(database)
    database.write_now(lambda c: a_delivery(c, study_id, "a", THEN))
    (claimed,) = database.write_now(lambda c: lanes.claim(c, "ris", "n", THEN, 60.0, 1))
    again = lanes.Settlement(claimed, "again", next_at=THEN + 300)
    database.write_now(lambda c: lanes.settle(c, [again], THEN))
    database.write_now(lambda c: bring_back(c, NOW, 60))
    assert one(database, lane_rows.c.due_at) == NOW + 300
    assert one(database, delivery_rows.c.age_from) == NOW, "and its age counts from now"
    database.write_now(lambda c: bring_back(c, NOW, 60))
    assert one(database, lane_rows.c.due_at) == NOW, "at worst it comes early"


def test_what_is_claimed_stays_claimed_for_a_lease(database: Database) -> None:
    study_id = a_study(database)
    database.write_now(lambda c: a_delivery(c, study_id, "a", THEN))
    database.write_now(lambda c: lanes.claim(c, "ris", "n", THEN, 60.0, 1))
    for _ in range(2):
        database.write_now(lambda c: bring_back(c, NOW, 60))
        assert one(database, lane_rows.c.due_at) == NOW + 60


def test_a_job_is_due_again_whether_it_waited_or_ran(database: Database) -> None:
    study_id = a_study(database)
    database.write_now(lambda c: a_job(c, study_id))
    database.write_now(lambda c: bring_back(c, NOW, 60))
    assert one(database, jobs.c.due_at) == one(database, jobs.c.queued_at) == NOW
    job = database.write_now(lambda c: work.claim_job(c, "n", NOW, 60.0))
    assert job is not None
    # Queued long before, so only how far away its next run is tells that the clock was set back.
    database.write_now(lambda c: work.finish_job(c, job, "queued", THEN, due_at=THEN + 600))
    database.write_now(lambda c: bring_back(c, NOW, 60))
    assert one(database, jobs.c.due_at) == NOW


def test_a_circuit_and_a_commitment_come_back_too(database: Database) -> None:
    study_id = a_study(database)

    def rows(connection: Connection) -> None:
        a_delivery(connection, study_id, "a", THEN)
        connection.execute(
            insert(destinations).values(
                destination="ris", breaker="open", opened_at=THEN, probe_at=THEN + 30, next_slot_at=THEN + 1
            )
        )
        connection.execute(
            insert(commitments).values(
                transaction_uid="1.2",
                delivery_id="a",
                attempt=1,
                requested_at=THEN,
                expires_at=THEN + 900,
                state="requested",
            )
        )

    database.write_now(rows)
    database.write_now(lambda c: bring_back(c, NOW, 60))
    assert one(database, destinations.c.probe_at) == NOW + 30
    assert one(database, destinations.c.next_slot_at) == NOW + 1
    assert one(database, commitments.c.expires_at) == NOW + 900


def test_a_clock_that_went_on_changes_nothing(database: Database) -> None:
    study_id = a_study(database)
    database.write_now(lambda c: a_delivery(c, study_id, "a", THEN))
    database.write_now(lambda c: c.execute(update(lane_rows).values(due_at=THEN + 5)))
    assert database.write_now(lambda c: bring_back(c, THEN + 1, 60)) == 0
    assert one(database, lane_rows.c.due_at) == THEN + 5
