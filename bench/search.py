"""How long the list of orders takes to be searched among a million, on both databases.

    python -m bench.search [--short] [--runs N]

Enter: the orders of `bench.api.rows`. Leave: for each question the median and the worst of its runs in
milliseconds, asked of the store as the portal does: whole names and beginnings, that few orders have and
that half of them have, alone and with filters, for who sees every site and for who sees three; the list of
orders and batches without a question; what changed in the last hour. The first run of each, with a cold
cache of the connection's own, counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, make_url

from bench.api import rows
from bench.intake.__main__ import free_port
from engine.model import OrderQuery, OrderState, Submitter
from engine.store import order_entries, orders
from engine.store.database import Database, PostgresDatabase, SqliteDatabase
from engine.store.migrate import migrate
from tests.peers.postgres import Cluster

OUT = Path(__file__).parent / "out" / "search.json"
MANY, SHORT = 1_000_000, 100_000
SITES = ("site-1", "site-7", "site-9")
Ask = Callable[[Connection], object]


def questions(count: int) -> Mapping[str, Ask]:
    """By name, among so many orders."""
    number = count * 3 // 7
    accession, patient, uid = (
        name(number) for name in (rows.accession_number, rows.patient_id, rows.study_uid)
    )
    held = (OrderState.HELD,)
    middle = datetime.fromtimestamp(rows.BEGAN + rows.YEAR / 2, UTC)
    asked: dict[str, OrderQuery] = {
        "first page": OrderQuery(),
        "first page, three sites": OrderQuery(sites=SITES),
        "accession number": OrderQuery(search=accession),
        "patient id": OrderQuery(search=patient),
        "study uid": OrderQuery(search=uid),
        "no such name": OrderQuery(search="no such name"),
        "accession number begins": OrderQuery(search=f"{accession[:8]}*"),
        "study uid begins": OrderQuery(search=f"{uid[:-3]}*"),
        "half begin so": OrderQuery(search="2025*"),
        "half begin so, held": OrderQuery(search="2025*", states=held),
        "half begin so, none of the sites": OrderQuery(search="2025*", sites=SITES),
        "half begin so, before the middle": OrderQuery(search="2025*", until=middle),
        "held": OrderQuery(states=held),
        "held or failed, three sites": OrderQuery(states=(*held, OrderState.FAILED), sites=SITES),
        "submitter, held": OrderQuery(submitter=Submitter(kind="client", name="trial"), states=held),
    }
    found: dict[str, Ask] = {name: _paged(query) for name, query in asked.items()}
    alone = OrderQuery(alone=True)
    found["orders and batches"] = lambda c: order_entries.page(c, alone, None)
    found["changes of an hour"] = lambda c: orders.changed_since(c, rows.BEGAN + rows.YEAR - 3600, 1000)
    return found


def _paged(query: OrderQuery) -> Ask:
    return lambda c: orders.page(c, query)


def measured(database: Database, subject: str, count: int, runs: int) -> list[dict[str, Any]]:
    """Rows of every question."""
    found: list[dict[str, Any]] = []
    for work, ask in questions(count).items():
        took = []
        for _ in range(runs):
            began = time.perf_counter()
            database.read_now(ask)
            took.append((time.perf_counter() - began) * 1000)
        for metric, value in (("p50 ms", statistics.median(took)), ("worst ms", max(took))):
            found.append(
                {"work": work, "subject": subject, "metric": metric, "value": round(value, 2), "runs": runs}
            )
    return found


def filled(database: Database, count: int) -> Database:
    """With so many orders in its tables."""
    migrate(database.engine)
    rows.fill(database, count)
    return database


def shown(found: list[dict[str, Any]]) -> Table:
    """A line a question."""
    table = Table(title="Searching orders")
    columns = list(dict.fromkeys((row["subject"], row["metric"]) for row in found))
    table.add_column("question", no_wrap=True)
    for subject, metric in columns:
        table.add_column(f"{subject} {metric}", justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in found}
    for work in dict.fromkeys(row["work"] for row in found):
        table.add_row(work, *(f"{values[work, *column]:,.1f}" for column in columns))
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Searching orders on SQLite and PostgreSQL.")
    parser.add_argument("--short", action="store_true", help="100,000 orders")
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="times that each question is asked")
    given = parser.parse_args()
    count, found = SHORT if given.short else MANY, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        sqlite = filled(SqliteDatabase(Path(folder) / "data" / "pons.sqlite"), count)
        found += measured(sqlite, "sqlite", count, given.runs)
        sqlite.close()
        cluster = Cluster(Path(folder) / "cluster", free_port())
        try:
            postgres = filled(PostgresDatabase(make_url(cluster.database())), count)
            found += measured(postgres, "postgresql", count, given.runs)
            postgres.close()
        finally:
            cluster.stop()
    Console().print(shown(found))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
