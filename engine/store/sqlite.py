"""The embedded database: one writer with group commit, readers beside it.

SQLite in WAL mode with `synchronous=FULL`: a commit that has returned survives a power cut. Every
write passes through one thread, which gathers what is waiting into one transaction, so that a
hundred acknowledgements cost one sync. A piece of work that fails takes nothing with it: the others are
run again, each in a savepoint of its own. The SQLite is the one that `pysqlite3` brings, because releases
up to 3.51.2 carry a WAL-reset corruption bug.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pysqlite3.dbapi2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from engine.errors import DatabaseUnavailable
from engine.store.order_states import followed
from engine.store.prepared import asked

T = TypeVar("T")

BATCH = 256  # pieces of work in one commit at most: bounds the latency of the first


@dataclass(slots=True)
class _Work:
    run: Callable[[Connection], Any]
    future: asyncio.Future[Any] | Future[Any]
    loop: asyncio.AbstractEventLoop | None  # None: a thread waits


_Outcome = tuple[_Work, Any, BaseException | None]


def connect(path: Path) -> Engine:
    """An engine on a SQLite file; the file is made private (0600) when it is new."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=True)
    engine = create_engine(
        f"sqlite:///{path}",
        module=pysqlite3.dbapi2,
        poolclass=QueuePool,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that it can be IMMEDIATE
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin", "DEFERRED")
        asked(connection, f"BEGIN {mode}")

    return engine


class SqliteDatabase:
    """Durable writes by group commit, concurrent reads; see `engine.store.database.Database`."""

    shared = False

    def __init__(self, path: Path) -> None:
        self.engine = connect(path)
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="pons-read")
        self._writer = threading.Thread(target=self._write_forever, name="pons-write", daemon=True)
        self._writer.start()
        self._closed = False
        self._connection: Connection | None = None  # the writer thread's

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction, with others that wait; returns once it is committed and synced."""
        if self._closed:
            raise RuntimeError("the database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Work(work, future, loop))
        # A caller that is cancelled must not make its committed work look undone to others.
        return await asyncio.shield(future)

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """`write` for who waits in a thread of its own."""
        if self._closed:
            raise RuntimeError("the database is closed")
        future: Future[T] = Future()
        self._queue.put(_Work(work, future, None))
        return future

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a snapshot, beside the writer."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for callers without a loop."""
        with self.engine.connect() as connection:
            return work(connection)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """`write` for callers without a loop: takes the one writer's place for a moment."""
        try:
            with self.engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
                return followed(work, connection)
        except OperationalError as error:
            raise unavailable(error) from None

    def close(self) -> None:
        """Finish what is queued, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        self.engine.dispose()

    def _write_forever(self) -> None:
        while True:
            batch, last = self._gather()
            if batch:
                self._commit(batch)
            if last:
                if self._connection is not None:
                    self._connection.close()
                return

    def _gather(self) -> tuple[list[_Work], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        while len(batch) < BATCH:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                return batch, True
            batch.append(work)
        return batch, False

    def _commit(self, batch: list[_Work]) -> None:
        try:
            outcomes = self._together(batch)
        except OperationalError as error:  # a commit that fails, a full disk: nothing of it is there
            outcomes = [(work, None, unavailable(error)) for work in batch]
        except Exception as error:  # whoever waits must hear, or would wait for ever
            outcomes = [(work, None, error) for work in batch]
        for loop in {work.loop for work in batch}:
            mine = [outcome for outcome in outcomes if outcome[0].loop is loop]
            if loop is None:
                _settle(mine)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_settle, mine)

    def _together(self, batch: list[_Work]) -> list[_Outcome]:
        """One transaction. Most work succeeds, so it runs without savepoints first."""
        try:
            with self._transaction() as connection:
                return [(work, followed(work.run, connection), None) for work in batch]
        except OperationalError:
            raise
        except Exception as error:  # whatever a piece of work raises is raised where it was asked for
            if len(batch) == 1:
                return [(batch[0], None, error)]
        outcomes: list[_Outcome] = []
        with self._transaction() as connection:
            for work in batch:
                try:
                    with connection.begin_nested():
                        outcomes.append((work, followed(work.run, connection), None))
                except OperationalError:
                    raise
                except Exception as error:
                    outcomes.append((work, None, error))
        return outcomes

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """On the writer's own connection: to borrow one for each commit costs as much as a statement."""
        if self._connection is None:
            self._connection = self.engine.connect().execution_options(begin="IMMEDIATE")
        try:
            with self._connection.begin():
                yield self._connection
        except OperationalError:  # whatever is wrong with it may be wrong with the connection
            connection, self._connection = self._connection, None
            connection.close()
            raise


def _settle(outcomes: list[_Outcome]) -> None:
    for work, value, error in outcomes:
        if work.future.cancelled():
            continue
        with contextlib.suppress(InvalidStateError):  # a thread gave up at this very moment
            if error is None:
                work.future.set_result(value)
            else:
                work.future.set_exception(error)


def unavailable(error: OperationalError) -> DatabaseUnavailable:
    """What SQLite said, without the statement and its values."""
    said = str(error.orig)
    return DatabaseUnavailable(f"the database: {said}", storage_full="full" in said)
