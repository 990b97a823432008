"""Bring a database to the tables of this release, in one transaction, before anything else runs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from engine.store.dialect import serialise

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Apply the missing migrations; of several engines that start at once, one does and the rest wait."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
        serialise(connection, "migrate")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
