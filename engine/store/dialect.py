"""The few things that SQLite and PostgreSQL say differently, each by the name of what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, ColumnElement, Connection, Table, any_, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite


def is_shared(connection: Connection) -> bool:
    """Whether other processes may write at this moment; SQLite has one writer, which is us."""
    return connection.dialect.name == "postgresql"


def insert_unless_there(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless a unique constraint says that it is there; whether it was inserted."""
    insert = postgresql.insert if is_shared(connection) else sqlite.insert
    # inline: no RETURNING for the new key, with which psycopg would not tell how many rows there are
    statement = insert(table).values(**values).on_conflict_do_nothing().inline()
    done = connection.execute(statement, execution_options={"preserve_rowcount": True})
    return done.rowcount == 1


def serialise(connection: Connection, *names: str) -> None:
    """Until this transaction ends, nobody else passes here with one of these names.

    For what no row stands for yet. Names are locked in one order, so two callers cannot block
    each other. On SQLite the one writer is enough.
    """
    if names and is_shared(connection):
        keys = func.unnest(cast(sorted({_key(name) for name in names}), ARRAY(BigInteger))).column_valued(
            "key"
        )
        connection.execute(select(func.pg_advisory_xact_lock(keys)))


def among(connection: Connection, column: Column[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Whether a column is one of these: on PostgreSQL as one parameter, so that a plan is kept."""
    if is_shared(connection):
        return column == any_(cast(list(values), ARRAY(column.type)))
    return column.in_(values)


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
