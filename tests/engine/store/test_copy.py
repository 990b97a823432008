"""Rows go from one kind of database to the other and back, and are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, func, insert, select, text

from engine.audit import append_event, verify
from engine.errors import DatabaseUnavailable, PonsError
from engine.store.copy import copy_rows, is_empty, snapshot
from engine.store.database import Database, PostgresDatabase, SqliteDatabase
from engine.store.migrate import revisions
from engine.store.tables import audit_events, deliveries, metadata
from tests.engine.store.earlier import BEGAN, empty_tables, lay
from tests.peers.postgres import Cluster


@pytest.fixture
def full(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """A SQLite with something in every table."""
    opened = SqliteDatabase(tmp_path / "full" / "pons.sqlite")
    lay(opened, revisions()[-1], tmp_path / "data")
    assert empty_tables(opened) == []
    yield opened
    opened.close()


def ignore(_table: str, _count: int) -> None:
    return


def all_rows(database: Database) -> dict[str, list[Any]]:
    def read(connection: Connection) -> dict[str, list[Any]]:
        return {
            each.name: connection.execute(select(each).order_by(*each.primary_key)).all()
            for each in metadata.sorted_tables
        }

    return {name: [tuple(row) for row in rows] for name, rows in database.read_now(read).items()}


def copy(source: Database, target: Database) -> None:
    with source.engine.connect() as reading, target.engine.connect() as writing, writing.begin():
        copy_rows(reading, writing, ignore)


def test_sqlite_to_postgresql_to_sqlite_gives_the_same_rows(
    full: SqliteDatabase, postgres_database: PostgresDatabase, sqlite_database: SqliteDatabase
) -> None:
    before = all_rows(full)
    copy(full, postgres_database)
    assert all_rows(postgres_database) == before
    copy(postgres_database, sqlite_database)
    assert all_rows(sqlite_database) == before
    assert sqlite_database.read_now(verify) is None, "the audit trail must hold in its copy"


def test_no_value_stays_no_value(full: SqliteDatabase, postgres_database: PostgresDatabase) -> None:
    """A delivery whose payload became the JSON word null would count as rendered."""
    copy(full, postgres_database)
    without = select(func.count()).select_from(deliveries).where(deliveries.c.payload.is_(None))
    rendered = postgres_database.read_now(lambda c: c.execute(without).scalar_one())
    assert rendered == full.read_now(lambda c: c.execute(without).scalar_one()) == 4


def test_rows_added_afterwards_are_counted_on(
    full: SqliteDatabase, postgres_database: PostgresDatabase
) -> None:
    copy(full, postgres_database)

    def add(connection: Connection) -> int:
        append_event(connection, BEGAN, actor="a", action="b", subject="c", detail={})
        return int(connection.execute(select(func.max(audit_events.c.id))).scalar_one())

    assert postgres_database.write_now(add) == 2
    assert postgres_database.read_now(verify) is None


def test_a_snapshot_is_one_instant_whatever_is_written_meanwhile(database: Database, tmp_path: Path) -> None:
    """Two tables that must agree are changed between the reading of the first and of the second."""

    def both(connection: Connection) -> None:
        append_event(connection, BEGAN, actor="a", action="b", subject="c", detail={})
        connection.execute(
            text(
                "INSERT INTO lanes (destination, order_key, pending, due_at, fence)"
                " SELECT 'x', CAST(count(*) AS TEXT), 0, 0, 0 FROM audit_events"
            )
        )

    database.write_now(both)

    def disturb(_table: str, _count: int) -> None:
        database.write_now(both)

    snapshot(database, tmp_path / "copy.sqlite", disturb)

    copied = SqliteDatabase(tmp_path / "copy.sqlite")
    rows = all_rows(copied)
    copied.close()
    assert (len(rows["audit_events"]), len(rows["lanes"])) == (1, 1)
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_database_of_an_earlier_release_is_not_copied(tmp_path: Path) -> None:
    old = SqliteDatabase(tmp_path / "old.sqlite")
    lay(old, "0001", tmp_path)
    with pytest.raises(PonsError, match=r"has schema 0001 and this release \d+: back up with the release"):
        snapshot(old, tmp_path / "copy.sqlite", ignore)
    old.close()


def test_a_row_that_is_not_taken_is_named_by_its_table_alone(
    full: SqliteDatabase, postgres_database: PostgresDatabase
) -> None:
    """PostgreSQL takes no NUL in a text; SQLite does."""
    full.write_now(lambda c: c.execute(text("UPDATE holds SET reason = 'P-4711' || char(0)")))
    with pytest.raises(PonsError) as refused:
        copy(full, postgres_database)
    assert str(refused.value).startswith("table holds: the database does not take a row")
    assert "P-4711" not in str(refused.value)
    assert postgres_database.read_now(is_empty)


def test_memory_does_not_grow_with_the_rows(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    """Rows are fetched in pages, each from where the last one ended."""

    event = {
        "at": 0.0,
        "actor": "a",
        "action": "b",
        "subject": "c",
        "detail": {},
        "prev_hash": "",
        "hash": "",
    }
    postgres_database.write_now(lambda c: c.execute(insert(audit_events), [event] * 1000))
    pages: list[int] = []
    snapshot(postgres_database, tmp_path / "copy.sqlite", lambda table, count: pages.append(count))
    assert (sum(pages), max(pages)) == (1000, 200)


def test_a_database_that_is_lost_meanwhile_is_said_to_be(
    postgres_database: PostgresDatabase, postgres: Cluster, tmp_path: Path
) -> None:
    postgres_database.write_now(
        lambda c: append_event(c, BEGAN, actor="a", action="b", subject="c", detail={})
    )

    def lose(_table: str, _count: int) -> None:
        name = postgres_database.engine.url.database
        with psycopg.connect(postgres.address("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )

    with pytest.raises(DatabaseUnavailable, match="lost while it was read: back up again"):
        snapshot(postgres_database, tmp_path / "copy.sqlite", lose)


def test_a_target_that_takes_no_more_is_named(sqlite_database: SqliteDatabase, tmp_path: Path) -> None:
    (tmp_path / "copy.sqlite").write_bytes(b"something else")
    with pytest.raises(PonsError, match=r"copy.sqlite: the database cannot be copied there"):
        snapshot(sqlite_database, tmp_path / "copy.sqlite", ignore)
