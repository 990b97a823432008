"""The facts of an order: what somebody wants done with one study, what became of it, and its batch.

An order belongs to a site and to whom it was given by: a channel (every study that arrives has one), a
client of the API, a user of the portal. Its metadata are DICOM attributes (PS3.6) that stand in the place
of the study's own in everything that goes onward; what was stored stays byte-exact. They are frozen models,
so that an API's description of itself (OpenAPI) can be made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from engine.clinical import Fact, ResultStatus

MAX_PAGE = 500
"""Rows of a page at most."""


class OrderState(StrEnum):
    """Where an order stands; `engine.order_state` says how it follows from what its study has come to."""

    CREATED = "created"  # nothing of its study is here
    RECEIVING = "receiving"  # bytes or instances are arriving
    STABLE = "stable"  # complete, about to be decided
    PROCESSING = "processing"  # a processor or a delivery is still to come to its end
    DELIVERED = "delivered"  # all that was to be done is done
    FAILED = "failed"  # a processor or a delivery gave up, or its upload came to nothing
    CANCELLED = "cancelled"  # what had not begun never will
    HELD = "held"  # waits for a person


class Submitter(Fact):
    """Who gave an order: it is theirs."""

    kind: Literal["channel", "client", "user", "person"]
    name: str = Field(min_length=1, max_length=128)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class NewOrder(Fact):
    """An order as it is given, before there is anything of its study."""

    site: str
    submitter: Submitter
    inbound: str = Field("", description="key of the channel that it was given to")
    study_instance_uid: str = Field("", max_length=64, description="where it is known: binds the study")
    metadata: Mapping[str, Any] = Field(
        default_factory=dict,
        description="DICOM keyword -> value that stands in the attribute's place, in any usual spelling",
    )
    batch_id: str | None = None
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)


class StudyOrder(Fact):
    """An order as it stands."""

    order_id: str
    site: str
    submitter: Submitter
    inbound: str
    batch_id: str | None
    state: OrderState
    metadata: Mapping[str, str]
    study_instance_uid: str
    accession_number: str
    patient_id: str
    patient_name: str
    study_description: str
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="counts every change: the value of its ETag")
    failure: str = Field("", description="why it failed, without patient data")
    failure_result_id: str | None = Field(None, description="the failure report, a result like any other")
    cancelled_at: datetime | None = None


class OrderResult(Fact):
    """One version of a result of an order."""

    seq: int = Field(description="counts the results of all orders: what is acknowledged")
    order_id: str
    result_id: str
    study_instance_uid: str
    study_revision: int
    route: str
    revision: int
    status: ResultStatus
    title: str
    headline: str = Field(description="its impression or its outcome, one line")
    produced_at: datetime
    artefacts: tuple[str, ...] = Field((), description="names of the files that the processor made")


class OrderDelivery(Fact):
    """One delivery of an order's results, or of its study."""

    delivery_id: str
    destination: str
    status: str
    state: str
    attempts: int
    reason: str
    finished_at: datetime | None


class OrderDetails(Fact):
    """An order with all that there is of it; of its study what came since the order was bound to it."""

    order: StudyOrder
    study_revision: int = Field(description="the last closed one; 0 before the first")
    instances: int
    results: tuple[OrderResult, ...]
    deliveries: tuple[OrderDelivery, ...]
    holds: tuple[str, ...] = Field(description="why it waits for a person")


class OrderQuery(Fact):
    """Which orders; every part that is given must hold. The latest first."""

    sites: tuple[str, ...] | None = Field(None, description="of these only; None for every site")
    submitter: Submitter | None = None
    states: tuple[OrderState, ...] = ()
    batch_id: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = Field(None, max_length=64)
    patient_id: str | None = Field(None, max_length=64)
    search: str | None = Field(
        None,
        max_length=64,
        description="an accession number, a patient ID, a Study Instance UID, or the id of an order; "
        "with * at its end what begins so (not of ids)",
    )
    alone: bool = Field(False, description="only those of no batch")
    since: datetime | None = Field(None, description="created at this time or later")
    until: datetime | None = Field(None, description="created before this time")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: str | None = Field(None, max_length=64, description="`OrderPage.next` of the page before")


class OrderPage(Fact):
    """Some orders, the latest first."""

    orders: tuple[StudyOrder, ...]
    next: str | None = Field(None, description="what the next page is asked `after`; None at the end")


class OrderChange(Fact):
    """An order that has changed, and what it is now."""

    order_id: str
    site: str
    batch_id: str | None
    submitter: Submitter
    state: OrderState
    version: int
    updated_at: datetime


class Cancelled(Fact):
    """What cancelling came to."""

    order: StudyOrder
    runs: int = Field(description="runs of processors that will not begin")
    deliveries: int = Field(description="deliveries that will not go out")
    under_way: int = Field(description="runs and attempts that had begun: they end by themselves")
    delivered: tuple[str, ...] = Field(description="destinations that have something and keep it")
    shared: bool = Field(description="another order wants the same study, so nothing of it was stopped")

    def __str__(self) -> str:
        if self.shared:
            return "cancelled; another order wants the same study, so its processing and deliveries go on"
        said = f"cancelled; {self.runs} runs and {self.deliveries} deliveries will not begin"
        if self.under_way:
            said += f"; {self.under_way} had begun and end by themselves"
        if self.delivered:
            said += f"; what {', '.join(self.delivered)} has was delivered before and stays there"
        return said


class NewBatch(Fact):
    """A batch as it is begun; orders join it as they are created."""

    site: str
    submitter: Submitter
    name: str = Field("", max_length=200)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)


class Batch(Fact):
    """A group of orders, and how many of them are in each state."""

    batch_id: str
    site: str
    submitter: Submitter
    name: str
    created_at: datetime
    orders: int
    states: Mapping[OrderState, int]

    @property
    def is_over(self) -> bool:
        """Whether it has orders and nothing more will happen to any of them by itself."""
        ended = (OrderState.DELIVERED, OrderState.FAILED, OrderState.CANCELLED)
        return self.orders > 0 and sum(self.states.get(state, 0) for state in ended) == self.orders


class BatchPage(Fact):
    """Some batches, the latest first."""

    batches: tuple[Batch, ...]
    next: str | None = None


class Entries(Fact):
    """Orders that were given alone, and batches, together: the latest first."""

    entries: tuple[StudyOrder | Batch, ...]
    next: str | None = None


class BatchRow(Fact):
    """One order in the report of its batch."""

    order_id: str
    study_instance_uid: str
    accession_number: str
    patient_id: str
    state: OrderState
    created_at: datetime
    result_status: str = ""
    title: str = ""
    outcome: str = ""
    headline: str = ""
    failure: str = ""


class BatchReport(Fact):
    """What came of every order of a batch: the same facts give the same report, byte for byte."""

    batch_id: str
    name: str
    site: str
    submitter: Submitter
    created_at: datetime
    as_of: datetime = Field(description="the latest change of any of its orders")
    states: Mapping[OrderState, int]
    rows: tuple[BatchRow, ...] = Field(description="in the order in which the orders were given")
