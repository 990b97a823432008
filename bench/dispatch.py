"""How many deliveries a second are claimed and settled, by 1, 2 and 4 workers, on both databases.

    python -m bench.dispatch [--short] [--runs N]

Enter: lanes that are due with one delivery each, and a backlog on the same destination: deliveries
behind lanes whose first one waits for its next attempt. Leave: rows of deliveries a second, with the
backlog (`pg-1`) and without (`pg-1-alone`), and of deliveries that were not settled exactly once.

Beside it, on the same PostgreSQL in the same call, procrastinate: the same numbers of jobs that do
nothing, each under a lock of its own, behind as many locks whose first job is scheduled for later; run
by its own worker at the concurrency that suits it best here. Both commit durably (`fsync=on`), both
write down start and end of each. Pons claims and settles by sets, which is what its tables are made
for; what it does one at a time is shown too (`pg-1-by-one`).

A worker is a process; on SQLite, which has one writer, a task in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import queue
import socket
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import procrastinate
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, func, insert, make_url, select

from engine.store import lanes
from engine.store.database import Database, open_database
from engine.store.migrate import migrate
from engine.store.tables import attempts, deliveries, studies
from engine.store.tables import lanes as lane_rows
from tests.engine.store.rows import study_row
from tests.peers.postgres import Cluster

OUT = Path(__file__).parent / "out" / "dispatch.json"
DURABLE = (
    "fsync=on",
    "synchronous_commit=on",
    "max_connections=200",
    "unix_socket_directories=''",
    "log_min_messages=error",
)
BATCH = 128  # lanes claimed at once
DEEP = 100  # deliveries behind one blocked lane
NOW = 1_800_000_000.0
HOUR = 3600.0
CONCURRENCIES = (1, 10, 30)  # of procrastinate's worker: the best is taken
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do."""

    due: int  # lanes with one delivery each
    behind: int  # deliveries behind blocked lanes
    theirs: int  # jobs that procrastinate is given to do
    patience: float  # seconds that procrastinate is watched at most
    runs: int
    workers: tuple[int, ...] = (1, 2, 4)


FULL = Load(due=20_000, behind=100_000, theirs=2_000, patience=15.0, runs=1)
SHORT = Load(due=2_000, behind=10_000, theirs=300, patience=10.0, runs=1)


# ── Pons ────────────────────────────────────────────────────────────────────────────────────────


def filled(database: Database, due: int, behind: int) -> None:
    """The lanes and deliveries of one run, in an empty database."""

    def rows(connection: Connection) -> None:
        connection.execute(insert(studies).values(study_row()))
        blocked = [f"blocked-{number}" for number in range(behind // DEEP)]
        ready = [f"due-{number}" for number in range(due)]
        connection.execute(
            insert(lane_rows),
            [
                {"destination": "ris", "order_key": key, "pending": 1, "due_at": at, "fence": 0}
                for keys, at in ((blocked, NOW + HOUR), (ready, NOW - HOUR))
                for key in keys
            ],
        )
        queued = [key for key in blocked for _ in range(DEEP)] + ready
        connection.execute(
            insert(deliveries),
            [
                {
                    "delivery_id": f"{number:036d}",
                    "destination": "ris",
                    "order_key": key,
                    "lineage": str(number),
                    "study_id": 1,
                    "study_revision": 1,
                    "status": "study",
                    "transform": [],
                    "after": [],
                    "state": "queued",
                    "created_at": 0,
                    "age_from": 0,
                }
                for number, key in enumerate(queued)
            ],
        )

    database.write_now(rows)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def worked(database: Database, owner: str, batch: int) -> int:
    """Claim and settle until nothing is due; how many that were."""
    done = 0
    while True:
        claims = database.write_now(
            partial(lanes.claim, destination="ris", owner=owner, now=NOW, lease=60.0, limit=batch)
        )
        if not claims:
            return done
        answers = [lanes.Settlement(one, "delivered", code="AA") for one in claims]
        done += len(database.write_now(partial(lanes.settle, settlements=answers, now=NOW)))


def pons_process(
    url: str, owner: str, batch: int, start: Barrier, said: Queue[tuple[float, float, int]]
) -> None:
    """One worker on PostgreSQL."""
    database = open_database(make_url(url))
    database.read_now(lambda c: c.execute(select(func.count()).select_from(studies)).scalar_one())
    start.wait(60)
    began = time.monotonic()
    done = worked(database, owner, batch)
    said.put((began, time.monotonic(), done))
    database.close()


def pons_tasks(url: str, owner: str, batch: int, workers: int) -> tuple[float, int]:
    """The workers on SQLite: tasks that share the one writer. Seconds, and how many were settled."""
    database = open_database(make_url(url))

    async def work(number: int) -> int:
        done = 0
        while True:
            claims = await database.write(
                partial(
                    lanes.claim,
                    destination="ris",
                    owner=f"{owner}-{number}",
                    now=NOW,
                    lease=60.0,
                    limit=batch,
                )
            )
            if not claims:
                return done
            answers = [lanes.Settlement(one, "delivered", code="AA") for one in claims]
            done += len(await database.write(partial(lanes.settle, settlements=answers, now=NOW)))

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(work(number) for number in range(workers))))

    began = time.monotonic()
    done = asyncio.run(all_of_them())
    taken = time.monotonic() - began
    database.close()
    return taken, done


def pons(url: str, load: Load, workers: int, *, behind: int, batch: int) -> tuple[float, int]:
    """Deliveries a second, and how many were not settled exactly once."""
    due = load.due if batch > 1 else max(200, load.due // 10)
    database = open_database(make_url(url))
    migrate(database.engine)
    filled(database, due, behind)
    if not url.startswith("sqlite"):
        taken, done = in_processes(
            [partial(pons_process, url, f"n{number}", batch) for number in range(workers)]
        )
    else:
        taken, done = pons_tasks(url, "n", batch, workers)
    wrong = database.read_now(partial(astray, due=due)) + abs(done - due)
    database.close()
    return due / taken, wrong


def astray(connection: Connection, due: int) -> int:
    """Deliveries that were due and not delivered by exactly one attempt, or not due and touched."""
    tries = Counter(connection.execute(select(attempts.c.delivery_id)).scalars())
    delivered = set(
        connection.execute(
            select(deliveries.c.delivery_id).where(deliveries.c.state == "delivered")
        ).scalars()
    )
    wanted = set(
        connection.execute(
            select(deliveries.c.delivery_id).where(deliveries.c.order_key.like("due-%"))
        ).scalars()
    )
    assert len(wanted) == due
    return len(wanted ^ delivered) + sum(number != 1 or name not in wanted for name, number in tries.items())


# ── procrastinate ───────────────────────────────────────────────────────────────────────────────


def app_on(url: str) -> procrastinate.App:
    """Their application, with a task that does nothing."""
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=40))

    @app.task(name="nothing")
    async def nothing() -> None:
        return None

    return app


def theirs_filled(url: str, due: int, behind: int) -> None:
    """Their schema and the jobs of one run."""
    app = app_on(url).with_connector(procrastinate.SyncPsycopgConnector(conninfo=url))
    with app.open():
        app.schema_manager.apply_schema()
    with psycopg.connect(url, autocommit=True) as connection:
        add = (
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, scheduled_at) "
            "SELECT 'default', 'nothing', "
        )
        first = "CASE WHEN number %% %(deep)s = 0 THEN now() + interval '1 hour' END"
        connection.execute(
            f"{add} 'blocked-' || number / %(deep)s, {first} FROM generate_series(0, %(n)s - 1) number",
            {"deep": DEEP, "n": behind},
        )
        connection.execute(f"{add} 'due-' || number, NULL FROM generate_series(1, %(n)s) number", {"n": due})
        connection.execute("VACUUM ANALYZE")


def their_process(
    url: str, concurrency: int, patience: float, start: Barrier, said: Queue[tuple[float, float, int]]
) -> None:
    """One worker of theirs; it ends when nothing is due, or is stopped after a while."""

    async def work() -> tuple[float, float]:
        app = app_on(url)
        async with app.open_async():
            start.wait(60)
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await app.run_worker_async(
                        wait=False,
                        concurrency=concurrency,
                        install_signal_handlers=False,
                        listen_notify=False,
                    )
            return began, time.monotonic()

    began, ended = asyncio.run(work())
    said.put((began, ended, 0))


def theirs(url: str, load: Load, workers: int, *, behind: int, concurrency: int) -> float:
    """Jobs a second of procrastinate."""
    theirs_filled(url, load.theirs, behind)
    taken, _ = in_processes([partial(their_process, url, concurrency, load.patience)] * workers)
    with psycopg.connect(url) as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        row = connection.execute(query).fetchone()
    assert row is not None
    return float(row[0]) / taken


# ── both ────────────────────────────────────────────────────────────────────────────────────────


def in_processes(
    works: list[Callable[[Barrier, Queue[tuple[float, float, int]]], None]],
) -> tuple[float, int]:
    """Run one process for each, begun together; seconds from the first start to the last end, and the sum."""
    start, said = SPAWN.Barrier(len(works)), SPAWN.Queue()
    processes = [SPAWN.Process(target=work, args=(start, said), daemon=True) for work in works]
    for process in processes:
        process.start()
    answers: list[tuple[float, float, int]] = []
    while len(answers) < len(processes):
        try:
            answers.append(said.get(timeout=1))
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise RuntimeError("a worker failed; what it said is above") from None
    for process in processes:
        process.join(60)
    return max(end for _, end, _ in answers) - min(begun for begun, _, _ in answers), sum(
        done for _, _, done in answers
    )


@contextlib.contextmanager
def durable_postgres(folder: Path) -> Iterator[Cluster]:
    """A PostgreSQL of our own that syncs every commit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(folder, port, DURABLE)
    try:
        yield cluster
    finally:
        cluster.stop("fast")


def measure(load: Load, folder: Path) -> list[dict[str, Any]]:
    """Rows for each database, number of workers and backlog; in each run every subject takes its turn."""
    rates: dict[tuple[str, str], list[float]] = {}
    wrong = 0
    with durable_postgres(folder / "postgres") as cluster:

        def on_postgres(work: Callable[[str], Any]) -> Any:
            url = cluster.database()
            try:
                return work(url)
            finally:
                cluster.drop(url)

        trials = {
            one: on_postgres(partial(theirs, load=load, workers=1, behind=0, concurrency=one))
            for one in CONCURRENCIES
        }
        best = max(trials, key=lambda one: float(trials[one]))
        for number in range(load.runs):
            for workers in load.workers:
                for suffix, behind, batch in (
                    ("", load.behind, BATCH),
                    ("-alone", 0, BATCH),
                    ("-by-one", load.behind, 1),
                ):
                    ours = partial(pons, load=load, workers=workers, behind=behind, batch=batch)
                    rate, astray_ = on_postgres(ours)
                    rates.setdefault((f"pg-{workers}{suffix}", "pons"), []).append(rate)
                    wrong += astray_
                    file = folder / f"{number}-{workers}{suffix}.sqlite"
                    rate, astray_ = ours(f"sqlite:///{file}")
                    rates.setdefault((f"sqlite-{workers}{suffix}", "pons"), []).append(rate)
                    wrong += astray_
                    if batch > 1:
                        rate = on_postgres(
                            partial(theirs, load=load, workers=workers, behind=behind, concurrency=best)
                        )
                        rates.setdefault((f"pg-{workers}{suffix}", "procrastinate"), []).append(rate)
    rows: list[dict[str, Any]] = [
        {
            "work": work,
            "subject": subject,
            "metric": "deliveries/s",
            "value": round(statistics.median(found), 1),
            "runs": load.runs,
        }
        for (work, subject), found in rates.items()
    ]
    rows += [
        {"work": "all", "subject": "pons", "metric": "astray", "value": wrong, "runs": load.runs},
        {"work": "all", "subject": "procrastinate", "metric": "concurrency", "value": best, "runs": 1},
    ]
    return rows


def shown(rows: list[dict[str, Any]]) -> Table:
    """One table, a line for each work."""
    table = Table("work", title="Deliveries claimed and settled a second, medians")
    for heading in ("pons", "procrastinate", "ratio"):
        table.add_column(heading, justify="right")
    rates = {(row["work"], row["subject"]): row["value"] for row in rows if row["metric"] == "deliveries/s"}
    for work in dict.fromkeys(work for work, _ in rates):
        ours, their = rates[work, "pons"], rates.get((work, "procrastinate"))
        ratio = (
            "" if their is None else f"{ours / their:.0f}" if their else "∞"
        )  # it ended no job in its time
        table.add_row(work, f"{ours:,.0f}", f"{their:,.1f}" if their is not None else "", ratio)
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Deliveries claimed and settled a second.")
    parser.add_argument("--short", action="store_true", help="a tenth of the load, one run")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="runs, of which the median is shown")
    asked = parser.parse_args()
    load = replace(SHORT if asked.short else FULL, runs=asked.runs)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(load, Path(folder))
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
