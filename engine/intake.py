"""Take an instance in: land, check, make durable, record, and only then acknowledge.

Every way in ends here. `accept` returns after the bytes are synced under their name and the record
is committed (see docs/durability.md); when it raises, nothing of the arrival is kept.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from engine import part10
from engine.channel import CommitmentDesk, Wait
from engine.clock import Clock
from engine.commitment import Commitments
from engine.errors import Busy, DatabaseUnavailable, Rejected, RejectedReason
from engine.model import Arrival, Receipt
from engine.open_sessions import OpenSessions
from engine.recorder import Recorder
from engine.spool import FileLanding, Spool
from engine.store import studies
from engine.store.database import Database
from engine.strangers import Knock, Strangers

logger = logging.getLogger("pons.intake")

T = TypeVar("T")

THREADS = 32  # that wait for disk and database on behalf of the loop


class _Patience:
    """Waits for a result in a thread until it is told, from another, to give up."""

    def __init__(self) -> None:
        self._future: Future[Any] | None = None
        self._given_up = False

    def __call__(self, future: Future[T], /) -> T:
        self._future = future
        if self._given_up:
            future.cancel()
        return future.result()

    def give_up(self) -> None:
        self._given_up = True
        if self._future is not None:
            self._future.cancel()


class DurableIntake:
    """The engine's `Intake`: what inbound channels are given."""

    def __init__(
        self,
        spool: Spool,
        database: Database,
        clock: Clock,
        *,
        keywords: Iterable[str] = (),
        keep_versions: bool = True,
        available: Callable[[], bool] = lambda: True,
        node: str = "engine",
        lease: float = 60.0,
    ) -> None:
        """
        Args:
            node: this process among those that share the database.
            lease: seconds that a study stays held open for a process that has fallen silent.
            available: whether the database answers; from any thread.
            keywords: attributes that routing may ask for; recorded with each instance.
            keep_versions: keep a second version of a SOP Instance (True) or refuse it.
        """
        self.sessions = OpenSessions(database, clock, node=node, lease=lease)
        self.commitments: CommitmentDesk = Commitments(database, spool, clock)
        self.strangers = Strangers(database, clock)
        self._spool = spool
        self._keywords = tuple(sorted(keywords))
        self._recorder = Recorder(spool, database, clock, self.sessions, keep_versions=keep_versions)
        self._available = available
        self._draining = False
        self.refused: Counter[str] = Counter()
        """How many arrivals were refused since this process began, by reason; `disk`, `database`,
        `shutdown`, or one of RejectedReason."""
        self._lock = threading.Lock()  # of the counts: every association counts in its own thread
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pons-intake")

    def take(self, keywords: Iterable[str], *, keep_versions: bool) -> None:
        """Another table's questions and rule, from the next arrival on."""
        self._keywords = tuple(sorted(keywords))
        self._recorder.keep_versions = keep_versions

    def turned_away(
        self, inbound: str, unknown: str, remote_address: str, calling_ae_title: str, called_ae_title: str
    ) -> None:
        """A peer was rejected for what it is; see `engine.channel.Intake.turned_away`."""
        self.strangers.note(Knock(inbound, unknown, remote_address, calling_ae_title, called_ae_title))

    def land(self) -> FileLanding:
        """Open a landing; raises Busy below the disk watermark, without the database or when draining."""
        try:
            if self._draining:
                raise Busy("the engine is shutting down")
            if not self._available():
                raise Busy("the database does not answer")
            return self._spool.land()
        except Busy as error:
            self._count(error)
            raise

    @property
    def is_open(self) -> bool:
        """Whether a landing would be opened now."""
        return not (
            self._draining or self._spool.shut or self._spool.below_watermark or not self._available()
        )

    def _count(self, error: Rejected | Busy) -> None:
        if isinstance(error, Rejected):
            reason = error.reason.value
        elif error.storage_full:
            reason = "disk"
        else:
            reason = "shutdown" if self._draining else "database"
        with self._lock:
            self.refused[reason] += 1

    def leave(self, session: str) -> None:
        """The association or request is over."""
        self.sessions.leave(session)

    def drain(self) -> None:
        """Refuse new landings; what has landed may still be accepted."""
        self._draining = True

    def close(self) -> None:
        """Let go of the worker threads."""
        self._threads.shutdown()

    async def run(self) -> None:
        """Remove what was made durable and then could not be recorded, until cancelled."""
        await self._recorder.run(self._available)

    async def accept(self, arrival: Arrival) -> Receipt:
        """Make an arrival durable and record it; see `engine.channel.Intake.accept`."""
        wait = _Patience()
        future = asyncio.get_running_loop().run_in_executor(self._threads, self.accept_now, arrival, wait)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            wait.give_up()
            await asyncio.wait([future])  # until then its thread has the landing
            if not future.cancelled():
                future.exception()  # nobody else will ask
            raise

    def accept_now(self, arrival: Arrival, wait: Wait = Future.result) -> Receipt:
        """`accept` in the calling thread; see `engine.channel.Intake.accept_now`."""
        landing = arrival.landing
        assert isinstance(landing, FileLanding)
        try:
            try:
                return self._accept(arrival, landing, wait)
            except DatabaseUnavailable as error:
                raise Busy(str(error), storage_full=error.storage_full) from None
        except (Rejected, Busy) as error:
            self._count(error)
            logger.warning(
                "instance refused",
                extra={"pons": {"site": arrival.site, "inbound": arrival.inbound, "reason": str(error)}},
            )
            raise
        finally:
            landing.discard()

    def _accept(self, arrival: Arrival, landing: FileLanding, wait: Wait) -> Receipt:
        new = self._make_durable(arrival, landing)
        recorded = wait(self._recorder.record(arrival.session, new))
        if recorded.outcome == "conflict":
            raise Rejected(
                RejectedReason.CONFLICT,
                f"instance {new.sop_instance_uid} is here already with other content",
            )
        return Receipt(
            study_instance_uid=new.study_instance_uid,
            series_instance_uid=new.series_instance_uid,
            sop_class_uid=new.sop_class_uid,
            sop_instance_uid=new.sop_instance_uid,
            duplicate=recorded.outcome == "duplicate",
        )

    def _make_durable(self, arrival: Arrival, landing: FileLanding) -> studies.NewInstance:
        header = part10.inspect(landing.path, self._keywords)
        for announced, found, what in (
            (arrival.sop_class_uid, header.sop_class_uid, "SOP Class UID"),
            (arrival.sop_instance_uid, header.sop_instance_uid, "SOP Instance UID"),
        ):
            if announced is not None and announced != found:
                raise Rejected(RejectedReason.SOP_MISMATCH, f"the data set's {what} is not the one announced")
        if arrival.study_instance_uid not in (None, header.study_instance_uid):
            raise Rejected(RejectedReason.STUDY_MISMATCH, "the instance is not of the study in the request")
        path = self._spool.keep(landing, arrival.site, header.study_instance_uid, header.sop_instance_uid)
        return studies.NewInstance(
            site=arrival.site,
            inbound=arrival.inbound,
            calling_ae_title=arrival.calling_ae_title,
            called_ae_title=arrival.called_ae_title,
            remote_address=arrival.remote_address,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            sha256=landing.sha256(),
            size=landing.size,
            path=path,
            attributes=header.attributes,
        )
