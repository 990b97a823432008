"""One writer, group commit, and pieces of work that do not take each other down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text

from engine.store.database import Database, SqliteDatabase
from engine.store.migrate import migrate
from engine.store.tables import audit_events, metadata


def add(connection: Connection, subject: str) -> None:
    connection.execute(
        insert(audit_events).values(
            at=0, actor="t", action="t", subject=subject, detail={}, prev_hash="", hash=""
        )
    )


def subjects(database: Database) -> set[str]:
    return set(database.read_now(lambda c: c.execute(select(audit_events.c.subject)).scalars().all()))


async def test_a_failing_piece_of_work_takes_nothing_with_it(database: Database) -> None:
    def half(connection: Connection) -> None:
        add(connection, "half")
        raise LookupError("no")

    outcomes = await asyncio.gather(
        database.write(lambda c: add(c, "one")),
        database.write(half),
        database.write(lambda c: add(c, "two")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError, type(None)]
    assert subjects(database) == {"one", "two"}


async def test_waiting_work_shares_a_commit(sqlite_database: SqliteDatabase) -> None:
    transactions: set[int] = set()

    def note(connection: Connection) -> None:
        transactions.add(id(connection.get_transaction()))

    await asyncio.gather(*(sqlite_database.write(note) for _ in range(100)))
    assert len(transactions) < 20


async def test_a_cancelled_caller_leaves_its_work_whole(database: Database) -> None:
    task = asyncio.create_task(database.write(lambda c: add(c, "kept")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(lambda c: add(c, "next"))
    for _ in range(3000):  # a shared database promises no order between the two
        if subjects(database) == {"kept", "next"}:
            break
        await asyncio.sleep(0.01)
    assert subjects(database) == {"kept", "next"}


async def test_a_commit_survives_the_process_and_is_private(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "d" / "x.sqlite")
    migrate(database.engine)
    await database.write(lambda c: add(c, "here"))
    database.close()
    again = SqliteDatabase(tmp_path / "d" / "x.sqlite")
    assert subjects(again) == {"here"}
    again.close()
    with pytest.raises(RuntimeError):
        await again.write(lambda c: add(c, "late"))
    assert (tmp_path / "d" / "x.sqlite").stat().st_mode & 0o777 == 0o600


def test_every_sync_is_full_and_the_log_is_ahead(sqlite_database: SqliteDatabase) -> None:
    def pragmas(connection: Connection) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return tuple(connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names)

    assert sqlite_database.read_now(pragmas) == ("wal", 2, 1)


def test_the_migrations_lead_to_the_tables_and_may_be_repeated(database: Database) -> None:
    migrate(database.engine)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(select(func.count()).select_from(audit_events)).scalar_one() == 0
