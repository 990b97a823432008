"""One store transaction: the parts of a request in, one outcome for each part out (PS3.18 10.5).

Enter: a body in chunks and a multipart parser. Leave: `Stored` or `Failed` for each part, in
order. A part goes into its landing while it arrives; making it durable overlaps with the arrival
of the next ones, up to a few. When `receive` is left, by whatever way, nothing is under way.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterable
from dataclasses import replace

from channels.inbound import stow_response
from channels.inbound.stow_response import Cause, Failed, Outcome, Stored
from channels.transport.file_meta import HEAD, announced_uids
from channels.transport.multipart import MediaType, MultipartParser, PartBegins, PartData, PartEnds
from engine.channel import Intake, Landing
from engine.errors import Busy, Rejected, RejectedReason
from engine.model import Arrival

logger = logging.getLogger("pons.stow_rs")

REASON = {
    RejectedReason.NOT_DICOM: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.TRUNCATED: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.TOO_LARGE: stow_response.CANNOT_UNDERSTAND,
    RejectedReason.INVALID_UID: stow_response.DOES_NOT_MATCH,
    RejectedReason.SOP_MISMATCH: stow_response.DOES_NOT_MATCH,
    RejectedReason.STUDY_MISMATCH: stow_response.DOES_NOT_MATCH,
    RejectedReason.CONFLICT: stow_response.DUPLICATE_INSTANCE,
}
_BATCH = 1 << 20  # bytes gathered before they are written by a worker thread
_ACCEPTING = 8  # instances of one request being made durable while the next one arrives


class Part:
    """One part on its way into a landing."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.landing: Landing | None = None
        self.head = b""  # for the UIDs that its file meta announces
        self.failure: Failed | None = None
        self.pending: list[bytes] = []
        self.pending_size = 0

    def fail(self, failure: Failed) -> None:
        """Nothing of this part is kept."""
        self.failure = failure
        self.pending = []
        if self.landing is not None:
            self.landing.discard()


class Transaction:
    """One request: parts in, outcomes out."""

    def __init__(
        self, inbound: str, intake: Intake, site: str, address: str, session: str, study: str | None
    ) -> None:
        self._inbound = inbound
        self._intake = intake
        self._site = site
        self._address = address
        self._session = session
        self._study = study
        self._part: Part | None = None
        self._parts = 0
        self._accepting: set[asyncio.Task[None]] = set()
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
                            self._part = self._begin(headers.get("content-type", "application/dicom"))
                        case PartData(data):
                            await self._take(data)
                        case PartEnds():
                            await self._end()
            parser.close()
        finally:
            if self._part is not None and self._part.landing is not None:
                self._part.landing.discard()
            if self._accepting:
                await asyncio.wait(self._accepting)

    def _begin(self, content_type: str) -> Part:
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
                part.landing = self._intake.land()
            except Exception as error:
                part.fail(self._failure(error))
        return part

    async def _take(self, data: bytes) -> None:
        part = self._part
        assert part is not None
        if len(part.head) < HEAD:
            part.head += data[: HEAD - len(part.head)]
        if part.failure is None:
            part.pending.append(data)
            part.pending_size += len(data)
            if part.pending_size >= _BATCH:
                await self._flush(part)

    async def _flush(self, part: Part) -> None:
        assert part.landing is not None
        content, part.pending, part.pending_size = b"".join(part.pending), [], 0
        try:
            await asyncio.to_thread(part.landing.write, content)
        except Exception as error:
            part.fail(self._failure(error))

    async def _end(self) -> None:
        part = self._part
        assert part is not None
        if part.failure is None:
            await self._flush(part)
        self._part = None
        if part.failure is not None:
            self._outcomes[part.index] = _identified(part.failure, part.head)
            return
        task = asyncio.create_task(self._accept(part))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        while len(self._accepting) >= _ACCEPTING:
            await asyncio.wait(self._accepting, return_when=asyncio.FIRST_COMPLETED)

    async def _accept(self, part: Part) -> None:
        assert part.landing is not None
        arrival = Arrival(
            site=self._site,
            inbound=self._inbound,
            session=self._session,
            landing=part.landing,
            remote_address=self._address,
            study_instance_uid=self._study,
        )
        outcome: Outcome
        try:
            receipt = await self._intake.accept(arrival)
            outcome = Stored(receipt.sop_class_uid, receipt.sop_instance_uid)
        except Exception as error:
            outcome = _identified(self._failure(error), part.head)
        finally:
            part.landing.discard()
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
