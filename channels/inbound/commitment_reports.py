"""Send the storage commitment reports that we owe, on associations of our own (PS3.4 J.3.3).

Enter: what the desk owes through one listener, and what became of reports that went out on the
requester's association. Leave: N-EVENT-REPORTs to the addresses of the table. A report is owed in the
database until its requester has answered it; here is only what is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

from pydantic import Field

from channels.transport.commitment_scu import report_event
from channels.transport.dimse_status import describe
from channels.transport.upper_layer import Peer
from engine.channel import AETitle, CommitmentDesk, Duration, OwedReport, Port, Settings, Tls
from engine.errors import DatabaseUnavailable, Refused, TryAgain

logger = logging.getLogger("pons.commitment")

_AT_ONCE = 16  # reports under way to all peers together; one to each
_POLL = 2.0  # seconds between two looks at what is owed, when nothing says that there is something
_FRESH = 20.0  # seconds that a claimed report may wait for its turn: the claim must last while it is sent
_SETTLING = 5.0  # seconds at shutdown to record what was answered
_NEVER = frozenset({"0112", "0115"})  # the requester does not know this transaction (any more)


class ReportTo(Settings):
    """Where a requester of storage commitment takes its reports."""

    site: str = Field(examples=["st-marys"])
    """Key of the site it belongs to."""
    ae_title: AETitle
    """The AE title it asks with, one of the site's."""
    host: str = Field(examples=["10.90.7.2"])
    """Its address."""
    port: Port = 104
    """The port it listens on."""
    tls: Tls | None = None
    """TLS towards it."""


class CommitmentSettings(Settings):
    """`commitment:` of a listener: how senders hear that what they sent is safe."""

    report_to: tuple[ReportTo, ...] = ()
    """Who is called back; a requester that is not listed gets its report on its own association only."""
    prefer: Literal["same_association", "new_association"] = "same_association"
    """Report on the association that asked, while the requester keeps it open, or always call back."""
    timeout: Duration = 30.0
    """How long a requester that is called back may take to answer."""


class CommitmentReports:
    """The reports of one listener; lives on the loop, and is told things by the threads of associations."""

    def __init__(self, inbound: str, settings: CommitmentSettings, desk: CommitmentDesk) -> None:
        self._inbound = inbound
        self._settings = settings
        self._desk = desk
        self._peers = {(to.site, to.ae_title): to for to in settings.report_to}
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sending: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._due = asyncio.Event()
        self._resting = False
        self._loop = asyncio.get_running_loop()

    def goes_on_its_own_association(self, site: str, ae_title: str) -> bool:
        """Whether a requester is to be told on the association that it asked on."""
        return self._settings.prefer == "same_association" or (site, ae_title) not in self._peers

    # ── told by the threads of associations ──

    def wake(self) -> None:
        """Something is owed now; from any thread."""
        self._loop.call_soon_threadsafe(self._due.set)

    def answered(self, report: OwedReport, status: int | None) -> None:
        """What became of a report on its requester's association; from any thread."""
        self._loop.call_soon_threadsafe(self._start, self._settling, self._settle(report, status))

    # ── on the loop ──

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Entered: owed reports are being sent. Left: nothing is under way."""
        sender = asyncio.create_task(self._run())
        try:
            yield
        finally:
            if self._settling:
                await asyncio.wait(set(self._settling), timeout=_SETTLING)
            left = {sender, *self._sending, *self._settling}
            for task in left:
                task.cancel()
            await asyncio.wait(left)

    def rest(self) -> None:
        """Begin no report more: what is owed is for the channel that takes our place to send."""
        self._resting = True
        self._due.set()

    def _start(self, group: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        group.add(task)
        task.add_done_callback(group.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseUnavailable:
            return  # it is owed still, and comes due by itself
        except Exception:
            logger.exception("defect: storage commitment report", extra={"pons": {"inbound": self._inbound}})

    async def _run(self) -> None:
        while not self._resting:
            self._due.clear()
            await self._guarded(self._send_what_is_due())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._due.wait()

    async def _send_what_is_due(self) -> None:
        free = _AT_ONCE - len(self._sending)
        if free > 0:
            for report in await self._desk.owed(self._inbound, free):
                self._start(self._sending, self._send(report))

    async def _send(self, report: OwedReport) -> None:
        whose = report.site, report.calling_ae_title
        to = self._peers.get(whose)
        if to is None:
            await self._desk.not_sent(report, self._no_address(report))
            return
        peer = Peer(
            to.host, to.port, to.ae_title, report.called_ae_title, to.tls, timeout=self._settings.timeout
        )
        claimed_at = self._loop.time()
        try:
            async with self._turns[whose]:  # requesters seldom take two associations of one caller
                if self._loop.time() - claimed_at > _FRESH:
                    return
                await report_event(peer, report.report)
        except (TryAgain, Refused) as error:
            again: Literal["later", "never"] = "never" if error.code in _NEVER else "later"
            await self._desk.not_sent(report, str(error), again=again)
        else:
            await self._desk.sent(report)
            self._due.set()  # there may be more than went at once

    async def _settle(self, report: OwedReport, status: int | None) -> None:
        if status == 0:
            await self._desk.sent(report)
        elif (report.site, report.calling_ae_title) in self._peers:
            await self._desk.not_sent(report, "not taken on the association that asked", again="at once")
            self._due.set()
        else:
            why = "the association ended first" if status is None else f"answered with {describe(status)}"
            await self._desk.not_sent(report, f"{why}; {self._no_address(report)}")

    def _no_address(self, report: OwedReport) -> str:
        return (
            f"nowhere to call {report.calling_ae_title} back: add it to"
            f" inbound.{self._inbound}.commitment.report_to"
        )
