"""Rows of orders, their results and batches as the facts that channels get. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.clock import at
from engine.order_model import (
    Batch,
    BatchReport,
    BatchRow,
    OrderChange,
    OrderDelivery,
    OrderResult,
    OrderState,
    StudyOrder,
    Submitter,
)

HEADLINE = 200  # characters


def order_of(row: Any) -> StudyOrder:
    """An order."""
    return StudyOrder(
        order_id=row.order_id,
        site=row.site,
        submitter=Submitter(kind=row.submitter_kind, name=row.submitter),
        inbound=row.inbound,
        batch_id=row.batch_id,
        state=OrderState(row.state),
        metadata=row.overrides,
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        study_description=row.study_description,
        created_at=at(row.created_at),
        updated_at=at(row.updated_at),
        version=row.version,
        failure=row.failure,
        failure_result_id=row.failure_result_id,
        cancelled_at=None if row.cancelled_at is None else at(row.cancelled_at),
    )


def change_of(row: Any) -> OrderChange:
    """A change of an order."""
    return OrderChange(
        order_id=row.order_id,
        site=row.site,
        batch_id=row.batch_id,
        submitter=Submitter(kind=row.submitter_kind, name=row.submitter),
        state=OrderState(row.state),
        version=row.version,
        updated_at=at(row.updated_at),
    )


def result_of(row: Any) -> OrderResult:
    """A result of an order, from its row and its document."""
    document = row.document
    return OrderResult(
        seq=row.seq,
        order_id=row.order_id,
        result_id=row.result_id,
        study_instance_uid=document["study"]["study_instance_uid"],
        study_revision=row.study_revision,
        route=document["route"],
        revision=row.revision,
        status=row.status,
        title=document["report"].get("title", ""),
        headline=headline(document["report"]),
        produced_at=at(row.produced_at),
        artefacts=tuple(one["name"] for one in document["report"].get("artefacts", ())),
    )


def headline(report: Mapping[str, Any]) -> str:
    """What a report says, in one line: its impression, else its outcome, else how much it found."""
    impression = " ".join(str(report.get("impression") or "").split())
    if impression:
        return impression if len(impression) <= HEADLINE else f"{impression[: HEADLINE - 1]}…"
    if report.get("outcome"):
        return str(report["outcome"])
    count = len(report.get("findings") or ())
    return f"{count} finding{'' if count == 1 else 's'}"


def delivery_of(row: Any) -> OrderDelivery:
    """One delivery of an order's study."""
    return OrderDelivery(
        delivery_id=row.delivery_id,
        destination=row.destination,
        status=row.status,
        state=row.state,
        attempts=row.attempts,
        reason=row.reason,
        finished_at=None if row.finished_at is None else at(row.finished_at),
    )


def batch_of(row: Any, states: Mapping[str, int]) -> Batch:
    """A batch with its counts."""
    return Batch(
        batch_id=row.batch_id,
        site=row.site,
        submitter=Submitter(kind=row.submitter_kind, name=row.submitter),
        name=row.name,
        created_at=at(row.created_at),
        orders=sum(states.values()),
        states={state: states[state.value] for state in OrderState if state.value in states},
    )


def report_of(batch: Any, orders: Sequence[Any], latest: Mapping[str, Any]) -> BatchReport:
    """The report of a batch: no clock enters, so it changes only with its orders.

    Args:
        latest: the result of each order that has one.
    """
    counts: dict[str, int] = {}
    for row in orders:
        counts[row.state] = counts.get(row.state, 0) + 1
    made = batch_of(batch, counts)
    return BatchReport(
        batch_id=made.batch_id,
        name=made.name,
        site=made.site,
        submitter=made.submitter,
        created_at=made.created_at,
        as_of=at(max([batch.created_at, *(row.updated_at for row in orders)])),
        states=made.states,
        rows=tuple(_row(row, latest.get(row.order_id)) for row in orders),
    )


def _row(order: Any, result: Any) -> BatchRow:
    said: dict[str, str] = {}
    if result is not None:
        report = result.document["report"]
        said = {
            "result_status": result.status,
            "title": report.get("title") or "",
            "outcome": report.get("outcome") or "",
            "headline": headline(report),
        }
    return BatchRow(
        order_id=order.order_id,
        study_instance_uid=order.study_instance_uid,
        accession_number=order.accession_number,
        patient_id=order.patient_id,
        state=OrderState(order.state),
        created_at=at(order.created_at),
        failure=order.failure,
        **said,
    )
