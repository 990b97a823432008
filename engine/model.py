"""The frozen facts that travel through Pons, from an arrival to an acknowledgement.

Two families. The *clinical* facts (patient, order, study, finding, result) are pydantic models,
because they cross the border of the process: a processor's ``result.json`` is validated against
them and ``pons schema result`` exports them. The *working* facts (arrival, payload, delivery,
acknowledgement) stay inside and are plain frozen dataclasses.

Names are those of DICOM PS3.6 and HL7 v2 wherever one exists.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

if TYPE_CHECKING:
    from engine.channel import Landing

RESULT_SCHEMA = "pons.result/1"

DeliveryId = NewType("DeliveryId", str)


class Fact(BaseModel):
    """A frozen clinical fact; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ── clinical facts ──────────────────────────────────────────────────────────────────────────────


class Code(Fact):
    """A coded concept (PS3.16 / HL7 CWE / FHIR Coding)."""

    value: str = Field(min_length=1, max_length=64)
    scheme: str = Field(min_length=1, max_length=16, description="SCT, LN, DCM, UCUM, RADLEX, 99…")
    meaning: str = Field(min_length=1, max_length=256)


class PersonName(Fact):
    """A person name in its three PS3.5 component groups, each `family^given^middle^prefix^suffix`."""

    alphabetic: str = ""
    ideographic: str = ""
    phonetic: str = ""

    @classmethod
    def parse(cls, value: str) -> PersonName:
        """Split a PN value `a=i=p`; missing groups are empty (PS3.5 6.2.1)."""
        groups = [*value.split("="), "", "", ""][:3]
        return cls(alphabetic=groups[0], ideographic=groups[1], phonetic=groups[2])

    def __str__(self) -> str:
        return "=".join((self.alphabetic, self.ideographic, self.phonetic)).rstrip("=")


class Issuer(Fact):
    """Who issued an identifier: a local namespace, a universal OID, or both (HD / PS3.3 10.14)."""

    namespace: str = ""
    oid: str = ""


class Patient(Fact):
    """Patient identification (PS3.3 C.7.1.1)."""

    patient_id: str = ""
    issuer: Issuer = Issuer()
    name: PersonName = PersonName()
    birth_date: date | None = None
    sex: Literal["M", "F", "O", ""] = ""


class Order(Fact):
    """The imaging service request a study answers; empty strings where the study named none."""

    placer_order_number: str = ""
    filler_order_number: str = ""
    accession_number: str = ""
    issuer_of_accession_number: Issuer = Issuer()
    procedure: Code | None = None
    requester: PersonName = PersonName()


class InstanceReference(Fact):
    """One source SOP Instance of a study revision."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


class StudyReference(Fact):
    """The study revision a result speaks of.

    ``header`` is the DICOM JSON (PS3.18 F) of one representative source instance without its
    pixel data, private and bulk elements: what renderers carry over into the study's hierarchy.
    """

    study_instance_uid: str
    revision: int = 1
    study_id: str = ""
    description: str = ""
    started_at: datetime | None = Field(
        None, description="StudyDate and StudyTime; naive when no zone is known"
    )
    timezone: str = Field("", description="IANA name of the site's time zone")
    modalities: tuple[str, ...] = ()
    instances: tuple[InstanceReference, ...] = ()
    header: dict[str, Any] = Field(default_factory=dict)


class Range(Fact):
    """A reference range, either end open."""

    low: Decimal | None = None
    high: Decimal | None = None


class Flag(StrEnum):
    """Interpretation of a finding (HL7 table 0078)."""

    NORMAL = "N"
    ABNORMAL = "A"
    LOW = "L"
    HIGH = "H"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "code" if isinstance(value, dict | Code) else "number"


Value = Annotated[
    Annotated[Decimal, Tag("number")] | Annotated[Code, Tag("code")] | Annotated[str, Tag("text")],
    Discriminator(_kind_of_value),
]


class Finding(Fact):
    """One thing found: a concept with a number and unit, a coded value, or text.

    ``group`` joins findings that belong together (a structure, a lesion, a check) under one
    heading and one TID 1501 measurement group.
    """

    concept: Code
    value: Value
    unit: Code | None = Field(None, description="UCUM; required for a number, dimensionless is `1`")
    reference_range: Range | None = None
    flag: Flag | None = None
    site: Code | None = None
    laterality: Code | None = None
    tracking_id: str = ""
    tracking_uid: str = ""
    group: str = ""
    comment: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_number_by_its_unit(cls, data: Any) -> Any:
        """In JSON a number may stand as text, to keep its digits: with a unit it is one, else not."""
        if isinstance(data, dict) and isinstance(data.get("value"), str) and data.get("unit") is not None:
            try:
                return data | {"value": Decimal(data["value"])}
            except InvalidOperation:
                raise ValueError("the value has a unit, so it must be a number") from None
        return data

    @model_validator(mode="after")
    def _demand_a_unit(self) -> Finding:
        if isinstance(self.value, Decimal) is not (self.unit is not None and self.unit.scheme == "UCUM"):
            raise ValueError(
                "a number needs a UCUM unit, and nothing else has one; a dimensionless one is "
                '{"value": "1", "scheme": "UCUM", "meaning": "no units"}'
            )
        return self


class Algorithm(Fact):
    """Who computed the findings (TID 4019; OBX-17/18; FHIR Device)."""

    name: str
    version: str
    manufacturer: str = ""
    udi: str = ""


class Artefact(Fact):
    """A file that a processor made; ``path`` is filled in by the engine, never by the processor."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    media_type: Literal["image/png", "application/pdf", "application/dicom"]
    title: str = ""
    sha256: str = ""
    path: Path | None = None

    def read(self) -> bytes:
        """The bytes, verified against the recorded digest."""
        if self.path is None:
            raise ValueError(f"artefact {self.name} has not been stored")
        content = self.path.read_bytes()
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            raise ValueError(f"artefact {self.name} does not match its digest")
        return content


class ResultStatus(StrEnum):
    """Where a result stands in its life (HL7 table 0123, FHIR diagnostic-report-status)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    RETRACTED = "retracted"
    FAILED = "failed"


class Report(Fact):
    """What a processor says: the document `out/result.json`, versioned by ``version``."""

    version: Literal["pons.result/1"] = "pons.result/1"
    status: Literal["preliminary", "final"] = "final"
    title: str = ""
    findings: tuple[Finding, ...] = ()
    narrative: str = ""
    impression: str = ""
    artefacts: tuple[Artefact, ...] = ()
    algorithm: Algorithm
    disclaimer: str = ""


class Result(Fact):
    """The canonical result: a report tied to its patient, order and study revision."""

    result_id: str
    site: str
    route: str
    status: ResultStatus
    revision: int = 1
    supersedes: str | None = Field(None, description="result_id of the result this one replaces")
    produced_at: datetime
    patient: Patient
    order: Order
    study: StudyReference
    report: Report


# ── working facts ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital (or department) as the table describes it."""

    key: str
    name: str
    timezone: str = "UTC"
    ae_titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # single addresses or CIDR blocks, the tunnel's included
    issuer_of_patient_id: Issuer = field(default_factory=Issuer)


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
    """One earlier delivery of the same result lineage that this destination acknowledged."""

    delivery_id: DeliveryId
    status: ResultStatus
    revision: int
    identifiers: tuple[str, ...]  # of its parts, in order
    sop_class_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What rendering may know beside the result: the delivery, a clock, the destination's past."""

    delivery_id: DeliveryId
    rendered_at: datetime  # aware; the only clock a renderer sees
    acknowledged: tuple[Acknowledged, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the peer answered when it took the payload; kept on the attempt."""

    code: str  # "0000", "AA", "201"
    detail: str = ""
    warning: str = ""


_NAMESPACE = uuid.UUID("5b0f6c1e-6f0e-5d0c-9a55-706f6e730001")

Uid = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]


def uid_from(*names: str) -> str:
    """Derive a UID from names: the same names always give the same UID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(names)).int}"
