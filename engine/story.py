"""A study's whole story in order, from the first instance to the last acknowledgement.

Enter: the rows of one study. Leave: events with their times, each a sentence for people and fields
for programs. The story names UIDs and the table's own names, never a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from engine import outlook
from engine.model import Result
from engine.patient_attributes import without_what_was_found
from engine.result_of_run import withheld_from
from engine.route import outcome_from_json
from engine.store import commitments, deliveries, destinations, look, study_orders, trail, work


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    at: float
    what: str  # received | stable | decided | held | processed | queued | attempted | delivered | …
    text: str


def tell(connection: Connection, study: Any) -> list[Event]:
    """Every event of a study, oldest first."""
    events: list[Event] = []
    events += _arrivals(connection, study)
    events += _orders(connection, study)
    events += _revisions(connection, study)
    events += _decisions(connection, study)
    events += _work(connection, study)
    events += _deliveries(connection, study)
    events += _people(connection, study)
    return sorted(events, key=lambda event: event.at)


def _arrivals(connection: Connection, study: Any) -> list[Event]:
    sender = study.calling_ae_title or study.remote_address
    events = []
    for row in look.arrivals_of(connection, study.id):
        text = (
            f"{row.instances} instances ({int(row.bytes) / 1e6:.1f} MB) by {study.inbound} "
            f"from {sender} at {study.remote_address}, the last after {row.last_at - row.first_at:.1f} s"
        )
        events.append(Event(row.first_at, "received", text))
    if study.duplicates:
        events.append(
            Event(study.last_at, "received", f"{study.duplicates} duplicates acknowledged and not kept again")
        )
    return events


def _orders(connection: Connection, study: Any) -> list[Event]:
    """Who wanted it, and where that stands."""
    events = []
    for order in study_orders.of_study(connection, study.id):
        text = f"{order.order_id} by {order.submitter_kind} {order.submitter} is {order.state}"
        if order.overrides:
            text += f"; its metadata override {', '.join(order.overrides)}"
        events.append(Event(order.created_at, "order", text))
        if order.cancelled_at is not None:
            why = f": {order.failure}" if order.failure else ""
            events.append(
                Event(order.cancelled_at, "cancelled", f"order {order.order_id} by {order.cancelled_by}{why}")
            )
    return events


def _revisions(connection: Connection, study: Any) -> list[Event]:
    events = [
        Event(
            row.closed_at,
            "stable",
            f"revision {row.revision} with {row.instances} instances: {row.why} ({row.state})",
        )
        for row in look.revisions_of(connection, study.id)
    ]
    events += [
        Event(row.held_at, "held", f"revision {row.revision}: {row.reason}")
        for row in look.holds_of(connection, study.id)
    ]
    return events


def _decisions(connection: Connection, study: Any) -> list[Event]:
    events = []
    for row in work.decisions_of(connection, study.id):
        events.append(
            Event(row.decided_at, "decided", f"revision {row.revision} by table {row.table_version}")
        )
        for outcome in row.decision["outcomes"]:
            verdict = "hit " if outcome["hit"] else "miss"
            why = outcome["why"] if outcome["hit"] else without_what_was_found(outcome["why"])
            text = f"  {verdict} {outcome['route']} ({outcome['position']}): {why}"
            events.append(Event(row.decided_at, "decided", text))
    return events


def _work(connection: Connection, study: Any) -> list[Event]:
    events = []
    for job in work.jobs_of(connection, study.id):
        if job.finished_at is not None:
            took = f" after {job.finished_at - job.queued_at:.1f} s" if job.state == "done" else ""
            detail = f": {job.detail}" if job.detail else ""
            events.append(Event(job.finished_at, "processed", f"{job.processor} {job.state}{took}{detail}"))
        else:
            text = f"{job.processor} {job.state}, {job.attempts} runs so far"
            events.append(Event(job.queued_at, "processed", f"{text}{_next_run(job)}"))
    for result in work.results_of(connection, study.id):
        findings = len(result.document["report"]["findings"])
        mode = ", shadow: nothing is delivered" if result.shadow else ""
        events.append(
            Event(
                result.produced_at,
                "result",
                f"{result.status} result, revision {result.revision}, {findings} findings{mode}",
            )
        )
        events += _not_sent(connection, result)
    return events


def _not_sent(connection: Connection, result: Any) -> list[Event]:
    """Who does not get a result, and why: told from the decision and the result, as it was decided then."""
    sent = {
        row.destination
        for row in deliveries.of_study(connection, result.study_id)
        if row.result_id in (None, result.result_id)  # None: the study itself goes there, and no result
    }
    runs = [
        job
        for job in work.jobs_of(connection, result.study_id)
        if job.lineage == result.lineage and job.revision == result.study_revision
    ]
    if result.shadow or not runs:
        return []
    outcomes = [outcome_from_json(one) for one in runs[-1].outcomes]
    return [
        Event(result.produced_at, "not sent", f"{name}: {why}")
        for name, why in withheld_from(outcomes, Result.model_validate(result.document)).items()
        if name not in sent
    ]


def _next_run(job: Any) -> str:
    """What a queued run waits for, and until when."""
    if job.state != "queued" or not job.detail:
        return ""
    waits = job.detail.startswith("waits for ")  # `engine.schedule` says until when
    return f": {job.detail}" if waits else f": {job.detail}; the next at {outlook.moment(job.due_at)}"


def _deliveries(connection: Connection, study: Any) -> list[Event]:
    events: list[Event] = []
    for row in deliveries.of_study(connection, study.id):
        begun = len(events)
        name = f"{row.destination} [{row.status}]"
        after = f", after {', '.join(row.after)}" if row.after else ""
        events.append(Event(row.created_at, "queued", f"{name}{after}"))
        for attempt in deliveries.attempts_of(connection, row.delivery_id):
            ended = attempt.ended_at if attempt.ended_at is not None else attempt.started_at
            answer = " ".join(filter(None, (attempt.code, attempt.detail, attempt.warning)))
            events.append(
                Event(
                    ended, "attempt", f"{name} attempt {attempt.attempt}: {attempt.outcome} {answer}".rstrip()
                )
            )
        events += _commitments(connection, name, row.delivery_id)
        if row.state == "superseded":
            events.append(Event(row.finished_at, "superseded", f"{name}: {row.reason}"))
        if row.state == "dead":
            events.append(Event(row.finished_at, "dead", f"{name}: {row.reason}"))
        why = _in_its_way(connection, row)
        if why:
            events.append(Event(max(event.at for event in events[begun:]), "waiting", f"{name}: {why}"))
    return events


def _in_its_way(connection: Connection, row: Any) -> str:
    """What a delivery that has not gone out waits for; nothing where it just waits its turn."""
    if row.state == "queued":
        return outlook.state_of(destinations.standing(connection, row.destination), None)[1]
    if row.state != "waiting":
        return ""
    found = destinations.waits_for_the_dead(connection, row.study_id)
    return outlook.waits(row, {one.blocker: one.state for one in found if one.seq == row.seq})


def _commitments(connection: Connection, name: str, delivery_id: str) -> list[Event]:
    """What the peer was asked to commit to, and what it said."""
    events = []
    for row in commitments.of_delivery(connection, delivery_id):
        asked = f"{name} attempt {row.attempt}: asked to commit, transaction {row.transaction_uid}"
        events.append(Event(row.requested_at, "asked", asked))
        if row.state == "committed":
            events.append(Event(row.reported_at, "committed", f"{name} committed to all of it"))
        elif row.state == "failed":
            why = f"{name} did not commit to {len(row.failed)} instances: {commitments.reasons(row.failed)}"
            events.append(Event(row.reported_at, "denied", why))
        elif row.state == "expired":
            events.append(Event(row.expires_at, "overdue", f"{name} has not reported whether it commits"))
    return events


def _people(connection: Connection, study: Any) -> list[Event]:
    """What people did to it, and why."""
    events = []
    for row in trail.of_study(connection, study):
        why = f": {row.detail['reason']}" if row.detail.get("reason") else ""
        events.append(Event(row.at, "person", f"{row.action}, {row.subject}, by {row.actor}{why}"))
    return events
