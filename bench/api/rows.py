"""Orders by the million, for measuring what looks among them.

Enter: an empty, migrated database and a number. Leave: so many orders with their studies, one in ten in a
batch of a hundred, over forty sites and a year, in the states of a running house: nearly all are over. They
are written by the driver's own quickest way; nothing of it is what an engine does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text

from engine.store.database import Database

SITES = 40
YEAR = 365 * 86400.0
BEGAN = 1_750_000_000.0
SOME = 20_000  # rows in one statement
GROUP = 100  # orders of a batch
STATES = ("delivered",) * 960 + ("failed",) * 20 + ("cancelled",) * 10 + ("held",) * 5 + ("processing",) * 5

STUDIES = (
    "id", "site", "study_instance_uid", "state", "revision", "inbound", "calling_ae_title",
    "called_ae_title", "remote_address", "opened_at", "last_at", "duplicates",
)  # fmt: skip
BATCHES = ("batch_id", "site", "submitter_kind", "submitter", "name", "created_at")
ORDERS = (
    "order_id", "site", "submitter_kind", "submitter", "inbound", "batch_id", "study_id",
    "study_instance_uid", "accession_number", "patient_id", "patient_name", "study_description", "state",
    "overrides", "created_at", "updated_at",
)  # fmt: skip


def fill(database: Database, count: int) -> float:
    """Write ``count`` orders; how many seconds that took."""
    began = time.monotonic()
    for table, columns, rows in (
        ("studies", STUDIES, _studies(count)),
        ("batches", BATCHES, _batches(count)),
        ("orders", ORDERS, _orders(count)),
    ):
        for some in _pieces(rows):
            database.write_now(lambda c, t=table, k=columns, r=some: _insert(c, t, k, r))  # type: ignore[misc]
    if database.shared:  # what autovacuum does within a minute of such a day
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE orders"))
            connection.execute(text("ANALYZE"))
    return time.monotonic() - began


def order_id(number: int) -> str:
    """The id of the order with this number, from 0."""
    return f"{_mixed(number):08x}-0000-4000-8000-{number:012x}"


def study_uid(number: int) -> str:
    """Its Study Instance UID: every site's begin alike, as those of its scanners do."""
    return f"1.2.826.0.1.{number % SITES}.{_mixed(number):010d}.{number}"


def accession_number(number: int) -> str:
    """Its accession number: a year and a running number."""
    return f"{2025 + number % 2}{_mixed(number):010d}"


def patient_id(number: int) -> str:
    """Its patient, who has some five studies."""
    return f"P{_mixed(number // 5):09d}"


def site(number: int) -> str:
    """Its site."""
    return f"site-{number % SITES}"


def _mixed(number: int) -> int:
    return (number * 2_654_435_761) % (1 << 32)


def _batch_of(number: int) -> int | None:
    """One site in ten gives its orders in batches."""
    return number // (SITES * GROUP) if number % SITES < SITES // 10 else None


def _batch_id(number: int, batch: int) -> str:
    return f"{batch:08x}-0000-4000-9000-{number % SITES:012x}"


def _studies(count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        at = BEGAN + YEAR * number / count
        yield (
            number + 1, site(number), study_uid(number), "stable", 1, "pacs", "PACS", "PONS", "127.0.0.1",
            at, at + 60, 0,
        )  # fmt: skip


def _batches(count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        batch = _batch_of(number)
        if batch is not None and number == batch * SITES * GROUP + number % SITES:
            at = BEGAN + YEAR * number / count
            yield (_batch_id(number, batch), site(number), "client", "trial", f"trial week {batch}", at)


def _orders(count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        batch, at = _batch_of(number), BEGAN + YEAR * number / count
        kind, name = ("channel", "pacs") if batch is None else ("client", "trial")
        yield (
            order_id(number), site(number), kind, name, "pacs",
            None if batch is None else _batch_id(number, batch), number + 1, study_uid(number),
            accession_number(number), patient_id(number), f"Family{number % 5000}^Given{number % 700}",
            "MR Head", STATES[_mixed(number) % len(STATES)], "{}", at, at + 300,
        )  # fmt: skip


def _pieces(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    piece: list[tuple[Any, ...]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == SOME:
            yield piece
            piece = []
    if piece:
        yield piece


def _insert(connection: Connection, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    names = ", ".join(columns)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT 1"
        )  # begins the transaction, which the driver's COPY does not tell of
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    places = ", ".join("?" * len(columns))
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)
