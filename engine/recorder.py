"""Write down what is durable: which study an instance is of, and whether it was here before.

Enters: a `NewInstance` whose bytes are synced under their name, and the session that sent it. Leaves: once
the transaction is committed, what became of it. Bytes that could not be written down are taken away again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import Busy
from engine.open_sessions import OpenSessions
from engine.spool import Spool
from engine.store.database import Database
from engine.store.recording import NewInstance, Recorded, drop_unrecorded, record_all

logger = logging.getLogger("pons.intake")

SWEEP = 5.0  # seconds between two looks at what was kept and could not be recorded
BATCH = 256  # instances in one statement at most: bounds the latency of the first


@dataclass(frozen=True, slots=True)
class _Waiting:
    session: str
    new: NewInstance
    recorded: Future[Recorded] = field(default_factory=Future)


class Recorder:
    """Records for every way in of this process; from any thread."""

    def __init__(
        self, spool: Spool, database: Database, clock: Clock, sessions: OpenSessions, *, keep_versions: bool
    ) -> None:
        """
        Args:
            keep_versions: keep a second version of a SOP Instance (True) or refuse it.
        """
        self.keep_versions = keep_versions
        self._spool = spool
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._lock = threading.Lock()
        self._unrecorded: set[str] = set()
        self._gathering: list[_Waiting] | None = None  # the batch that the next instances join

    def record(self, session: str, new: NewInstance) -> Future[Recorded]:
        """Begin to record one instance; the result is there once it is committed.

        Those that wait at one moment are recorded together, where nobody else writes. The bytes of a
        conflict, and of what fails, are removed. The future fails with DatabaseUnavailable, or with Busy when
        retention was taking the study's files away; cancelling it gives up waiting.
        """
        one = _Waiting(session, new)
        with self._lock:
            batch = self._gathering
            if batch is not None and len(batch) < BATCH:
                batch.append(one)
                return one.recorded
            batch = [one]
            self._gathering = None if self._database.shared else batch
        self._database.submit(partial(self._write, batch)).add_done_callback(partial(self._written, batch))
        return one.recorded

    def _write(self, batch: list[_Waiting], connection: Connection) -> list[Recorded]:
        with self._lock:
            if self._gathering is batch:
                self._gathering = None
        now = self._clock.now()
        outcomes = record_all(
            connection,
            [one.new for one in batch],
            now,
            keep_versions=self.keep_versions,
            is_there=lambda new: self._spool.holds(new.path, new.size),
        )
        for one, recorded in zip(batch, outcomes, strict=True):
            if recorded.outcome in ("version", "conflict"):
                self._audit(connection, one.new, recorded, now)
            # Before the commit: assembly must not find the study quiet and without its session.
            if recorded.outcome in ("new", "version"):
                self._sessions.touch(connection, one.session, recorded.study_id)
        return outcomes

    def _audit(self, connection: Connection, new: NewInstance, recorded: Recorded, now: float) -> None:
        append_event(
            connection,
            now,
            actor=f"{new.site}/{new.inbound}",
            action=f"instance {recorded.outcome}",
            subject=new.sop_instance_uid,
            detail={"sha256": new.sha256, "study_instance_uid": new.study_instance_uid},
        )

    def _written(self, batch: list[_Waiting], written: Future[list[Recorded]]) -> None:
        error = CancelledError() if written.cancelled() else written.exception()
        outcomes = [None] * len(batch) if error is not None else written.result()
        for one, recorded in zip(batch, outcomes, strict=True):
            self._settle(one, recorded, error)

    def _settle(self, one: _Waiting, recorded: Recorded | None, error: BaseException | None) -> None:
        new = one.new
        if recorded is not None and recorded.outcome in ("new", "version"):
            self._sessions.recorded(one.session, recorded.study_id)
        if recorded is None:
            with self._lock:
                self._unrecorded.add(new.path)  # perhaps: a commit may be in doubt
        elif recorded.outcome in ("conflict", "gone"):
            self._spool.forget(new.path)
        if recorded is not None and recorded.late:
            logger.info(
                "study reopened by a late instance",
                extra={"pons": {"site": new.site, "study_instance_uid": new.study_instance_uid}},
            )
        if not one.recorded.set_running_or_notify_cancel():
            return  # nobody waits any more, and nothing was acknowledged; what is recorded stays
        if error is not None:
            one.recorded.set_exception(error)
        elif recorded is None or recorded.outcome == "gone":
            one.recorded.set_exception(
                Busy("earlier instances of the study were being removed at this moment")
            )
        else:
            one.recorded.set_result(recorded)

    def doubt(self, paths: Iterable[str]) -> None:
        """Who kept these has ended: their bytes go unless a row names them."""
        with self._lock:
            self._unrecorded.update(paths)

    async def run(self, available: Callable[[], bool]) -> None:
        """Remove what was made durable and then could not be recorded, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            with self._lock:
                while self._spool.abandoned:
                    self._unrecorded.add(self._spool.abandoned.popleft())
            while self._unrecorded and available():
                with self._lock:
                    path = next(iter(self._unrecorded))
                await self._database.write(partial(drop_unrecorded, path=path, forget=self._spool.forget))
                with self._lock:
                    self._unrecorded.discard(path)
