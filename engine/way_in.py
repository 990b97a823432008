"""The contract of a way in: what it asks of the engine, and what the engine asks of it.

Channels take it from `engine.channel`, the one door.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from engine.bearer import NoTokens, TokenVerifier
from engine.client_register import ClientRegister
from engine.commitment_desk import CommitmentDesk
from engine.in_flight import InFlight
from engine.listening_sockets import bound
from engine.model import Arrival, Receipt, Site
from engine.operations_desk import OperationsDesk
from engine.order_desk import OrderDesk
from engine.people_desk import PeopleDesk
from engine.result_shelf import EmptyShelf, ResultShelf
from engine.settings import Settings

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

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

        Returns only after bytes and name are synced (in the log or by themselves), and the record
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

        From any thread; returns at once. ``unknown`` is `UnknownPeer.what`, `called_ae_title`, `token`,
        `key`, or `site` where the peer is a site that this channel does not serve. Titles are empty where
        there are none.
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

    def every(self) -> Sequence[Site]:
        """All sites of the table, in its order."""
        ...


@runtime_checkable
class Inbound(Protocol):
    """A way in that owns a socket or a poll; or one of the web app with work of its own between requests."""

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
    data: Path = field(default_factory=Path)
    """The data folder: a channel that keeps files has a folder of its type's name there."""
    results: ResultShelf = field(default_factory=EmptyShelf)
    """Where the files of results are, for a channel that hands them out."""
    public_url: str | None = None
    """Where the one HTTP server is reached from outside, as the table says; None where it says nothing."""
    clients: ClientRegister | None = None
    """Who manages clients of the API, for a channel that does; None where no engine runs behind it."""
    people: PeopleDesk | None = None
    """Who signs people in, for a channel that serves them; None where no engine runs behind the channel."""
    operations: OperationsDesk | None = None
    """Where those ask who look after the engine; None as `people`."""


@dataclass(frozen=True, slots=True)
class InboundType:
    """An installed way in; ``CHANNEL`` of its module."""

    name: str
    settings: type[Settings]
    build: Callable[[Any, InboundContext], Inbound | Mounted]
    processes: bool = False
    """Whether several processes may each have this channel at once, on the one socket that it binds by
    `InboundContext.bind`; its type, its settings and what it builds are then of modules, not of functions."""
