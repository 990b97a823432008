"""Queries for a replay: which deliveries or studies a person means, and what is to be known of each.

All of them read, except the two locks and the two statements that put things back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, exists, func, null, or_, select, update

from engine.store import lanes as lane_queries
from engine.store.dialect import is_shared
from engine.store.lanes import OPEN
from engine.store.order_states import touch, touch_all
from engine.store.tables import (
    attempts,
    decisions,
    deliveries,
    holds,
    instances,
    jobs,
    lanes,
    results,
    revisions,
    studies,
)

Key = TypeVar("Key", int, str)

HELD, FAILED = "held", "failed"  # states of a study, beside those of its deliveries
CHUNK = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person means; every part given must hold."""

    study: str | None = None
    site: str | None = None
    destination: str | None = None
    route: str | None = None
    states: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    ids: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()  # of any of these; the scope of who asks

    @property
    def empty(self) -> bool:
        """Whether nothing was said: that would mean everything that he who asks may see."""
        return not self.facts.keys() - {"sites"}

    @property
    def facts(self) -> dict[str, Any]:
        """What was said, for the audit trail."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value not in (None, ())
        }


def selected_deliveries(connection: Connection, wanted: Selection) -> list[Row[Any]]:
    """The deliveries meant, oldest first, each with its study and whether a newer version went there.

    ``newer``: a later version of the same lineage went, may have gone, or is about to go to the same
    destination. ``version``: of the result, or the study's revision.
    """
    later = deliveries.alias("later")
    newer = (
        select(later.c.seq)
        .where(
            later.c.destination == deliveries.c.destination,
            later.c.lineage == deliveries.c.lineage,
            later.c.seq > deliveries.c.seq,
            reached(later),
        )
        .correlate(deliveries)
        .exists()
    )
    version = func.coalesce(results.c.revision, deliveries.c.study_revision)
    conditions: list[ColumnElement[bool]] = []
    moment = func.coalesce(deliveries.c.finished_at, deliveries.c.created_at)
    if wanted.study is not None:
        conditions.append(studies.c.study_instance_uid == wanted.study)
    if wanted.site is not None:
        conditions.append(studies.c.site == wanted.site)
    if wanted.sites:
        conditions.append(studies.c.site.in_(wanted.sites))
    if wanted.destination is not None:
        conditions.append(deliveries.c.destination == wanted.destination)
    if wanted.states:
        conditions.append(deliveries.c.state.in_(wanted.states))
    if wanted.since is not None:
        conditions.append(moment >= wanted.since)
    if wanted.until is not None:
        conditions.append(moment <= wanted.until)
    query = (
        select(
            deliveries,
            studies.c.site,
            studies.c.study_instance_uid,
            studies.c.purged_at,
            newer.label("newer"),
            version.label("version"),
        )
        .join(studies, studies.c.id == deliveries.c.study_id)
        .outerjoin(results, results.c.result_id == deliveries.c.result_id)
        .where(*conditions)
        .order_by(deliveries.c.seq)
    )
    rows: list[Row[Any]] = []
    for some in _chunks(wanted.ids):
        rows += connection.execute(query.where(deliveries.c.delivery_id.in_(some))).all()
    if not wanted.ids:
        rows = list(connection.execute(query).all())
    if wanted.route is not None:
        rows = [row for row in rows if _routed(connection, row, wanted.route)]
    return sorted(rows, key=lambda row: int(row.seq))


def reached(of: Any) -> ColumnElement[bool]:
    """Whether a delivery went to its destination, may have gone, or is about to."""
    answered = exists().where(
        attempts.c.delivery_id == of.c.delivery_id,
        attempts.c.outcome.in_(("unknown", "delivered", "stored")),
    )
    return or_(of.c.state.in_((*OPEN, "delivered")), of.c.stored.is_not(None), answered)


def versions_sent(connection: Connection, study_id: int, lineage: str) -> Sequence[Row[Any]]:
    """Every delivery of a lineage, to whomever: its version, and whether it reached its destination."""
    return connection.execute(
        select(
            deliveries.c.destination,
            deliveries.c.state,
            func.coalesce(results.c.revision, deliveries.c.study_revision).label("version"),
            reached(deliveries).label("reached"),
        )
        .outerjoin(results, results.c.result_id == deliveries.c.result_id)
        .where(deliveries.c.study_id == study_id, deliveries.c.lineage == lineage)
    ).all()


def newest_version(connection: Connection, study_id: int, lineage: str) -> int | None:
    """The version of a result that stands, failure reports aside; None for what is no result."""
    newest: int | None = connection.execute(
        select(func.max(results.c.revision)).where(
            results.c.study_id == study_id, results.c.lineage == lineage, results.c.status != FAILED
        )
    ).scalar_one()
    return newest


def selected_studies(connection: Connection, wanted: Selection) -> list[Row[Any]]:
    """The studies meant, oldest first; a state or destination is that of one of their deliveries."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.study is not None:
        conditions.append(studies.c.study_instance_uid == wanted.study)
    if wanted.site is not None:
        conditions.append(studies.c.site == wanted.site)
    if wanted.sites:
        conditions.append(studies.c.site.in_(wanted.sites))
    if wanted.since is not None:
        conditions.append(studies.c.last_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(studies.c.last_at <= wanted.until)
    if wanted.destination is not None or wanted.states:
        conditions.append(_in_state(wanted))
    query = select(studies).where(*conditions).order_by(studies.c.id)
    rows: list[Row[Any]] = []
    for some in _chunks(wanted.ids):
        rows += connection.execute(query.where(studies.c.study_instance_uid.in_(some))).all()
    if not wanted.ids:
        rows = list(connection.execute(query).all())
    if wanted.route is not None:
        rows = [row for row in rows if _fired(latest_decision(connection, row.id), wanted.route)]
    return sorted(rows, key=lambda row: int(row.id))


def _in_state(wanted: Selection) -> ColumnElement[bool]:
    sent = exists().where(deliveries.c.study_id == studies.c.id)
    if wanted.destination is not None:
        sent = sent.where(deliveries.c.destination == wanted.destination)
    if not wanted.states:
        return sent
    ways: list[ColumnElement[bool]] = [sent.where(deliveries.c.state.in_(wanted.states))]
    if HELD in wanted.states:
        ways.append(exists().where(holds.c.study_id == studies.c.id, holds.c.released_at.is_(None)))
    if FAILED in wanted.states:
        ways.append(
            exists().where(
                jobs.c.study_id == studies.c.id,
                jobs.c.revision == studies.c.revision,
                jobs.c.state == FAILED,
            )
        )
    return or_(*ways)


def lock_lanes(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    """Nothing more is put into these lanes until the transaction ends: what was judged stays true."""
    if not is_shared(connection):
        return  # one writer, which is us
    keys = {(row.destination, row.order_key) for row in rows}
    for name, order_key in sorted(keys):
        connection.execute(
            select(lanes.c.fence)
            .where(lanes.c.destination == name, lanes.c.order_key == order_key)
            .with_for_update()
        ).all()


def lock_studies(connection: Connection, study_ids: Iterable[int]) -> None:
    """Nobody closes or decides a revision of these until the transaction ends."""
    for study_id in sorted(study_ids):
        connection.execute(select(studies.c.id).where(studies.c.id == study_id).with_for_update()).all()


def send_again(connection: Connection, rows: Sequence[Row[Any]], now: float, why: str) -> None:
    """Put deliveries back into their places, as they are: the same identifiers, the same bytes.

    All of it is sent, whatever the peer had stored: it may have lost it. One that goes after another
    destination waits for it where that is under way too.
    """
    fresh = {"age_from": now, "stored": null(), "transaction_uid": None, "finished_at": None}
    for row in rows:
        if row.after:
            reason = f"waits for {', '.join(row.after)}"
            _change(connection, [row.seq], {**fresh, "state": "waiting", "reason": reason})
    at_once = [row.seq for row in rows if not row.after]
    for some in _chunks(at_once):
        _change(connection, some, {**fresh, "state": "queued", "reason": why})
    lane_queries.requeue(connection, at_once, now)
    for study_id in sorted({row.study_id for row in rows if row.after}):
        lane_queries.wake_dependants(connection, study_id, now)
    touch_all(connection, {row.study_id for row in rows}, now)


def _change(connection: Connection, seqs: Sequence[int], values: dict[str, Any]) -> None:
    connection.execute(update(deliveries).where(deliveries.c.seq.in_(seqs)).values(**values))


def release_holds(connection: Connection, study_id: int, now: float) -> int:
    """A study is taken up again: what held it is answered. Returns how many holds there were."""
    touch(connection, study_id, now)
    return connection.execute(
        update(holds)
        .where(holds.c.study_id == study_id, holds.c.released_at.is_(None))
        .values(released_at=now)
    ).rowcount


def open_revision(connection: Connection, study_id: int) -> None:
    """Let the next revision of a study be closed although nothing arrived."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(state="receiving"))
    touch(connection, study_id)


def latest_decision(connection: Connection, study_id: int) -> Row[Any] | None:
    """What was decided last of a study."""
    return connection.execute(
        select(decisions).where(decisions.c.study_id == study_id).order_by(decisions.c.id.desc()).limit(1)
    ).one_or_none()


def revision_state(connection: Connection, study_id: int, revision: int) -> str:
    """The state of a revision; empty when there is none."""
    state: str | None = connection.execute(
        select(revisions.c.state).where(revisions.c.study_id == study_id, revisions.c.revision == revision)
    ).scalar_one_or_none()
    return state or ""


def open_jobs(connection: Connection, study_id: int) -> list[str]:
    """The processors that have a run of a study queued or under way."""
    return sorted(
        connection.execute(
            select(jobs.c.processor)
            .where(jobs.c.study_id == study_id, jobs.c.state.in_(("queued", "running")))
            .distinct()
        ).scalars()
    )


def instances_of(connection: Connection, study_id: int) -> int:
    """How many instances a study has that no later version replaced."""
    return int(
        connection.execute(
            select(func.count())
            .select_from(instances)
            .where(instances.c.study_id == study_id, instances.c.replaced_in.is_(None))
        ).scalar_one()
    )


def _routed(connection: Connection, row: Row[Any], route: str) -> bool:
    """Whether this route, by the decision on that revision, sent the delivery on its way."""
    decided = connection.execute(
        select(decisions.c.decision).where(
            decisions.c.study_id == row.study_id, decisions.c.revision == row.study_revision
        )
    ).scalars()
    return any(
        outcome["hit"]
        and outcome["route"] == route
        and any(sending["to"] == row.destination for sending in outcome.get("deliver", ()))
        for decision in decided
        for outcome in decision["outcomes"]
    )


def _fired(row: Row[Any] | None, route: str) -> bool:
    if row is None:
        return False
    return any(outcome["hit"] and outcome["route"] == route for outcome in row.decision["outcomes"])


def _chunks(ids: Sequence[Key]) -> Iterable[Sequence[Key]]:
    distinct = list(dict.fromkeys(ids))
    return (distinct[start : start + CHUNK] for start in range(0, len(distinct), CHUNK))
