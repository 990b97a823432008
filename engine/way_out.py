"""The contract of a way out: what the engine asks of a destination, and what it lends it.

Channels take it from `engine.channel`, the one door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from pydantic import Field

from engine.model import Acknowledgement, BatchReport, Delivery, History, Payload, Result, Site, Study
from engine.settings import Breaker, Duration, Rate, Retry, Settings
from engine.window import Window


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
class Gathers(Protocol):
    """A destination that sends together what is due at one moment."""

    @property
    def most(self) -> int:
        """How many deliveries may go together; each goes by itself, by `deliver`, where it is 1."""
        ...

    def next_moment(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When what comes now is to go out; None: at once, with what else is there. Pure."""
        ...

    async def deliver_together(
        self, items: Sequence[tuple[Payload, Delivery]], bundle_id: str
    ) -> Acknowledgement:
        """One attempt for all, as `Outbound.deliver`: what it raises is what each of them came to.

        Args:
            items: the oldest first; the same at every attempt but for those that a newer version has
                overtaken, or that were given up.
            bundle_id: stays the same over all attempts.
        """
        ...


@runtime_checkable
class HoldsKeys(Protocol):
    """A destination that signs with private keys; the engine publishes their public parts."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """A JWK (RFC 7517) for each key, without private members. Reads files; runs in a worker thread.

        Raises TryAgain when a key cannot be used.
        """
        ...


@runtime_checkable
class Keeps(Protocol):
    """A destination that is the engine itself: what it is given lies there until a program fetches it."""

    @property
    def kept_for(self) -> float:
        """Seconds for which a result is offered, counted from when it was made."""
        ...


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
class ExportType:
    """An installed file format of a result; ``EXPORT`` of its module, entry point group ``pons.export``."""

    name: str
    media_type: str
    suffix: str  # with its dot
    export: Callable[[Result], bytes]  # pure: the same result gives the same bytes
    # For a format that tells what it replaces: pure, too; no part where there is nothing to tell.
    render: Callable[[Result, History], Payload] | None = None


Exports = Callable[[Sequence[str]], Sequence[ExportType]]
"""The installed formats with these names, or every one where none is named."""


def no_exports(_names: Sequence[str]) -> Sequence[ExportType]:
    """What is lent where nothing is rendered."""
    return ()


@dataclass(frozen=True, slots=True)
class OutboundContext:
    """What the engine lends an outbound channel."""

    name: str  # its key in the table
    site: Site  # whom it delivers to
    ae_title: str = "PONS"  # our calling AE title
    work: Path | None = None  # a folder for what a rendering must file (large objects)
    links: Links = no_links  # to the files of a result, where the engine has a public address
    exports: Exports = no_exports  # the file formats of a result
    data: Path | None = None  # the data folder, for a destination that is a folder of a way in of this engine


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
class OutboundType:
    """An installed way out; ``CHANNEL`` of its module."""

    name: str
    carries: Literal["result", "study"]
    settings: type[OutboundSettings]
    build: Callable[[Any, OutboundContext], Outbound]


@dataclass(frozen=True, slots=True)
class BatchExportType:
    """An installed file format of the report of a batch; ``EXPORT``, group ``pons.batch_export``."""

    name: str
    media_type: str
    suffix: str  # with its dot
    export: Callable[[BatchReport], bytes]  # pure: the same report gives the same bytes
