"""The clinical facts: who, which order, which study, what was found.

They cross the border of the process: a processor's `result.json` is validated against `Report`, and
`pons schema result` exports it. So they are frozen pydantic models that refuse what they do not know.
Names are those of DICOM PS3.6 and HL7 v2 wherever one exists.
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class Fact(BaseModel):
    """A frozen clinical fact; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Uid = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]
Coordinates = Annotated[tuple[Coordinate, ...], Field(min_length=2, max_length=30_000)]


class PlanarRegion(Fact):
    """A region or point on one image (SCOORD, PS3.3 C.18.6).

    ``coordinates`` are column, row pairs in pixels of the image; the centre of the first pixel is
    0.5, 0.5, as the Standard has it for sub-pixel positions.
    """

    kind: Literal["scoord"]
    graphic_type: Literal["POINT", "MULTIPOINT", "POLYLINE", "CIRCLE", "ELLIPSE"]
    coordinates: Coordinates
    referenced_sop_instance_uid: Uid = Field(description="one of the study's own instances")
    referenced_frame_number: int | None = Field(None, ge=1, description="of a multi-frame image")

    @model_validator(mode="after")
    def _count_points(self) -> PlanarRegion:
        _count(self.graphic_type, self.coordinates, dimensions=2)
        return self


class SpatialRegion(Fact):
    """A planar region or point in space (SCOORD3D, PS3.3 C.18.9); ``coordinates`` are x, y, z in mm."""

    kind: Literal["scoord3d"]
    graphic_type: Literal["POINT", "MULTIPOINT", "POLYLINE", "POLYGON", "ELLIPSE"]
    coordinates: Coordinates
    frame_of_reference_uid: Uid

    @model_validator(mode="after")
    def _count_points(self) -> SpatialRegion:
        _count(self.graphic_type, self.coordinates, dimensions=3)
        if self.graphic_type == "POLYGON" and self.coordinates[:3] != self.coordinates[-3:]:
            raise ValueError("a POLYGON must end at the point it begins with")
        return self


class SegmentReference(Fact):
    """A segment of a segmentation object: a volume, or with a frame number one plane of it.

    ``series_instance_uid`` is that of the segmentation, which must be of the same study. What was
    segmented is the source series, by default that of the study's first instance; a plane names
    the one source image it lies on (PS3.16 TID 1410 row 8, TID 1411 row 12).
    """

    kind: Literal["segment"]
    series_instance_uid: Uid
    sop_class_uid: Uid
    sop_instance_uid: Uid
    segment_number: int = Field(ge=1, le=65535)
    frame_number: int | None = Field(None, ge=1, description="of the segmentation: one plane, no volume")
    source_series_instance_uid: Uid | None = None
    source_sop_instance_uid: Uid | None = Field(None, description="with frame_number: the image it lies on")

    @model_validator(mode="after")
    def _demand_the_image_of_a_plane(self) -> SegmentReference:
        if (self.frame_number is None) is not (self.source_sop_instance_uid is None):
            raise ValueError("frame_number and source_sop_instance_uid belong together")
        return self


_POINTS = {  # graphic type: fewest and most points (C.18.6.1.2, C.18.9.1.2)
    "POINT": (1, 1),
    "MULTIPOINT": (1, None),
    "POLYLINE": (2, None),
    "POLYGON": (4, None),
    "CIRCLE": (2, 2),
    "ELLIPSE": (4, 4),
}


def _count(graphic_type: str, coordinates: tuple[float, ...], *, dimensions: int) -> None:
    points, rest = divmod(len(coordinates), dimensions)
    fewest, most = _POINTS[graphic_type]
    if rest or points < fewest or (most is not None and points > most):
        wanted = f"{fewest}" if most == fewest else f"at least {fewest}"
        raise ValueError(
            f"{graphic_type} takes {wanted} point(s) of {dimensions} coordinates, "
            f"not {len(coordinates)} coordinates"
        )


Roi = Annotated[PlanarRegion | SpatialRegion | SegmentReference, Field(discriminator="kind")]


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
    roi: Roi | None = Field(None, description="where it was measured: on an image, in space, a segment")

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
    """A file that a processor made; ``path`` is filled in by the engine, never by the processor.

    A stored result names it below the data folder; `engine.stored_result` makes it one that opens.
    """

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
    outcome: Literal["passed", "warned", "failed"] | None = Field(
        None, description="what it says of the study as a whole, where it judges; routes may ask for it"
    )
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
