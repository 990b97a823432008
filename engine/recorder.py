"""Write down what is durable: which study an instance is of, and whether it was here before.

Enters: a `NewInstance` whose bytes are synced under their name, and the session that sent it. Leaves: once
the transaction is committed, what became of it. Bytes that could not be written down are taken away again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

from sqlalchemy import Connection

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import Busy
from engine.open_sessions import OpenSessions
from engine.spool import Spool
from engine.store import studies
from engine.store.database import Database

logger = logging.getLogger("pons.intake")

SWEEP = 5.0  # seconds between two looks at what was kept and could not be recorded


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

    def record(self, session: str, new: studies.NewInstance) -> Future[studies.Recorded]:
        """Begin to record one instance; the result is there once it is committed.

        The bytes of a conflict, and of what fails, are removed. The future fails with DatabaseUnavailable, or
        with Busy when retention was taking the study's files away; cancelling it gives up waiting.
        """
        now = self._clock.now()
        future = self._database.submit(partial(self._write, session, new, now))
        future.add_done_callback(partial(self._written, session, new))
        return future

    def _write(
        self, session: str, new: studies.NewInstance, now: float, connection: Connection
    ) -> studies.Recorded:
        recorded = studies.record(connection, new, now, keep_versions=self.keep_versions)
        # The study's row is ours now: retention, which takes files away under it, is done or waits.
        if recorded.outcome != "conflict" and not self._spool.holds(new.path, new.size):
            raise Busy("earlier instances of the study were being removed at this moment")
        if recorded.outcome in ("version", "conflict"):
            append_event(
                connection,
                now,
                actor=f"{new.site}/{new.inbound}",
                action=f"instance {recorded.outcome}",
                subject=new.sop_instance_uid,
                detail={"sha256": new.sha256, "study_instance_uid": new.study_instance_uid},
            )
        # Before the commit: assembly must not find the study quiet and without its session.
        if recorded.outcome in ("new", "version"):
            self._sessions.touch(connection, session, recorded.study_id)
        return recorded

    def _written(self, session: str, new: studies.NewInstance, future: Future[studies.Recorded]) -> None:
        if future.cancelled() or future.exception() is not None:
            with self._lock:
                self._unrecorded.add(new.path)  # perhaps; a commit may be in doubt
            return
        recorded = future.result()
        if recorded.outcome in ("new", "version"):
            self._sessions.recorded(session, recorded.study_id)
        if recorded.outcome == "conflict":
            self._spool.forget(new.path)
        if recorded.late:
            logger.info(
                "study reopened by a late instance",
                extra={"pons": {"site": new.site, "study_instance_uid": new.study_instance_uid}},
            )

    def doubt(self, paths: Iterable[str]) -> None:
        """Who kept these has ended: their bytes go unless a row names them."""
        with self._lock:
            self._unrecorded.update(paths)

    async def run(self, available: Callable[[], bool]) -> None:
        """Remove what was made durable and then could not be recorded, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            while self._unrecorded and available():
                with self._lock:
                    path = next(iter(self._unrecorded))
                await self._database.write(
                    partial(studies.drop_unrecorded, path=path, forget=self._spool.forget)
                )
                with self._lock:
                    self._unrecorded.discard(path)
