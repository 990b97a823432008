"""Bring a database to the tables of this release, in one transaction, before anything else runs.

Every command that opens the database asks for this first, and finds nothing to do: so Alembic, which takes
longer to import than such a command to work, is imported only where there is something.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
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
    with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
        serialise(connection, "migrate")
        present = schema_of(connection)
        if present is not None and present not in revisions():
            raise PonsError(
                f"the database has schema {present}, which this release (schema {revisions()[-1]}) does not"
                " know: run the release that wrote it, or restore a backup made before the upgrade"
            )
        if present is None or present != (revisions()[-1] if revision == "head" else revision):
            _upgrade(connection, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def schema_of(connection: Connection) -> str | None:
    """The revision of a database's tables; None when it has none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def revisions() -> list[str]:
    """Every schema that there has been, oldest first; the last is this release's.

    A migration's file is named after its revision, and a later one has a higher number.
    """
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
