"""The frozen facts that travel through Pons, from an arrival to an acknowledgement.

The *clinical* facts (patient, order, study, finding, result) come from `engine.clinical` and are
passed on here, as are those of orders (`engine.order_model`), so that a channel has one door for
facts. The *working* facts below (arrival, payload, delivery, acknowledgement) stay inside the process
and are plain frozen dataclasses.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType

from engine.clinical import (
    Algorithm,
    Artefact,
    Code,
    Fact,
    Finding,
    Flag,
    InstanceReference,
    Issuer,
    Order,
    Patient,
    PersonName,
    PlanarRegion,
    Range,
    Report,
    Result,
    ResultStatus,
    Roi,
    SegmentReference,
    SpatialRegion,
    StudyReference,
)
from engine.order_model import (
    Batch,
    BatchPage,
    BatchReport,
    BatchRow,
    Cancelled,
    Entries,
    NewBatch,
    NewOrder,
    OrderChange,
    OrderDelivery,
    OrderDetails,
    OrderPage,
    OrderQuery,
    OrderResult,
    OrderState,
    StudyOrder,
    Submitter,
)

if TYPE_CHECKING:
    from engine.channel import Landing

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "Acknowledged",
    "Acknowledgement",
    "Algorithm",
    "Arrival",
    "Artefact",
    "Batch",
    "BatchPage",
    "BatchReport",
    "BatchRow",
    "Cancelled",
    "Code",
    "CommitmentReport",
    "CommitmentRequest",
    "Delivery",
    "DeliveryId",
    "Entries",
    "Fact",
    "Finding",
    "Flag",
    "History",
    "InstanceFacts",
    "InstanceReference",
    "Issuer",
    "NewBatch",
    "NewOrder",
    "Order",
    "OrderChange",
    "OrderDelivery",
    "OrderDetails",
    "OrderPage",
    "OrderQuery",
    "OrderResult",
    "OrderState",
    "OwedReport",
    "Part",
    "Patient",
    "Payload",
    "PersonName",
    "PlanarRegion",
    "Range",
    "Receipt",
    "Report",
    "Result",
    "ResultStatus",
    "Roi",
    "SegmentReference",
    "Site",
    "SpatialRegion",
    "StoredInstance",
    "Study",
    "StudyOrder",
    "StudyReference",
    "Submitter",
    "uid_from",
]

DeliveryId = NewType("DeliveryId", str)


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital (or department) as the table describes it."""

    key: str
    name: str
    timezone: str = "UTC"
    ae_titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # single addresses or CIDR blocks, the tunnel's included
    issuer_of_patient_id: Issuer = field(default_factory=Issuer)
    tunnel: str = ""  # its IPv4 address inside its tunnel
    forwards: tuple[tuple[int, str], ...] = ()  # ports of that address, and what is behind each inside


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance that an inbound channel has received into a landing.

    ``session`` names the association or request it came by: while that is open, its studies are
    not stable. The UIDs are what the sender announced; None where the protocol announces nothing.
    """

    site: str
    inbound: str
    session: str
    landing: Landing
    remote_address: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The engine's word that an instance is durable (bytes synced, record committed)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    duplicate: bool = False  # the same content was here already
    warning: str = ""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What routing may ask of one instance: keyword or `(gggg,eeee)` -> plain value(s)."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance of a study revision, where its bytes are."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Study:
    """A stable study revision: context facts and the facts of each instance."""

    site: str
    study_instance_uid: str
    revision: int
    inbound: str
    calling_ae_title: str
    called_ae_title: str
    received_at: datetime  # site-local, of the last instance
    instances: tuple[InstanceFacts, ...]
    stored: tuple[StoredInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One transmissible piece of a payload, its bytes frozen at rendering.

    ``identifier`` is what the receiver knows it by: SOP Instance UID, MSH-10, webhook-id.
    """

    identifier: str
    media_type: str
    content: bytes | Path
    facts: Mapping[str, str] = field(default_factory=dict)  # sop_class_uid, transfer_syntax_uid, …

    def read(self) -> bytes:
        """The bytes, whether held or filed."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True)
class Payload:
    """What one delivery sends, rendered once and kept; every attempt sends these bytes."""

    parts: tuple[Part, ...]
    summary: str = ""  # for people, without patient data: "SR, 12 findings"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One earlier delivery of the same result lineage that this destination holds, as far as is known.

    ``certain`` is False where no answer came to it and a newer version took its place: it may have
    arrived, so a correction of it is a correction and a retraction must take it back too.
    """

    delivery_id: DeliveryId
    status: ResultStatus
    revision: int
    identifiers: tuple[str, ...]  # of its parts, in order
    sop_class_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    certain: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """What rendering may know beside the result: the delivery, a clock, the destination's past."""

    delivery_id: DeliveryId
    rendered_at: datetime  # aware; the only clock a renderer sees
    acknowledged: tuple[Acknowledged, ...] = ()
    standing: Result | None = None  # the latest report it acknowledged and was not told to forget

    @property
    def predecessor(self) -> Acknowledged | None:
        """The latest version this destination acknowledged, if any."""
        return self.acknowledged[-1] if self.acknowledged else None

    def uid(self, purpose: str) -> str:
        """A UID (PS3.5 B.2, 2.25) that is the same for every rendering of this delivery."""
        return uid_from(self.delivery_id, purpose)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result (or study) bound for one destination."""

    delivery_id: DeliveryId
    destination: str
    order_key: str
    attempt: int  # 1 for the first try
    created_at: datetime
    transaction_uid: str = ""  # to ask a storage commitment with; another one for each attempt
    stored: frozenset[str] = frozenset()  # parts an earlier attempt stored, by their identifiers


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the peer answered when it took the payload; kept on the attempt."""

    code: str  # "0000", "AA", "201"
    detail: str = ""
    warning: str = ""
    awaits_report: bool = False  # stored, and asked to commit: the delivery waits for the peer's report
    report: CommitmentReport | None = None  # the report, where it came on the same association


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """N-ACTION of the Storage Commitment Push Model (PS3.4 J.3.2), asked of us."""

    site: str
    inbound: str
    calling_ae_title: str
    called_ae_title: str
    transaction_uid: str
    references: tuple[tuple[str, str], ...]  # SOP Class UID, SOP Instance UID


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """N-EVENT-REPORT of a transaction (PS3.4 J.3.3): event type 1 when nothing failed, else 2."""

    transaction_uid: str
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...] = ()  # SOP Class UID, SOP Instance UID, Failure Reason


@dataclass(frozen=True, slots=True)
class OwedReport:
    """A report that an inbound channel has to send, and to whom."""

    request_id: int
    site: str
    calling_ae_title: str  # who asked: the AE that gets the report
    called_ae_title: str  # whom it asked: the AE we report as
    attempt: int
    report: CommitmentReport


_NAMESPACE = uuid.UUID("5b0f6c1e-6f0e-5d0c-9a55-706f6e730001")


def uid_from(*names: str) -> str:
    """Derive a UID from names: the same names always give the same UID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(names)).int}"


IMPLEMENTATION_CLASS_UID = uid_from("pons")
"""Who wrote a file or speaks on an association (PS3.7 D.3.3.2): the implementation, not its release."""
IMPLEMENTATION_VERSION_NAME = "PONS_0_1"
