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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.bearer import SCOPES, Grant, TokenRefused, TokenVerifier
from engine.client_register import (
    ClientRefused,
    ClientRefusedReason,
    ClientRegister,
    RegisteredClient,
    SecretIssued,
)
from engine.commitment_desk import CommitmentDesk
from engine.delivery_model import (
    ActionPlan,
    DeliveryDetails,
    DeliveryPage,
    DeliveryQuery,
    DeliveryRow,
    HeldRow,
    Message,
    MessageLine,
    MessagePart,
    PlannedStep,
    ReplayQuery,
    Try,
)
from engine.errors import UnknownPeer
from engine.in_flight import InFlight, Place
from engine.model import CommitmentReport, CommitmentRequest, OwedReport, Report, Study
from engine.operations_desk import OperationsDesk
from engine.operations_model import (
    Attention,
    Care,
    DestinationStanding,
    Happening,
    Hour,
    OperationRefused,
    OperationRefusedReason,
    Overview,
    SiteStanding,
    TrailEvent,
    TrailPage,
    TrailProof,
    TrailQuery,
    TunnelStanding,
)
from engine.order_desk import OrderDesk
from engine.package.instances import Package
from engine.package.limits import PackageLimits
from engine.people_desk import Enrolment, Invitation, OutsideSignIn, PeopleDesk
from engine.person import (
    Issued,
    Membership,
    Person,
    PersonState,
    Role,
    Session,
    SignInRefused,
    SignInRefusedReason,
    Stage,
)
from engine.result_shelf import HandedOut, ResultShelf
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
from engine.table_model import (
    EngineStanding,
    Explained,
    ExplainedRoute,
    RouteRow,
    TableApplied,
    TableChange,
    TableInForce,
    TableProposal,
    ToldLine,
)
from engine.way_in import (
    Inbound,
    InboundContext,
    InboundType,
    Intake,
    Landing,
    Measures,
    Mounted,
    Retires,
    SiteDirectory,
    Wait,
)
from engine.way_out import (
    BatchExportType,
    Cautious,
    Commits,
    Exports,
    ExportType,
    Gathers,
    HoldsKeys,
    Inquisitive,
    Keeps,
    Link,
    Links,
    Outbound,
    OutboundContext,
    OutboundSettings,
    OutboundType,
    no_exports,
    no_links,
)
from engine.window import Window

__all__ = [
    "SCOPES",
    "AETitle",
    "ActionPlan",
    "Attention",
    "BatchExportType",
    "Breaker",
    "Candidate",
    "Care",
    "Cautious",
    "ClientRefused",
    "ClientRefusedReason",
    "ClientRegister",
    "CommitmentDesk",
    "CommitmentReport",
    "CommitmentRequest",
    "Commits",
    "DeliveryDetails",
    "DeliveryPage",
    "DeliveryQuery",
    "DeliveryRow",
    "DestinationStanding",
    "Duration",
    "EngineStanding",
    "Enrolment",
    "Explained",
    "ExplainedRoute",
    "ExportType",
    "Exports",
    "Gathers",
    "Grant",
    "HandedOut",
    "Happening",
    "HeldRow",
    "HoldsKeys",
    "HostPort",
    "Hour",
    "InFlight",
    "Inbound",
    "InboundContext",
    "InboundType",
    "Inquisitive",
    "Intake",
    "Invitation",
    "Issued",
    "Job",
    "Keeps",
    "Landing",
    "Link",
    "Links",
    "Listener",
    "Measures",
    "Membership",
    "Message",
    "MessageLine",
    "MessagePart",
    "Mounted",
    "Openable",
    "OperationRefused",
    "OperationRefusedReason",
    "OperationsDesk",
    "OrderDesk",
    "Outbound",
    "OutboundContext",
    "OutboundSettings",
    "OutboundType",
    "Outcome",
    "OutsideSignIn",
    "Overview",
    "OwedReport",
    "Package",
    "PackageLimits",
    "PeopleDesk",
    "Person",
    "PersonState",
    "Place",
    "PlannedStep",
    "Port",
    "Processor",
    "ProcessorContext",
    "ProcessorType",
    "Rate",
    "RegisteredClient",
    "ReplayQuery",
    "ResultShelf",
    "Retires",
    "Retry",
    "Role",
    "RouteRow",
    "Secret",
    "SecretIssued",
    "Sender",
    "SenderType",
    "Session",
    "Settings",
    "SignInRefused",
    "SignInRefusedReason",
    "SiteDirectory",
    "SiteStanding",
    "Size",
    "Stage",
    "TableApplied",
    "TableChange",
    "TableInForce",
    "TableProposal",
    "Tls",
    "TokenRefused",
    "TokenVerifier",
    "Told",
    "ToldLine",
    "TrailEvent",
    "TrailPage",
    "TrailProof",
    "TrailQuery",
    "Try",
    "TunnelStanding",
    "UnknownPeer",
    "Wait",
    "Window",
    "no_exports",
    "no_links",
    "open_package",
]


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What the engine lends a processor."""

    name: str
    base: Path  # the table's folder: relative paths in its settings start here


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


def open_package(path: Path | Sequence[Path], limits: PackageLimits, max_instance: int) -> Package:
    """What was uploaded: one study's instances and its order's metadata; see `engine.package.opening`."""
    from engine.package.opening import open_package as opened  # late: commands and checks open none

    return opened(path, limits, max_instance)
