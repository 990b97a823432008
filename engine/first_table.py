"""Which table an engine starts with: the file that it is given, or the one that was applied since.

Enter: the table as read from its file, and the database. A file that this database has never seen becomes
the active version. One that it has seen was not edited since: where an `apply`, a rollback or a reload has
moved on, the engine starts with what that made active. Where another engine was merely started with another
file, each runs its own.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from engine.active_table import activate
from engine.config import load
from engine.errors import ConfigurationError
from engine.kept_table import lay_out
from engine.store import table_versions
from engine.store.database import Database, locate
from engine.store.dialect import serialise
from engine.store.table_versions import ActiveTable
from engine.table import Table

logger = logging.getLogger("pons.table")


async def table_to_run(given: Table, database: Database, data: Path, now: float, node: str) -> Table:
    """The table to start with; on record as active on return.

    Raises:
        ConfigurationError: the active version cannot run here; lists every finding.
    """
    active = await database.write(partial(_settle, given=given, now=now, node=node))
    if active.version == given.version:
        return given
    what = "the table was not edited since another was applied, which runs; `pons apply` it to go back"
    facts = {"path": given.path.name, "before": given.version, "table": active.version, "why": active.action}
    logger.warning(what, extra={"pons": facts})
    kept = await database.read(lambda c: table_versions.files_of(c, active.version))
    table = await asyncio.to_thread(read_kept, active.version, *kept, data, given.base)
    if locate(table.engine) != locate(given.engine) or table.engine.data != given.engine.data:
        raise ConfigurationError(
            f"{given.path}: the active table keeps its data elsewhere (engine.data, engine.database); "
            f"apply this file to make it the active one"
        )
    return table


def _settle(connection: Connection, given: Table, now: float, node: str) -> ActiveTable:
    """The active version; the given one becomes it when it is new. Engines that start at once take turns."""
    serialise(connection, "table")
    active = table_versions.active(connection)
    moved_on = active is not None and active.action != "started"
    mine = active is not None and active.version == given.version
    if not mine and not (moved_on and table_versions.known(connection, given.version)):
        record(connection, given, now, actor=f"engine {node}", action="started")
        active = table_versions.active(connection)
    assert active is not None
    return active


def record(connection: Connection, table: Table, now: float, *, actor: str, action: str) -> int:
    """Keep a table and make it the active one; the id of the change."""
    table_versions.record_version(connection, table.version, table.path.name, table.files, now)
    return activate(connection, table.version, now, actor=actor, action=action)


def read_kept(version: str, main: str, files: dict[str, str], data: Path, base: Path) -> Table:
    """A version that the database keeps, checked on this machine as if it lay where the given file does.

    Raises:
        ConfigurationError: it cannot run here; lists every finding.
    """
    path = lay_out(data / "tables" / version.rpartition(":")[2], main, files)
    table = load(path, base=base)
    if table.version != version:
        raise ConfigurationError(f"{path.parent}: holds more than version {version}; remove this folder")
    return table
