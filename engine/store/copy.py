"""Every row of one database in another, whichever of the two kinds each is.

`snapshot` leaves one SQLite file that holds the database as it was at one instant, while others write
to it: SQLite vacuums into the file, PostgreSQL is read table by table under REPEATABLE READ. `copy_rows`
is the other way as well. Rows pass in pages, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2
from sqlalchemy import JSON, Connection, Table, column, func, insert, literal, select, table, text, tuple_
from sqlalchemy.exc import DBAPIError

from engine.errors import DatabaseUnavailable, PonsError
from engine.store.database import Database
from engine.store.migrate import migrate, revisions, schema_of
from engine.store.sqlite import SqliteDatabase
from engine.store.tables import metadata

PAGE = 200  # rows at a time; a result's document may be large

Tick = Callable[[str, int], None]
"""Told of a table's name and how many more rows of it were copied."""


def snapshot(database: Database, target: Path, tick: Tick) -> str:
    """Write the database as it is at one instant into a new SQLite file; its schema.

    Raises PonsError when the tables are not those of this release, or the target takes no more,
    DatabaseUnavailable when the database is lost meanwhile.
    """
    present = database.read_now(schema_of)
    if present != revisions()[-1]:
        raise PonsError(
            f"the database has schema {present or 'none'} and this release {revisions()[-1]}:"
            " back up with the release that runs on it, or start this one once first"
        )
    if not database.shared:
        target.touch(mode=0o600)  # SQLite fills an empty file and leaves its mode alone
        try:
            with closing(database.engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM INTO ?", (str(target),))
        except pysqlite3.dbapi2.Error as error:
            raise PonsError(f"{target}: the database cannot be copied there: {error}") from None
        return present
    copy = SqliteDatabase(target)
    try:
        migrate(copy.engine)
        isolated = database.engine.connect().execution_options(isolation_level="REPEATABLE READ")
        with isolated as source, copy.engine.connect() as into, into.begin():
            copy_rows(source, into, tick)
    except DBAPIError:
        raise DatabaseUnavailable("the database was lost while it was read: back up again") from None
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
        for page in _pages(source, plain, [plain.c[one.name] for one in each.primary_key]):
            _put(target, plain, page)
            tick(each.name, len(page))
        _count_on(target, each)


def _pages(source: Connection, plain: Any, key: list[Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows in the order of their key, each page from where the last one ended."""
    query = select(plain).order_by(*key).limit(PAGE)
    page: list[dict[str, Any]] = []
    while True:
        begin = query
        if page:
            ended = (literal(page[-1][one.name], one.type) for one in key)
            begin = query.where(tuple_(*key) > tuple_(*ended))
        page = [dict(row) for row in source.execute(begin).mappings()]
        if page:
            yield page
        if len(page) < PAGE:
            return


def _put(target: Connection, plain: Any, rows: list[dict[str, Any]]) -> None:
    try:
        target.execute(insert(plain), rows)
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
        raise PonsError(f"table {plain.name}: the database does not take a row ({state})") from None


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
