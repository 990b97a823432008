"""Several writers at once, as several engines on one database are: nothing twice, nothing missed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, make_url, select, text

from engine import audit
from engine.store import lanes, studies, work
from engine.store.database import Database, PostgresDatabase, open_database
from engine.store.recording import NewInstance, record
from engine.store.tables import attempts as attempt_rows
from engine.store.tables import audit_events, decisions, instances, jobs, revisions
from engine.store.tables import deliveries as delivery_rows
from engine.store.tables import studies as study_rows
from tests.peers.postgres import Cluster

WRITERS = 6


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each returns, all begun at the same moment."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        barrier.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


def an_instance(number: int, *, study: str = "1.2", content: str = "a") -> NewInstance:
    return NewInstance(
        site="s",
        inbound="pacs",
        calling_ae_title="A",
        called_ae_title="B",
        remote_address="127.0.0.1",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_class_uid="1.2.840",
        sop_instance_uid=f"9.{number}",
        transfer_syntax_uid="1.2",
        sha256=content * 64,
        size=1,
        path=f"{study}/{number}-{content}",
        attributes={},
    )


def a_study(database: Database, number: int = 1) -> int:
    new = an_instance(number, study=f"1.{number}")
    return database.write_now(lambda c: record(c, new, 1.0, keep_versions=True)).study_id


def a_delivery(connection: Connection, study_id: int, name: str, now: float = 0.0, **values: Any) -> None:
    lanes.enqueue(
        connection,
        now,
        **{
            "delivery_id": name,
            "destination": "ris",
            "order_key": f"s/{study_id}",
            "lineage": name,
            "study_id": study_id,
            "study_revision": 1,
            "result_id": None,
            "status": "study",
            "transform": [],
            "after": [],
            **values,
        },
    )


def count(database: Database, table: Any) -> int:
    return database.read_now(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


# ── intake ──────────────────────────────────────────────────────────────────────────────────────


def test_the_first_instances_of_a_study_come_at_once_and_it_is_one_study(database: Database) -> None:
    news = [an_instance(number) for number in range(WRITERS)]
    outcomes = at_once(
        *(
            lambda new=new: database.write_now(lambda c: record(c, new, 1.0, keep_versions=True))
            for new in news
        )
    )
    assert [one.outcome for one in outcomes] == ["new"] * WRITERS
    assert (count(database, study_rows), count(database, instances)) == (1, WRITERS)


def test_the_same_instance_comes_at_once_and_is_new_to_one_only(database: Database) -> None:
    new = an_instance(1)
    outcomes = at_once(
        *[lambda: database.write_now(lambda c: record(c, new, 1.0, keep_versions=True))] * WRITERS
    )
    assert sorted(one.outcome for one in outcomes) == ["duplicate"] * (WRITERS - 1) + ["new"]
    assert count(database, instances) == 1


def test_of_two_contents_under_one_uid_at_once_only_one_is_kept_where_versions_are_not(
    database: Database,
) -> None:
    news = [an_instance(1, study=f"1.{number}", content="abcdef"[number]) for number in range(WRITERS)]
    outcomes = at_once(
        *(
            lambda new=new: database.write_now(lambda c: record(c, new, 1.0, keep_versions=False))
            for new in news
        )
    )
    assert sorted(one.outcome for one in outcomes) == ["conflict"] * (WRITERS - 1) + ["new"]


# ── closing, deciding, processing ───────────────────────────────────────────────────────────────


def test_a_revision_is_closed_once(database: Database) -> None:
    study_id = a_study(database)
    closed = at_once(
        *[
            lambda: database.write_now(
                lambda c: studies.close_revision(c, study_id, 9.0, "quiet", on_late="rerun", last_at=1.0)
            )
        ]
        * WRITERS
    )
    assert sorted(closed, key=str) == [1] + [None] * (WRITERS - 1)
    assert count(database, revisions) == 1


def test_a_revision_is_decided_once_and_after_the_one_before(database: Database) -> None:
    study_id = a_study(database)

    def close(connection: Connection) -> None:
        for number in (1, 2):
            connection.execute(
                insert(revisions).values(
                    study_id=study_id, revision=number, state="closed", closed_at=1, why="", instances=1
                )
            )

    database.write_now(close)

    def decide(revision: int) -> bool:
        def record(connection: Connection) -> bool:
            if not studies.awaits_decision(connection, study_id, revision):
                return False
            work.record_decision(connection, study_id, revision, "t", {}, 1.0)
            studies.set_revision_state(connection, study_id, revision, "decided")
            return True

        return database.write_now(record)

    assert not decide(2), "what the first revision causes comes first"
    assert sorted(at_once(*[lambda: decide(1)] * WRITERS)) == [False] * (WRITERS - 1) + [True]
    assert sorted(at_once(*[lambda: decide(2)] * WRITERS)) == [False] * (WRITERS - 1) + [True]
    assert count(database, decisions) == 2


def test_a_job_is_claimed_by_one_at_a_time(database: Database) -> None:
    study_id = a_study(database)
    names = {f"job-{number}" for number in range(40)}

    def queue(connection: Connection) -> None:
        for name in sorted(names):
            work.queue_job(
                connection,
                job_id=name,
                study_id=study_id,
                revision=1,
                processor="p",
                lineage=name,
                outcomes=[],
                now=0.0,
            )

    database.write_now(queue)

    def drain(owner: str) -> list[str]:
        mine = []
        while True:
            job = database.write_now(lambda c: work.claim_job(c, owner, 1.0, 60.0))
            if job is None:
                return mine
            mine.append(job.job_id)
            assert database.write_now(partial(work.finish_job, job=job, state="done", now=1.0))

    taken = at_once(*(lambda n=n: drain(f"n{n}") for n in range(WRITERS)))
    # One may find nothing while another holds the last: it looks again in a while.
    assert sorted(name for some in taken for name in some) == sorted(names)
    assert database.read_now(lambda c: set(c.execute(select(jobs.c.state)).scalars())) == {"done"}


def test_the_audit_trail_stays_one_chain(database: Database) -> None:
    def append(number: int) -> None:
        for _ in range(10):
            database.write_now(
                lambda c: audit.append_event(
                    c, 1.0, actor=f"a{number}", action="x", subject="s", detail={"n": number}
                )
            )

    at_once(*(lambda n=n: append(n) for n in range(WRITERS)))
    assert count(database, audit_events) == 10 * WRITERS
    assert database.read_now(audit.verify) is None


# ── lanes ───────────────────────────────────────────────────────────────────────────────────────


def test_lanes_keep_their_order_whoever_delivers(database: Database) -> None:
    lanes_, deep = 25, 4
    ids = [a_study(database, number) for number in range(1, lanes_ + 1)]

    def fill(connection: Connection) -> None:
        for number in range(deep):
            for study_id in ids:
                a_delivery(connection, study_id, f"{study_id}/{number}")

    database.write_now(fill)
    order: dict[str, list[str]] = {}

    def deliver(owner: str) -> None:
        while len(done) < lanes_ * deep:
            claims = database.write_now(lambda c: lanes.claim(c, "ris", owner, 1.0, 60.0, 4))
            for one in claims:
                order.setdefault(one.delivery.order_key, []).append(one.delivery.delivery_id)
            answers = [lanes.Settlement(one, "delivered") for one in claims]
            settled = database.write_now(partial(lanes.settle, settlements=answers, now=1.0))
            assert len(settled) == len(claims)
            done.extend(settled)

    done: list[str] = []
    at_once(*(lambda n=n: deliver(f"n{n}") for n in range(WRITERS)))
    assert order == {f"s/{i}": [f"{i}/{number}" for number in range(deep)] for i in ids}
    assert len(done) == len(set(done)) == lanes_ * deep
    assert count(database, attempt_rows) == lanes_ * deep


def state_of(database: Database, name: str) -> str:
    return database.read_now(
        lambda c: c.execute(
            select(delivery_rows.c.state).where(delivery_rows.c.delivery_id == name)
        ).scalar_one()
    )


def blocked_until(connection: Connection, meanwhile: Future[Any], database: Database) -> None:
    """Wait until somebody waits for a lock, then let them through by committing."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while not meanwhile.done():
        if database.read_now(lambda c: c.execute(waiting).scalar_one()):
            break
    assert not meanwhile.done(), "nothing kept the second from going on beside the first"
    connection.commit()


def test_of_two_acknowledged_at_once_the_later_wakes_what_waits_for_both(
    postgres_database: PostgresDatabase,
) -> None:
    database = postgres_database
    study_id = a_study(database)

    def fill(connection: Connection) -> None:
        a_delivery(connection, study_id, "oru", after=["pacs", "archive"])
        a_delivery(connection, study_id, "one", destination="pacs")
        a_delivery(connection, study_id, "two", destination="archive")

    database.write_now(fill)
    (one,) = database.write_now(lambda c: lanes.claim(c, "pacs", "n1", 1.0, 60.0, 1))
    (two,) = database.write_now(lambda c: lanes.claim(c, "archive", "n2", 1.0, 60.0, 1))
    with database.engine.connect() as first, ThreadPoolExecutor(1) as thread:
        lanes.settle(first, [lanes.Settlement(one, "delivered")], 2.0)
        second = thread.submit(
            database.write_now, lambda c: lanes.settle(c, [lanes.Settlement(two, "delivered")], 2.0)
        )
        blocked_until(first, second, database)
        assert second.result(30) == {"two"}
    assert state_of(database, "oru") == "queued"


def test_what_is_queued_while_its_condition_comes_true_does_not_wait_for_ever(
    postgres_database: PostgresDatabase,
) -> None:
    database = postgres_database
    study_id = a_study(database)
    database.write_now(lambda c: a_delivery(c, study_id, "sr", destination="pacs"))
    (sr,) = database.write_now(lambda c: lanes.claim(c, "pacs", "n1", 1.0, 60.0, 1))
    with database.engine.connect() as first, ThreadPoolExecutor(1) as thread:
        a_delivery(first, study_id, "oru", after=["pacs"])  # not acknowledged: it will wait
        second = thread.submit(
            database.write_now, lambda c: lanes.settle(c, [lanes.Settlement(sr, "delivered")], 2.0)
        )
        blocked_until(first, second, database)
        assert second.result(30) == {"sr"}
    assert state_of(database, "oru") == "queued"


# ── the database itself ─────────────────────────────────────────────────────────────────────────


def test_work_that_meets_a_deadlock_is_done_all_the_same(postgres_database: PostgresDatabase) -> None:
    database = postgres_database
    ids = [a_study(database, number) for number in (1, 2)]
    met = threading.Barrier(2)
    runs: list[int] = []

    def both(order: list[int]) -> None:
        def work_(connection: Connection) -> None:
            runs.append(order[0])
            studies.lock(connection, order[0])
            if runs.count(order[0]) == 1:
                met.wait(30)
            studies.lock(connection, order[1])

        database.write_now(work_)

    at_once(lambda: both(ids), lambda: both(ids[::-1]))
    assert len(runs) == 3, "one of the two was run again"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_engines_that_start_at_once_migrate_once(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'pons.sqlite'}"
    if kind == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.database()
    program = (
        "import sys; from sqlalchemy import make_url; from engine.store.database import open_database;"
        "from engine.store.migrate import migrate; migrate(open_database(make_url(sys.argv[1])).engine)"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ends = [one.communicate(timeout=120)[1] for one in starts]
    assert [one.returncode for one in starts] == [0] * 4, ends
    database = open_database(make_url(url))
    try:
        versions = text("SELECT count(*) FROM alembic_version")
        assert database.read_now(lambda c: c.execute(versions).scalar_one()) == 1
        assert count(database, study_rows) == 0
    finally:
        database.close()
