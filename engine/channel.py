"""The contract between the engine and its channels: the one door that channels import.

A channel's life. At start the engine reads ``CHANNEL`` from the entry points ``pons.inbound`` and
``pons.outbound``, validates the block of the table against its ``settings`` model, and builds the
channel once; again when another table is taken in which that block is another. An *inbound* channel that
owns a socket is entered (`listening`): when `__aenter__` returns the socket is bound, when `__aexit__`
returns it is quiet. One that lives in the ASGI app hands over its `routes` once. For each instance it
asks the intake for a landing, writes the bytes as they come, and calls `accept`; only when that returns
may it answer success. When the association or request ends it calls `leave`, always. An *outbound*
channel is asked to `render` once per delivery, and to `deliver` those bytes until one attempt is
acknowledged or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from engine.bearer import SCOPES, Grant, NoTokens, TokenRefused, TokenVerifier
from engine.commitment_desk import CommitmentDesk
from engine.errors import UnknownPeer
from engine.in_flight import InFlight, Place
from engine.listening_sockets import bound
from engine.model import (
    Acknowledgement,
    Arrival,
    BatchReport,
    CommitmentReport,
    CommitmentRequest,
    Delivery,
    History,
    OwedReport,
    Payload,
    Receipt,
    Report,
    Result,
    Site,
    Study,
)
from engine.order_desk import OrderDesk
from engine.sender import Candidate, Listener, Openable, Outcome, Sender, SenderType, Told
from engine.settings import (
    AETitle,
    Breaker,
    Duration,
    HostPort,
    Port,
    Rate,
    Retry,
    Secret,
    Settings,
    Size,
    Tls,
)
from engine.window import Window

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

__all__ = [
    "SCOPES",
    "AETitle",
    "BatchExportType",
    "Breaker",
    "Candidate",
    "Cautious",
    "CommitmentDesk",
    "CommitmentReport",
    "CommitmentRequest",
    "Commits",
    "Duration",
    "ExportType",
    "Grant",
    "HoldsKeys",
    "HostPort",
    "InFlight",
    "Inbound",
    "InboundContext",
    "InboundType",
    "Inquisitive",
    "Intake",
    "Job",
    "Landing",
    "Link",
    "Links",
    "Listener",
    "Measures",
    "Mounted",
    "Openable",
    "OrderDesk",
    "Outbound",
    "OutboundContext",
    "OutboundSettings",
    "OutboundType",
    "Outcome",
    "OwedReport",
    "Place",
    "Port",
    "Processor",
    "ProcessorContext",
    "ProcessorType",
    "Rate",
    "Retires",
    "Retry",
    "Secret",
    "Sender",
    "SenderType",
    "Settings",
    "SiteDirectory",
    "Size",
    "Tls",
    "TokenRefused",
    "TokenVerifier",
    "Told",
    "UnknownPeer",
    "Wait",
    "Window",
]

T = TypeVar("T")


class Wait(Protocol):
    """Waits for a result in a thread."""

    def __call__(self, future: Future[T], /) -> T:
        """The result; raises what the work raised, or CancelledError."""
        ...


class Landing(Protocol):
    """One instance on its way to disk: a DICOM Part 10 file nobody else can see yet.

    `write` and `discard` block shortly (page cache) and may be called from any one thread.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; raises Rejected(TOO_LARGE) past the limit and Busy when the disk is full."""
        ...

    def discard(self) -> None:
        """Forget the bytes; harmless after `accept` and when repeated."""
        ...


class Intake(Protocol):
    """The engine's side of every way in."""

    def land(self) -> Landing:
        """Open a landing, from any thread; raises Busy below the disk watermark or when draining."""
        ...

    async def accept(self, arrival: Arrival) -> Receipt:
        """Make an arrival durable and record it.

        Returns only after the bytes are synced, named and their directory synced, and the record
        is committed. Raises Rejected or Busy, and then nothing of the arrival is kept.
        """
        ...

    def accept_now(self, arrival: Arrival, wait: Wait = Future.result) -> Receipt:
        """`accept` for a channel that has a thread for each peer: it blocks that thread, and no other.

        Args:
            wait: waits for what takes long, and may give up by cancelling it.
        """
        ...

    def leave(self, session: str) -> None:
        """The association or request is over; from any thread, harmless when repeated."""
        ...

    def turned_away(
        self, inbound: str, unknown: str, remote_address: str, calling_ae_title: str, called_ae_title: str
    ) -> None:
        """A peer was rejected for what it is, not for what it sent; counted and audited.

        From any thread; returns at once. ``unknown`` is `UnknownPeer.what`, `called_ae_title`, `token`, or
        `site` where the peer is a site that this channel does not serve. Titles are empty where there are
        none.
        """
        ...

    commitments: CommitmentDesk
    """Where storage commitments are asked for and reported (PS3.4 J)."""

    @property
    def orders(self) -> OrderDesk:
        """Where orders are given, looked at, changed and cancelled."""
        ...


class SiteDirectory(Protocol):
    """Who is who: the sites of the table, by what a peer shows of itself."""

    def identify(self, address: str, calling_ae_title: str | None = None) -> Site:
        """The one site this peer can be.

        Args:
            address: the peer's IP address as the socket saw it.
            calling_ae_title: None where the protocol has none (HTTP).

        Raises:
            UnknownPeer: ``what`` is "address" when no site has it, "calling_ae_title" when no
                site at this address has the title, "ambiguous" when several sites share the
                address and nothing tells them apart.
        """
        ...

    def get(self, key: str) -> Site:
        """The site with this key; KeyError when there is none."""
        ...


class Inbound(Protocol):
    """A way in that owns a socket or a poll."""

    def listening(self, intake: Intake) -> AbstractAsyncContextManager[None]:
        """Entered: bound and serving. Left: no new work is taken and what ran has ended."""
        ...


@runtime_checkable
class Retires(Protocol):
    """A way in that can stop taking connections and serve those it has to their end."""

    async def retire(self) -> None:
        """A table is taken that has this channel no longer, or with other settings.

        Called once at most, while it listens. Takes nothing new from now on; returns when the last of
        those that are open has ended by itself, and is cancelled when the engine stops first. The channel
        is left afterwards, as ever. One that cannot do this is left at once.
        """
        ...


@runtime_checkable
class Measures(Protocol):
    """A way in that counts what it does."""

    def measured(self) -> Mapping[str, float]:
        """Samples for `/metrics`, by name with labels; none tells of a patient.

        Called from the event loop at any time; returns at once.
        """
        ...


@runtime_checkable
class Mounted(Protocol):
    """A way in that lives in the engine's one ASGI app."""

    def routes(self, intake: Intake) -> Sequence[BaseRoute]:
        """Routes to mount; called once, before any of them is served. Requests under way outlive them."""
        ...


class Outbound(Protocol):
    """A destination."""

    def render(self, subject: Result | Study, history: History) -> Payload:
        """Pure; called once per delivery, at its first claim. Runs in a worker thread.

        ``subject`` is a Result where the type carries results, a Study where it carries studies.
        """
        ...

    async def deliver(self, payload: Payload, delivery: Delivery) -> Acknowledgement:
        """One attempt. Returning promises that the peer has answered for the whole payload.

        Where the peer also has to commit to it (``delivery.transaction_uid`` is not empty), it promises
        that the peer was asked to: the acknowledgement says whether the report is still to come. Parts in
        ``delivery.stored`` are at the peer already and need not be sent again.
        Raises TryAgain or Refused; must respect its own timeout and survive cancellation.
        """
        ...

    async def probe(self) -> None:
        """Ask the peer for a sign of life without sending patient data (C-ECHO, GET, TCP)."""
        ...


@runtime_checkable
class Cautious(Protocol):
    """A destination that knows what it cannot carry as it is."""

    def cautions(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """What would reach the peer otherwise than meant: where in the settings, and what becomes of it.

        Asked by `pons check`; pure.
        """
        ...


@runtime_checkable
class Inquisitive(Protocol):
    """A destination that can ask its peer what that would not take."""

    async def inquire(self) -> Iterable[str]:
        """What the peer would not take, a sentence each with the consequence; no patient data is sent.

        Asked by `pons check --online`, after `probe`. Raises as `probe` does.
        """
        ...


@runtime_checkable
class Commits(Protocol):
    """A destination that asks its peer to commit to what it has stored (PS3.4 J.3)."""

    @property
    def commitment_timeout(self) -> float | None:
        """Seconds to wait for the peer's report; None when it is not asked to commit."""
        ...


@runtime_checkable
class HoldsKeys(Protocol):
    """A destination that signs with private keys; the engine publishes their public parts."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """A JWK (RFC 7517) for each key, without private members. Reads files; runs in a worker thread.

        Raises TryAgain when a key cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class InboundContext:
    """What the engine lends an inbound channel."""

    name: str  # its key in the table
    sites: SiteDirectory  # always of the table that runs
    max_instance_bytes: int
    bind: Callable[[str, int], socket] = bound
    """A listening, non-blocking socket at an IP address and port, the channel's to close.

    Where the channel that this one takes the place of still listens, it is a duplicate of that one's socket.
    OSError when the address cannot be bound. Safe in any thread.
    """
    in_flight: InFlight = field(default_factory=InFlight)
    """Where a place is taken before a landing, and left once the instance is recorded or discarded."""
    processes: int = 1
    """How many processes serve this channel: each keeps its part of what the settings limit."""
    tokens: TokenVerifier = field(default_factory=NoTokens)
    """Who checks access tokens (RFC 6750), where a channel takes them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A signed address at which the engine hands out one file of a result, for a time."""

    name: str
    media_type: str
    url: str
    expires: datetime
    sha256: str = ""  # empty where the file is made when it is asked for


Links = Callable[[Result, datetime], Sequence[Link]]
"""Makes the links to everything of a result, valid until a moment; pure, and safe in any thread."""


def no_links(_result: Result, _expires: datetime) -> Sequence[Link]:
    """What an engine without a public address lends."""
    return ()


@dataclass(frozen=True, slots=True)
class OutboundContext:
    """What the engine lends an outbound channel."""

    name: str  # its key in the table
    site: Site  # whom it delivers to
    ae_title: str = "PONS"  # our calling AE title
    work: Path | None = None  # a folder for what a rendering must file (large objects)
    links: Links = no_links  # to the files of a result, where the engine has a public address


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What the engine lends a processor."""

    name: str
    base: Path  # the table's folder: relative paths in its settings start here


class OutboundSettings(Settings):
    """The fields every destination has."""

    site: str = Field(examples=["st-marys"])
    """Key of the site that receives; a result never goes to a destination of another site."""
    timeout: Duration = 30.0
    """How long an answer may take before the outcome counts as unknown."""
    retry: Retry = Retry()
    """Backoff between attempts and the age at which to give up."""
    concurrency: int = Field(4, ge=1, le=256)
    """Deliveries under way at once to this destination."""
    rate: Rate | None = None
    """How many deliveries may begin in a time, for example 10/s or 600/h; no limit when absent."""
    breaker: Breaker = Breaker()
    """When the destination counts as down and is only probed."""
    maintenance: tuple[Window, ...] = Field((), examples=[["daily 01:00-02:30", "sun 22:00-04:00"]])
    """When it takes nothing, in its site's time: `daily 01:00-02:30`, `sun 22:00-04:00`."""
    order: Literal["study", "patient", "result", "destination"] = "study"
    """What keeps its order: all of one study, of one patient, versions of one result only, or everything."""


@dataclass(frozen=True, slots=True)
class InboundType:
    """An installed way in; ``CHANNEL`` of its module."""

    name: str
    settings: type[Settings]
    build: Callable[[Any, InboundContext], Inbound | Mounted]
    processes: bool = False
    """Whether several processes may each have this channel at once, on the one socket that it binds by
    `InboundContext.bind`; its type, its settings and what it builds are then of modules, not of functions."""


@dataclass(frozen=True, slots=True)
class OutboundType:
    """An installed way out; ``CHANNEL`` of its module."""

    name: str
    carries: Literal["result", "study"]
    settings: type[OutboundSettings]
    build: Callable[[Any, OutboundContext], Outbound]


@dataclass(frozen=True, slots=True)
class ExportType:
    """An installed file format of a result; ``EXPORT`` of its module, entry point group ``pons.export``."""

    name: str
    media_type: str
    suffix: str  # with its dot
    export: Callable[[Result], bytes]  # pure: the same result gives the same bytes


@dataclass(frozen=True, slots=True)
class BatchExportType:
    """An installed file format of the report of a batch; ``EXPORT``, group ``pons.batch_export``."""

    name: str
    media_type: str
    suffix: str  # with its dot
    export: Callable[[BatchReport], bytes]  # pure: the same report gives the same bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a processor on one study revision.

    ``in_dir`` holds `<series>/<sop>.dcm`, ``out_dir`` is empty and the processor's to fill.
    """

    job_id: str
    in_dir: Path
    out_dir: Path
    study: Study
    attempt: int = 1


class Processor(Protocol):
    """Turns a study revision into a report."""

    async def process(self, job: Job) -> Report:
        """Run once. Artefacts named in the report are files in ``job.out_dir``.

        Raises TryAgain (run me again later) or ProcessorFailed (a failure report is made).
        """
        ...


@dataclass(frozen=True, slots=True)
class ProcessorType:
    """An installed processor; ``PROCESSOR`` of its module, entry point group ``pons.processor``."""

    name: str
    settings: type[Settings]
    build: Callable[[Any, ProcessorContext], Processor]
