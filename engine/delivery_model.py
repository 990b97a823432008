"""The facts of deliveries, of what they send and of what waits for a person, for who looks after an engine.

Only the lines of a `Message` that was asked for revealed tell of a patient. Times are aware.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.operations_model import Sites


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries; every part that is given must hold. The latest first."""

    sites: Sites = None
    site: str | None = None
    destination: str | None = None
    states: tuple[str, ...] = ()
    search: str | None = None  # a delivery's id, a Study Instance UID or an accession number, whole
    limit: int = 50
    before: int | None = None  # `DeliveryPage.next` of the page before


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery."""

    delivery_id: str
    site: str
    study_instance_uid: str
    study_revision: int
    result_id: str | None  # None: the study itself
    destination: str
    status: str  # of the result; `study` for a study
    state: str  # queued | waiting | delivered | dead | superseded | discarded | cancelled
    attempts: int
    waits: str  # why it has not gone out
    next_at: datetime | None  # when it is tried next, where that is known
    reason: str  # the latest answer or error
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, the latest first."""

    rows: tuple[DeliveryRow, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of a delivery."""

    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str  # unknown | delivered | again | refused | stored
    code: str
    detail: str
    warning: str


@dataclass(frozen=True, slots=True)
class MessagePart:
    """One piece of what a delivery sends, as the receiver knows it."""

    number: int  # from 0
    identifier: str
    media_type: str
    size: int | None  # bytes; None where the file is gone


@dataclass(frozen=True, slots=True)
class DeliveryDetails:
    """A delivery with all that there is of it."""

    row: DeliveryRow
    after: tuple[str, ...]  # destinations that must have acknowledged before
    tries: tuple[Try, ...]
    parts: tuple[MessagePart, ...]  # empty until it is rendered at its first claim
    parts_in_all: int  # a forwarded study has thousands: `parts` are the first


@dataclass(frozen=True, slots=True)
class MessageLine:
    """One line of a message: a segment, an element, a line of JSON or text."""

    value: str
    name: str = ""  # `PID`, `(0010,0010) PN PatientName`; empty where the value says it
    depth: int = 0
    shielded: bool = False  # something of it is not shown


@dataclass(frozen=True, slots=True)
class Message:
    """What a delivery sends, as text."""

    row: DeliveryRow
    part: MessagePart
    form: Literal["hl7", "json", "dicom", "text", "none"]  # none: not text, so nothing is shown of it
    lines: tuple[MessageLine, ...]
    shielded: bool  # whether anything is not shown that revealing would show
    cut: bool = False  # there is more than is shown


# ── what waits for a person, and having things done again ───────────────────────────────────────


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One hold."""

    hold_id: int
    site: str
    study_instance_uid: str
    revision: int
    reason: str
    held_at: datetime
    released_at: datetime | None


Begin = Literal["assemble", "route", "process", "deliver"]
"""Where it begins again: a new revision, the table of now, the decision that was, the same bytes."""


@dataclass(frozen=True, slots=True)
class ReplayQuery:
    """What is to be done again; every part that is given must hold, and one must be given."""

    begin: Begin
    sites: Sites = None
    ids: tuple[str, ...] = ()  # of deliveries, else Study Instance UIDs
    study: str | None = None
    site: str | None = None
    destination: str | None = None
    route: str | None = None
    states: tuple[str, ...] = ()  # with `deliver`, dead letters when neither these nor ids are given
    to: str | None = None  # send it to this destination of the same site instead


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One delivery, study or hold: what happens to it, or why nothing does."""

    id: str
    site: str
    study_instance_uid: str
    destination: str  # empty for a study
    state: str
    effect: str
    left_out: str  # why nothing happens to it


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """What would be done, or was done, step by step."""

    steps: tuple[PlannedStep, ...]

    @property
    def going(self) -> tuple[PlannedStep, ...]:
        """What something happens to."""
        return tuple(step for step in self.steps if not step.left_out)

    @property
    def left_out(self) -> tuple[PlannedStep, ...]:
        """What nothing happens to."""
        return tuple(step for step in self.steps if step.left_out)
