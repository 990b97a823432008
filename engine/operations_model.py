"""The facts of how an engine fares, for those who look after it: values, without tables or storage.

Times are aware. Nothing here tells of a patient; a Study Instance UID names the study and nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from engine.errors import PonsError

Sites = Collection[str] | None
"""The sites that somebody may see; None for every one."""


class OperationRefusedReason(StrEnum):
    """Why something is not done."""

    NOT_FOUND = "not_found"  # not here, or of another site: 404
    INVALID = "invalid"  # what was asked for cannot be: 422
    CHANGED = "changed"  # it is not as it was when it was looked at: 409
    REFUSED = "refused"  # something speaks against it: 409


class OperationRefused(PonsError):
    """Nothing was changed; the message says why and what to do, without patient data."""

    def __init__(self, reason: OperationRefusedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# ── the overview ────────────────────────────────────────────────────────────────────────────────


class Care(StrEnum):
    """What needs somebody's attention."""

    HOLDS = "holds"  # studies wait for a person
    DEAD_LETTERS = "dead_letters"  # deliveries gave up
    PAUSED = "paused"  # a destination was paused by hand, or by the engine
    CIRCUIT = "circuit"  # a destination counts as down
    TUNNEL = "tunnel"  # a site's tunnel is silent
    SILENT = "silent"  # a site that used to send has sent nothing for long
    ENGINE = "engine"  # disk, database, a table that was refused


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing to look at."""

    care: Care
    text: str  # a sentence, without the name of what it is about
    name: str = ""  # key of the site or destination that it is about
    site: str = ""  # whose affair it is; empty where it is everybody's
    urgent: bool = False  # something is refused, lost to its reader, or will be


@dataclass(frozen=True, slots=True)
class Hour:
    """What went through in one hour."""

    begins: datetime
    studies: int  # orders that began: every study has one
    delivered: int
    died: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened."""

    at: datetime
    what: str  # received | stable | decided | held | processed | queued | attempt | delivered | dead | …
    text: str
    site: str = ""
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """How an engine stands at a moment, for the sites that somebody may see."""

    as_of: datetime
    day: Mapping[str, int]  # orders of the last 24 hours by state (`OrderState`)
    queued: int  # deliveries about to go out, or tried again
    retrying: int  # of these, those that were tried already
    waiting: int  # deliveries that wait for something else first
    dead: int
    held: int  # holds that nobody has answered
    hours: tuple[Hour, ...]  # the last 24, the oldest first
    recent: tuple[Happening, ...]  # the latest first
    attention: tuple[Attention, ...]  # the urgent ones first


# ── sites and destinations ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TunnelStanding:
    """A site's tunnel, as `pons tunnel watch` wrote it down last."""

    address: str
    alive: bool | None  # None: nothing was written down lately
    last_handshake: datetime | None
    received: int  # bytes
    sent: int


@dataclass(frozen=True, slots=True)
class SiteStanding:
    """One site of the table, and how it fares."""

    site: str
    name: str
    timezone: str
    addresses: tuple[str, ...]
    ae_titles: tuple[str, ...]
    last_study_at: datetime | None  # when its latest order began
    silent: bool  # it used to send, and has sent nothing for long
    held: int
    queued: int
    waiting: int
    dead: int
    tunnel: TunnelStanding | None


@dataclass(frozen=True, slots=True)
class DestinationStanding:
    """One way out, and what is in its way."""

    destination: str
    type: str  # empty where the table has no such destination any more
    carries: str  # study | result
    site: str
    where: str  # host, port and AE title, or address; never a secret
    state: str  # open | paused | breaker | maintenance | unknown
    why: str
    queued: int
    waiting: int
    dead: int
    oldest_at: datetime | None  # since when the oldest waits that has not gone out
    last_acknowledged_at: datetime | None
    rate: str  # what limits it, in words; empty without a limit
    maintenance: tuple[str, ...]  # its windows, in words


# ── the trail ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TrailQuery:
    """Which events of the audit trail, the latest first."""

    action: str | None = None
    actor: str | None = None  # a part of it
    subject: str | None = None  # a part of it
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    before: int | None = None  # `TrailPage.next` of the page before


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """Something that was done."""

    event_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some events, the latest first."""

    events: tuple[TrailEvent, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class TrailProof:
    """Whether the trail is whole."""

    events: int
    broken_at: int | None  # the first event that does not fit; None when all do
