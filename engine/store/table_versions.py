"""Which version of the table is the running one, which there were, and which engine runs which.

A version is the bytes of all its files. The change that came last names the active one; engines poll it,
take it, and say so in their own row. Making one active is `engine.active_table`: it goes on the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, update

from engine.store.dialect import insert_unless_there, serialise
from engine.store.tables import engines, table_changes, table_versions

FORGOTTEN = 86400.0  # seconds after which the row of an engine that was killed goes


class ActiveTable(NamedTuple):
    """The change that made a version the running one."""

    version: str
    change_id: int
    at: float  # seconds since 1970
    actor: str
    action: str  # started | applied | reloaded | rolled back
    message: str
    forced: bool


def record_version(
    connection: Connection, version: str, main: str, files: Mapping[str, str], now: float
) -> None:
    """Keep a version's files; one that is known stays as it is.

    Args:
        main: which of the files is the table, the others it includes.
        files: path below the table's folder -> text.
    """
    insert_unless_there(
        connection, table_versions, version=version, main=main, files=dict(files), first_seen_at=now
    )


def record_change(
    connection: Connection, version: str, now: float, *, actor: str, action: str, message: str, forced: bool
) -> int:
    """Make a recorded version the running one; the id of the change."""
    change = insert(table_changes).values(
        version=version, at=now, actor=actor, action=action, message=message, forced=forced
    )
    return int(connection.execute(change.returning(table_changes.c.id)).scalar_one())


def active(connection: Connection) -> ActiveTable | None:
    """The running version; None before the first engine started."""
    row = connection.execute(_CHANGES.limit(1)).one_or_none()
    return None if row is None else _change(row)


def unmoved(connection: Connection, change_id: int | None) -> bool:
    """Whether this is still the latest change; if so, nobody makes another until the transaction ends."""
    serialise(connection, "table")
    latest = active(connection)
    return (latest.change_id if latest else None) == change_id


def history(connection: Connection, limit: int) -> list[ActiveTable]:
    """The changes, the latest first."""
    return [_change(row) for row in connection.execute(_CHANGES.limit(limit))]


def known(connection: Connection, version: str) -> bool:
    """Whether a version is on record."""
    query = select(table_versions.c.version).where(table_versions.c.version == version)
    return connection.execute(query).one_or_none() is not None


def versions_like(connection: Connection, start: str) -> Sequence[str]:
    """The versions whose name begins so, by the time they were first seen; `sha256:` may be left out."""
    named = start if start.startswith("sha256:") else f"sha256:{start}"
    query = select(table_versions.c.version).where(
        table_versions.c.version.startswith(named, autoescape=True)
    )
    return connection.execute(query.order_by(table_versions.c.first_seen_at)).scalars().all()


def files_of(connection: Connection, version: str) -> tuple[str, dict[str, str]]:
    """The name of the table's file, and every file by its path below the table's folder.

    Raises:
        LookupError: no such version is on record.
    """
    query = select(table_versions.c.main, table_versions.c.files).where(table_versions.c.version == version)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise LookupError(f"no version {version} of the table is on record")
    return row.main, dict(row.files)


def beat(
    connection: Connection,
    node: str,
    started_at: float,
    now: float,
    table_version: str,
    refused_version: str = "",
    trouble: str = "",
) -> None:
    """An engine says that it lives, which version it runs, and which it could not take and why."""
    told = {
        "started_at": started_at,
        "seen_at": now,
        "table_version": table_version,
        "refused_version": refused_version,
        "trouble": trouble,
    }
    if connection.execute(update(engines).where(engines.c.node == node).values(**told)).rowcount:
        return
    connection.execute(delete(engines).where(engines.c.seen_at < now - FORGOTTEN))
    insert_unless_there(connection, engines, node=node, **told)


def leave(connection: Connection, node: str) -> None:
    """An engine has stopped."""
    connection.execute(delete(engines).where(engines.c.node == node))


def engines_alive(connection: Connection, since: float) -> Sequence[Row[Any]]:
    """The engines that said so since a time, in order of their names."""
    query = select(engines).where(engines.c.seen_at >= since).order_by(engines.c.node)
    return connection.execute(query).all()


_CHANGES = select(table_changes).order_by(table_changes.c.id.desc())


def _change(row: Row[Any]) -> ActiveTable:
    return ActiveTable(row.version, row.id, row.at, row.actor, row.action, row.message, row.forced)
