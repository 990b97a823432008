"""Bring a database to the tables of this release, in one transaction, before anything else runs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from engine.errors import DatabaseUnavailable, PonsError
from engine.store.dialect import serialise

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Apply the missing migrations; of several engines that start at once, one does and the rest wait.

    Raises PonsError when a newer release has written this database, DatabaseUnavailable when it is away;
    nothing is changed then.
    """
    try:
        _migrate(engine, revision)
    except OperationalError as error:
        state = getattr(error.orig, "sqlstate", None)  # the driver's own words may name a user
        said = f"answers {state}" if state else "cannot be reached or written"
        raise DatabaseUnavailable(f"engine.database: the database {said}; start it, or look there") from None


def _migrate(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
        serialise(connection, "migrate")
        present = schema_of(connection)
        if present is not None and present not in revisions():
            raise PonsError(
                f"the database has schema {present}, which this release (schema {revisions()[-1]}) does not"
                " know: run the release that wrote it, or restore a backup made before the upgrade"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def schema_of(connection: Connection) -> str | None:
    """The revision of a database's tables; None when it has none yet."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """Every schema that there has been, oldest first; the last is this release's."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    return [script.revision for script in scripts.walk_revisions()][::-1]
