"""The shared database: a PostgreSQL that any number of engine processes write to.

Each piece of work is one transaction in one of a few threads; PostgreSQL itself gathers commits.
A commit that has returned survives a power cut (`synchronous_commit=on`). Work that met a deadlock,
or whose connection was lost before its commit, is run again for a while: a restart of the server is
ridden out. A connection lost *at* the commit leaves the outcome in doubt, and that is said.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from engine.errors import DatabaseUnavailable
from engine.store.order_states import followed

T = TypeVar("T")

logger = logging.getLogger("pons.store")

WRITERS, READERS = 8, 4
PATIENCE = 10.0  # seconds that work is tried again before the database counts as unavailable
_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock timeout: nothing was done
_CONNECTION = {
    "connect_timeout": 5,
    "application_name": "pons",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # ms that sent bytes may stay unacknowledged: a cut wire is noticed
    "options": " ".join(
        (
            "-c statement_timeout=60s -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
            # A plan made for an empty table, or for ten keys, must not be kept for a full one and a thousand.
            "-c plan_cache_mode=force_custom_plan",
        )
    ),
}


def connect(url: URL) -> Engine:
    """An engine on a PostgreSQL database; nothing is opened yet."""
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=QueuePool,
        pool_size=WRITERS + READERS,
        max_overflow=4,
        hide_parameters=True,  # values may be a patient's
        connect_args=_CONNECTION,
    )


class PostgresDatabase:
    """Durable writes and reads on a PostgreSQL; see `engine.store.database.Database`."""

    shared = True

    def __init__(self, url: URL) -> None:
        self.engine = connect(url)
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="pons-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="pons-read")
        self._closed = False

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction of its own."""
        if self._closed:
            raise RuntimeError("the database is closed")
        future = asyncio.get_running_loop().run_in_executor(self._writers, self.write_now, work)
        # A caller that is cancelled must not make its committed work look undone to others.
        return await asyncio.shield(future)

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """`write` for who waits in a thread of its own."""
        return self._writers.submit(self.write_now, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``; what it sees may move between two statements."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers without a loop."""
        return self._patiently(work, commit=True)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers without a loop."""
        return self._patiently(work, commit=False)

    def close(self) -> None:
        """Finish what is queued, then close the connections."""
        if self._closed:
            return
        self._closed = True
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()

    def _patiently(self, work: Callable[[Connection], T], *, commit: bool) -> T:
        give_up_at = time.monotonic() + PATIENCE
        pause = 0.01
        while True:
            committing = False
            try:
                with self.engine.connect() as connection:
                    value = followed(work, connection) if commit else work(connection)
                    if commit:
                        committing = True
                        connection.commit()
                    return value
            except DBAPIError as error:
                if not _worth_another_try(error):
                    raise
                if committing and error.connection_invalidated:
                    message = "the database was lost while it committed"
                    raise DatabaseUnavailable(message, in_doubt=True) from None
                if time.monotonic() + pause > give_up_at:
                    raise DatabaseUnavailable(_said(error), storage_full=_is_full(error)) from None
            time.sleep(pause)
            pause = min(0.5, pause * 2)


def _worth_another_try(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    # 08: connection; 57P: shut down, starting up; 53: out of disk, memory or connections;
    # none at all: the connection could not be made
    return error.connection_invalidated or state is None or state in _AGAIN or state[:2] in ("08", "53", "57")


def _is_full(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "53100"


def _said(error: DBAPIError) -> str:
    """Why, without the statement, its values, or the address (it may hold a user's name)."""
    state = getattr(error.orig, "sqlstate", None)
    return f"the database answers {state}" if state else "the database cannot be reached"
