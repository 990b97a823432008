"""One store transaction: the parts of a request in, one outcome for each part out (PS3.18 10.5).

Enter: a body in chunks and a multipart parser. Leave: `Stored` or `Failed` for each part, in
order. Once there is room for it, a small part is written, made durable and recorded by one thread in
one go; a large one is written while it arrives, a piece behind. Making parts durable overlaps with the
arrival of the next ones, up to a few. When `receive` is left, by whatever way, nothing is under way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import AsyncIterable, Callable
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import replace
from typing import Any, TypeVar

from channels.inbound import stow_response
from channels.inbound.stow_response import Cause, Failed, Outcome, Stored
from channels.transport.file_meta import HEAD, announced_uids
from channels.transport.multipart import MediaType, MultipartParser, PartBegins, PartData, PartEnds
from engine.channel import InboundContext, Intake, Landing, Place
from engine.errors import Busy, Rejected, RejectedReason
from engine.model import Arrival

logger = logging.getLogger("pons.stow_rs")

T = TypeVar("T")

REASON = {
    RejectedReason.NOT_DICOM: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.TRUNCATED: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.TOO_LARGE: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.INVALID_UID: stow_response.DOES_NOT_MATCH,
    RejectedReason.SOP_MISMATCH: stow_response.DOES_NOT_MATCH,
    RejectedReason.STUDY_MISMATCH: stow_response.DOES_NOT_MATCH,
    RejectedReason.CONFLICT: stow_response.DUPLICATE_INSTANCE,
}
_BATCH = 1 << 20  # bytes gathered before a thread writes them; a smaller instance is one task of one thread
_SMALL = 1 << 14  # bytes; pieces below it are gathered in one buffer
_UNDER_WAY = 8  # instances of one request being made durable while the next one arrives
THREADS = 32  # of a channel, that wait for disk and database on behalf of the loop


class Part:
    """One part on its way into a landing."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.place: Place | None = None
        self.landing: Landing | None = None  # opened with the first bytes that are written
        self.head = b""  # for the UIDs that its file meta announces
        self.failure: Failed | None = None
        self.writing: asyncio.Future[None] | None = None
        self._pending: list[memoryview | bytearray] = []
        self._pending_size = 0

    def gather(self, data: memoryview) -> bool:
        """Keep a piece until it is written; whether there is enough to write now."""
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        if self.failure is not None:
            return False
        if len(data) >= _SMALL:
            self._pending.append(data)
        elif self._pending and isinstance(self._pending[-1], bytearray):
            self._pending[-1] += data
        else:
            self._pending.append(bytearray(data))
        self._pending_size += len(data)
        return self._pending_size >= _BATCH

    def pending(self) -> list[memoryview | bytearray]:
        """What is to be written next, in order; no longer kept here."""
        pending, self._pending, self._pending_size = self._pending, [], 0
        return pending

    def fail(self, failure: Failed) -> None:
        """Nothing of this part is kept."""
        self.failure = failure
        self._pending = []
        self.discard()

    def discard(self) -> None:
        """Let go of the landing and of its place; harmless when repeated."""
        if self.landing is not None:
            self.landing.discard()
        if self.place is not None:
            self.place.leave()


class _Patience:
    """Waits in the threads of one request, until the request is broken off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: set[Future[Any]] = set()
        self._given_up = False

    def __call__(self, future: Future[T], /) -> T:
        with self._lock:
            self._awaited.add(future)
            given_up = self._given_up
        try:
            if given_up:
                future.cancel()
            return future.result()
        finally:
            with self._lock:
                self._awaited.discard(future)

    def give_up(self) -> None:
        """Wait no longer for anything."""
        with self._lock:
            self._given_up = True
            awaited = list(self._awaited)
        for future in awaited:
            future.cancel()


class Transaction:
    """One request: parts in, outcomes out."""

    def __init__(
        self,
        context: InboundContext,
        intake: Intake,
        threads: Executor,
        site: str,
        address: str,
        session: str,
        study: str | None,
    ) -> None:
        self._inbound = context.name
        self._in_flight = context.in_flight
        self._intake = intake
        self._threads = threads
        self._site = site
        self._address = address
        self._session = session
        self._study = study
        self._part: Part | None = None
        self._parts = 0
        self._waits = True  # for room; once that was in vain, not anew with each part until there is some
        self._patience = _Patience()
        self._accepting: set[asyncio.Future[None]] = set()
        self._outcomes: dict[int, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """One for each part, in the order of the parts."""
        return [outcome for _, outcome in sorted(self._outcomes.items())]

    async def receive(self, body: AsyncIterable[bytes], parser: MultipartParser) -> None:
        """Take all parts in; what the body or the parser raises passes through.

        Instances that are durable by then stay so; a part that is not complete is discarded.
        """
        try:
            async for chunk in body:
                for event in parser.feed(chunk):
                    match event:
                        case PartBegins(headers):
                            self._part = await self._begin(headers.get("content-type", "application/dicom"))
                        case PartData(data):
                            await self._take(data)
                        case PartEnds():
                            await self._end()
            parser.close()
        except asyncio.CancelledError:
            self._patience.give_up()
            raise
        finally:
            await self._settle()

    async def _settle(self) -> None:
        """When nothing more comes: wait for what is under way, discard what is not whole."""
        part = self._part
        under_way = {*self._accepting, *((part.writing,) if part is not None and part.writing else ())}
        if under_way:
            await asyncio.wait(under_way)
        if part is not None:
            part.discard()

    async def _begin(self, content_type: str) -> Part:
        part = Part(self._parts)
        self._parts += 1
        essence = MediaType.parse(content_type).essence
        if essence.startswith("multipart/"):
            message = "a multipart body inside a part is not supported"
            part.fail(Failed(stow_response.CANNOT_UNDERSTAND, message, Cause.NESTED))
        elif essence != "application/dicom":
            message = "a part is not of type application/dicom"
            part.fail(Failed(stow_response.CANNOT_UNDERSTAND, message, Cause.MEDIA_TYPE))
        else:
            try:
                part.place = await self._in_flight.take_soon(self._site, patient=self._waits)
                self._waits = True
            except Busy as error:
                self._waits = False
                part.fail(self._failure(error))
        return part

    async def _take(self, data: memoryview) -> None:
        part = self._part
        assert part is not None
        if part.gather(data):
            if part.writing is not None:
                await part.writing
            part.writing = self._run(self._write, part, part.pending())

    async def _end(self) -> None:
        part = self._part
        assert part is not None
        if part.writing is not None:
            await part.writing
        self._part = None
        if part.failure is not None:
            self._outcomes[part.index] = _identified(part.failure, part.head)
            return
        accepting = self._run(self._accept, part, part.pending())
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)
        while len(self._accepting) >= _UNDER_WAY:
            await asyncio.wait(self._accepting, return_when=asyncio.FIRST_COMPLETED)

    def _run(
        self, work: Callable[[Part, list[memoryview | bytearray]], None], part: Part, content: list[Any]
    ) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work, part, content)

    # In a thread, one at a time for each part.

    def _write(self, part: Part, content: list[memoryview | bytearray]) -> None:
        if part.failure is not None:
            return
        try:
            if part.landing is None:
                part.landing = self._intake.land()
                if part.place is not None:
                    part.place.holds(part.landing)
            for piece in content:
                part.landing.write(piece)
        except Exception as error:
            part.fail(self._failure(error))

    def _accept(self, part: Part, content: list[memoryview | bytearray]) -> None:
        self._write(part, content)
        outcome: Outcome
        if part.failure is not None:
            outcome = _identified(part.failure, part.head)
        else:
            assert part.landing is not None
            arrival = Arrival(
                site=self._site,
                inbound=self._inbound,
                session=self._session,
                landing=part.landing,
                remote_address=self._address,
                study_instance_uid=self._study,
            )
            try:
                receipt = self._intake.accept_now(arrival, self._patience)
                outcome = Stored(receipt.sop_class_uid, receipt.sop_instance_uid)
            except CancelledError:
                return  # the request is broken off: there is nobody to tell
            except Exception as error:
                outcome = _identified(self._failure(error), part.head)
            finally:
                part.discard()
        self._outcomes[part.index] = outcome

    def _failure(self, error: Exception) -> Failed:
        if isinstance(error, Rejected):
            cause = Cause.TOO_LARGE if error.reason is RejectedReason.TOO_LARGE else Cause.CONTENT
            return Failed(REASON[error.reason], str(error), cause)
        if isinstance(error, Busy):
            cause = Cause.STORAGE_FULL if error.storage_full else Cause.BUSY
            return Failed(stow_response.OUT_OF_RESOURCES, str(error), cause)
        where = traceback.extract_tb(error.__traceback__)[-1]
        facts = {"inbound": self._inbound, "error": type(error).__name__}
        logger.error(
            "defect: instance not stored",
            extra={"pons": {**facts, "where": f"{where.filename}:{where.lineno}"}},
        )
        return Failed(stow_response.PROCESSING_FAILURE, "internal error, see the engine's log", Cause.DEFECT)


def _identified(failure: Failed, head: bytes) -> Failed:
    """With the UIDs that the part's own file meta announces."""
    sop_class_uid, sop_instance_uid = announced_uids(head)
    return replace(failure, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
