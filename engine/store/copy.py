"""Every row of one database in another, whichever of the two kinds each is.

`snapshot` leaves one SQLite file that holds the database as it was at one instant, while others write
to it: SQLite vacuums into the file, PostgreSQL is read table by table under REPEATABLE READ. `copy_rows`
is the other way as well. Rows pass in pages, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Connection, Table, column, func, insert, select, table, text
from sqlalchemy.exc import DBAPIError

from engine.errors import PonsError
from engine.store.database import Database
from engine.store.migrate import migrate, revisions, schema_of
from engine.store.sqlite import SqliteDatabase
from engine.store.tables import metadata

PAGE = 200  # rows at a time; a result's document may be large

Tick = Callable[[str, int], None]
"""Told of a table's name and how many more rows of it were copied."""


def snapshot(database: Database, target: Path, tick: Tick) -> str:
    """Write the database as it is at one instant into a new SQLite file; its schema.

    Raises PonsError when the tables are not those of this release.
    """
    present = database.read_now(schema_of)
    if present != revisions()[-1]:
        raise PonsError(
            f"the database has schema {present or 'none'} and this release {revisions()[-1]}:"
            " back up with the release that runs on it, or start this one once first"
        )
    if not database.shared:
        target.touch(mode=0o600)  # SQLite fills an empty file and leaves its mode alone
        with closing(database.engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM INTO ?", (str(target),))
        return present
    copy = SqliteDatabase(target)
    try:
        migrate(copy.engine)
        isolated = database.engine.connect().execution_options(isolation_level="REPEATABLE READ")
        with isolated as source:
            copy.write_now(lambda c: copy_rows(source, c, tick))
    finally:
        copy.close()
    return present


def copy_rows(source: Connection, target: Connection, tick: Tick) -> None:
    """Copy every row into a database with the same tables and none in them, in the callers' transactions.

    Raises PonsError, which names the table and no value, when a row is not taken.
    """
    for connection in (source, target):
        if connection.dialect.name == "postgresql":
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {limit} = 0"))
    for each in metadata.sorted_tables:
        plain = _plain(each)
        rows = source.execution_options(yield_per=PAGE).execute(select(plain))
        for page in rows.mappings().partitions():
            try:
                target.execute(insert(plain), [dict(row) for row in page])
            except DBAPIError as error:
                state = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
                raise PonsError(f"table {each.name}: the database does not take a row ({state})") from None
            tick(each.name, len(page))
        _count_on(target, each)


def is_empty(connection: Connection) -> bool:
    """Whether none of our tables holds a row, or there are none."""
    present = {name for name in metadata.tables if connection.dialect.has_table(connection, name)}
    return all(
        connection.execute(select(text("1")).select_from(each).limit(1)).first() is None
        for each in metadata.sorted_tables
        if each.name in present
    )


def _plain(each: Table) -> Any:
    """The table without defaults, where no value means NULL and not the JSON word `null`."""
    columns = (
        column(one.name, JSON(none_as_null=True) if isinstance(one.type, JSON) else one.type)
        for one in each.columns
    )
    return table(each.name, *columns)


def _count_on(target: Connection, each: Table) -> None:
    """PostgreSQL counts by a sequence, which rows that bring their numbers leave behind."""
    counted = each.autoincrement_column
    if target.dialect.name != "postgresql" or counted is None:
        return
    sequence = func.pg_get_serial_sequence(each.name, counted.name)
    latest = select(func.max(counted)).scalar_subquery()
    target.execute(select(func.setval(sequence, func.coalesce(latest, 1), latest.is_not(None))))
