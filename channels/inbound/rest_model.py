"""What requests to the REST API hold and what it answers, beside the facts of `engine.model`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from channels.inbound.uploads.upload import Failure, Kind, Part, UploadState
from engine.model import Batch, OrderResult, OrderState, StudyOrder

TEXT = r"^[^\x00-\x1f\x7f]*$"  # one line
UID = r"^[0-9]+(\.[0-9]+)*$"  # PS3.5 9.1
KEY = r"^[A-Za-z0-9._-]+$"

MetadataValue = Annotated[Any, WithJsonSchema({"type": ["string", "number"]})]
PatchValue = Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})]


class Given(BaseModel):
    """Base of what a request holds: what is not known here is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GivenOrder(Given):
    """An order as a client gives it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"metadata": {"PatientAge": 45, "PatientSex": "F"}}]},
    )

    site: str | None = Field(
        None, max_length=64, pattern=KEY, description="for a token of all sites: whose order it is"
    )
    study_instance_uid: str | None = Field(
        None, max_length=64, pattern=UID, description="where it is known: the study that is meant"
    )
    batch_id: str | None = Field(None, max_length=64, pattern=KEY, description="the batch that it joins")
    metadata: dict[str, MetadataValue] = Field(
        default_factory=dict,
        description="DICOM keyword -> value that stands in the attribute's place; PatientAge, patientAge "
        "and patient_age are the same",
    )


class GivenMetadata(Given):
    """Metadata in place of all that an order had."""

    metadata: dict[str, MetadataValue]


class PatchedMetadata(Given):
    """Changes of an order's metadata (RFC 7396): a value is set, null takes one away."""

    metadata: dict[str, PatchValue]


class Metadata(BaseModel):
    """The metadata of an order, by DICOM keyword."""

    metadata: dict[str, str]


class GivenCancellation(Given):
    """Why an order is cancelled."""

    reason: str = Field("", max_length=200, pattern=TEXT)


class GivenUpload(Given):
    """An upload as a client begins it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"kind": "multipart", "size": 73400320}]}
    )

    kind: Kind = Field("single", description="single: all at once; multipart: in parts that can be resumed")
    size: int | None = Field(None, ge=1, le=2**53, description="bytes that it has; others are refused")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of all of it, in hex; compared before it is taken in"
    )


class ListedPart(Given):
    """A part that a client has sent."""

    number: int = Field(ge=1, le=10_000)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class GivenCompletion(Given):
    """What an upload is completed of."""

    parts: list[ListedPart] | None = Field(
        None, min_length=1, max_length=10_000, description="every part; when absent those that are here"
    )


class LinkAsked(Given):
    """What an address was signed with."""

    expires: str = Field("", max_length=12, description="seconds since 1970")
    signature: str = Field("", max_length=64)


class UploadStanding(BaseModel):
    """An upload as it stands."""

    upload_id: str
    order_id: str
    kind: Kind
    state: UploadState
    created_at: AwareDatetime
    changed_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(
        None, description="when it is dropped unless something of it comes"
    )
    size: int | None = Field(None, description="bytes that were announced")
    received: int = Field(0, description="bytes that are here; 0 once it is over")
    parts: tuple[Part, ...] = Field((), description="parts that are here, durable")
    waits: str = Field("", description="why it is complete and not taken in yet")
    study_instance_uid: str = ""
    instances: int = 0
    known: int = Field(0, description="of the instances, those that were here before")
    skipped: int = Field(0, description="files of operating systems and disc writers that were passed over")
    failure: Failure | None = Field(None, description="why nothing of it was kept")


class UploadBegun(BaseModel):
    """An upload, and how it is sent."""

    upload: UploadStanding
    method: str = "PUT"
    url: str = Field(
        description="where it is sent, from the host of the API on; for parts with {number} in it"
    )
    headers: dict[str, str] = Field(description="to send with it")
    url_expires_at: AwareDatetime | None = Field(None, description="until when it may be sent there")
    max_size: int = Field(description="bytes that it may have")
    max_part: int | None = Field(None, description="bytes that a part may have")
    max_parts: int | None = None


class Received(BaseModel):
    """What became of a whole upload; nothing of it can be read at its address."""

    state: UploadState


class GivenBatch(Given):
    """A batch as a client begins it."""

    site: str | None = Field(None, max_length=64, pattern=KEY)
    name: str = Field("", max_length=200, pattern=TEXT)


class Acknowledged(Given):
    """Results that the client has: their `seq`."""

    seqs: list[Annotated[int, Field(ge=1, le=2**62)]] = Field(min_length=1, max_length=500)


class AcknowledgedCount(BaseModel):
    """What acknowledging came to."""

    acknowledged: int = Field(description="how many of them were new")


class OrdersAsked(Given):
    """Which orders; every part that is given must hold."""

    state: list[OrderState] = Field([], max_length=8, description="in one of these states; may be repeated")
    accession_number: str | None = Field(None, min_length=1, max_length=64, pattern=TEXT)
    patient_id: str | None = Field(None, min_length=1, max_length=64, pattern=TEXT)
    study_instance_uid: str | None = Field(None, max_length=64, pattern=UID)
    batch_id: str | None = Field(None, max_length=64, pattern=KEY)
    submitter: str | None = Field(
        None,
        max_length=140,
        pattern=r"^(channel|client|user|person):[^\x00-\x1f\x7f]{1,128}$",
        description="client:NAME, channel:NAME or person:NAME",
    )
    created_after: AwareDatetime | None = Field(None, description="at this time or later")
    created_before: AwareDatetime | None = None
    limit: int = Field(50, ge=1, le=500)
    after: str | None = Field(None, max_length=64, pattern=TEXT, description="from `next` of the page before")


class PageAsked(Given):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=500)
    after: str | None = Field(None, max_length=64, pattern=KEY, description="from `next` of the page before")


def _is_true(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class UnretrievedAsked(Given):
    """Which results that were not acknowledged."""

    mine: Annotated[bool, BeforeValidator(_is_true)] = Field(
        False, description="of orders that this client gave itself"
    )
    limit: int = Field(50, ge=1, le=500)


class Orders(BaseModel):
    """Orders, the latest first."""

    orders: tuple[StudyOrder, ...]
    next: str | None = Field(None, description="address of the next page")


class StudyOrders(BaseModel):
    """Every order on a study, the latest first."""

    orders: tuple[StudyOrder, ...]


class Results(BaseModel):
    """Results, the oldest first."""

    results: tuple[OrderResult, ...]


class Batches(BaseModel):
    """Batches, the latest first."""

    batches: tuple[Batch, ...]
    next: str | None = Field(None, description="address of the next page")
