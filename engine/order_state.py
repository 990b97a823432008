"""The state of an order, from what its study has come to. Pure.

    created → receiving → stable → processing → delivered | failed | held        cancelled, from any of them

An order may go back: instances that come late make it *receiving* again, a replay makes it *processing*. It
is stored with the facts that it follows from (`engine.store.order_states`) and never set by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.order_model import OrderState


@dataclass(frozen=True, slots=True)
class StudyStanding:
    """What an order's study has come to."""

    receiving: bool = False  # a revision of it is open
    undecided: bool = False  # a closed revision is about to be decided
    held: bool = False  # a hold waits for a person
    under_way: bool = False  # a run or a delivery is queued, waits, or has begun
    failed: bool = False  # the latest run or delivery of something gave up


def derive(
    study: StudyStanding | None, *, cancelled: bool, uploading: bool = False, upload_failed: bool = False
) -> OrderState:
    """The state of an order.

    A failure is told once nothing more is under way: until then it may be what a person is looking at, or a
    run that repeats it. A hold is told at once, for nobody but a person ends it.

    Args:
        study: None while no study is bound to it; the rest is of the order itself.
    """
    if cancelled:
        return OrderState.CANCELLED
    if study is None:
        if upload_failed:
            return OrderState.FAILED
        return OrderState.RECEIVING if uploading else OrderState.CREATED
    if study.receiving:
        return OrderState.RECEIVING
    if study.undecided:
        return OrderState.STABLE
    if study.failed:
        return OrderState.PROCESSING if study.under_way else OrderState.FAILED
    if study.held:
        return OrderState.HELD
    return OrderState.PROCESSING if study.under_way else OrderState.DELIVERED
