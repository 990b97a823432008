"""Receive an instance on behalf of a way in: land, check, make durable, have it recorded, acknowledge.

Enters: an arrival, from whichever process has the peer. Leaves: its receipt, once the bytes are synced under
their name and the record is committed (see docs/durability.md); or the reason why nothing of it is kept. Who
records, and who says that nothing may land, is for the two that build on this: `engine.intake`, which is
where the database is, and `engine.workers.remote_intake`, which is not.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from engine import part10
from engine.channel import Wait
from engine.errors import Busy, DatabaseUnavailable, Rejected, RejectedReason
from engine.landing import FileLanding
from engine.model import Arrival, Receipt
from engine.spool import Spool
from engine.store.recording import NewInstance, Recorded

logger = logging.getLogger("pons.intake")

T = TypeVar("T")

THREADS = 32  # that wait for disk and database on behalf of the loop


@dataclass(frozen=True, slots=True)
class Questions:
    """The attributes that routing by one table may ask for."""

    keywords: tuple[str, ...]
    number: int = 0  # of the tables that this engine has run by


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


class Reception(ABC):
    """What every `engine.channel.Intake` does alike."""

    def __init__(self, spool: Spool, questions: Questions) -> None:
        """
        Args:
            questions: what is recorded with each instance.
        """
        self.questions = questions
        self._spool = spool
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pons-intake")

    @abstractmethod
    def shut_by(self) -> Busy | None:
        """Why nothing may land at this moment; from any thread."""

    @abstractmethod
    def begin_to_record(self, session: str, new: NewInstance, answered: int) -> Future[Recorded]:
        """Have one instance recorded; see `engine.recorder.Recorder.record`.

        Args:
            answered: the number of the questions that its attributes answer.
        """

    @abstractmethod
    def refuse(self, reason: str) -> None:
        """Count an arrival that was refused: `disk`, `database`, `shutdown`, or one of RejectedReason."""

    @property
    @abstractmethod
    def draining(self) -> bool:
        """Whether the engine is shutting down."""

    def close(self) -> None:
        """Let go of the worker threads."""
        self._threads.shutdown()

    def land(self) -> FileLanding:
        """Open a landing; raises Busy below the disk watermark, without the database or when draining."""
        try:
            shut_by = self.shut_by()
            if shut_by is not None:
                raise shut_by
            return self._spool.land()
        except Busy as error:
            self._count(error)
            raise

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

    def _count(self, error: Rejected | Busy) -> None:
        if isinstance(error, Rejected):
            self.refuse(error.reason.value)
        elif error.storage_full:
            self.refuse("disk")
        else:
            self.refuse("shutdown" if self.draining else "database")

    def _accept(self, arrival: Arrival, landing: FileLanding, wait: Wait) -> Receipt:
        questions = self.questions  # another table may be taken meanwhile
        new = self._make_durable(arrival, landing, questions)
        recorded = wait(self.begin_to_record(arrival.session, new, questions.number))
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

    def _make_durable(self, arrival: Arrival, landing: FileLanding, questions: Questions) -> NewInstance:
        header = part10.inspect(landing.path if landing.held is None else landing.held, questions.keywords)
        for announced, found, what in (
            (arrival.sop_class_uid, header.sop_class_uid, "SOP Class UID"),
            (arrival.sop_instance_uid, header.sop_instance_uid, "SOP Instance UID"),
        ):
            if announced is not None and announced != found:
                raise Rejected(RejectedReason.SOP_MISMATCH, f"the data set's {what} is not the one announced")
        if arrival.study_instance_uid not in (None, header.study_instance_uid):
            raise Rejected(RejectedReason.STUDY_MISMATCH, "the instance is not of the study in the request")
        path = self._spool.keep(landing, arrival.site, header.study_instance_uid, header.sop_instance_uid)
        return NewInstance(
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
