"""What requests to the REST API hold and what it answers, beside the facts of `engine.model`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

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
        pattern=r"^(channel|client|user):[^\x00-\x1f\x7f]{1,128}$",
        description="client:NAME, channel:NAME or user:NAME",
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
