"""The database behind the engine, in two forms with one face.

`sqlite` is the embedded form: one file, one process, one writer with group commit. A PostgreSQL is
shared: any number of processes write, and rows are locked where two could meet. Both run the same
queries (`studies`, `work`, `deliveries`, …); what a dialect does its own way is in `dialect`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, make_url

from engine.errors import ConfigurationError, DatabaseUnavailable
from engine.sections import EngineSettings
from engine.store.postgres import PostgresDatabase
from engine.store.sqlite import SqliteDatabase

T = TypeVar("T")

logger = logging.getLogger("pons.store")

PAUSE = 0.5  # seconds between two tries to write down what must not be lost

__all__ = [
    "Database",
    "PostgresDatabase",
    "SqliteDatabase",
    "exists",
    "insist",
    "is_shared",
    "locate",
    "open_database",
]


class Database(Protocol):
    """Durable writes, concurrent reads."""

    shared: bool
    """Whether other processes may be writing."""
    engine: Engine

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction; returns once it is committed and synced.

        ``work`` runs in another thread, must touch nothing but the connection and must bear being
        run again: after a deadlock or a lost connection it is. What it raises is raised here, and
        undone. Raises DatabaseUnavailable when it could not be done.
        """
        ...

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """`write` for who waits in a thread of its own."""
        ...

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` beside the writers; it must not write."""
        ...

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers without a loop (the command line)."""
        ...

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers without a loop."""
        ...

    def close(self) -> None:
        """Finish what is queued, then let go."""
        ...


def locate(settings: EngineSettings) -> URL:
    """Where the database of a table is; a password is revealed into it, so it must never be shown.

    Raises ConfigurationError when the password's secret cannot be read.
    """
    if settings.database == "sqlite":
        return URL.create("sqlite", database=str(settings.data / "pons.sqlite"))
    url = make_url(settings.database)
    if settings.database_password is not None:
        try:
            url = url.set(password=settings.database_password.reveal())
        except LookupError as error:
            raise ConfigurationError(f"engine.database_password: {error}") from None
    return url


def exists(url: URL) -> bool:
    """Whether there can be something to look at: looking must not make an empty database."""
    return url.get_backend_name() != "sqlite" or Path(url.database or "").exists()


def is_shared(url: URL) -> bool:
    """Whether several processes may write to such a database."""
    return url.get_backend_name() != "sqlite"


def open_database(url: URL) -> Database:
    """Open it; a SQLite file is made when it is not there, a PostgreSQL database is not."""
    if url.get_backend_name() == "sqlite":
        return SqliteDatabase(Path(url.database or ""))
    return PostgresDatabase(url)


async def insist(database: Database, work: Callable[[Connection], T]) -> T:
    """Write down what has happened already and cannot be taken back, however long the database is away.

    For what a peer has answered or a processor has found. ``work`` must know by a fence when it has
    been done: after a commit in doubt it is run again.
    """
    while True:
        try:
            return await database.write(work)
        except DatabaseUnavailable as error:
            logger.warning("the database is away; writing again", extra={"pons": {"reason": str(error)}})
            await asyncio.sleep(PAUSE)
