"""The stored state of orders: kept equal to what `engine.order_state` derives, in the same transaction.

Whatever changes a study, its revisions, holds, runs or deliveries says so by `touch`; before the transaction
commits, the orders of the studies that were touched are derived again and written where they differ
(`followed`, through which every write of the database runs). Order rows are locked first and last of all
rows: of two transactions that each end a delivery of a study, the second sees what the first has done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, and_, bindparam, exists, func, or_, select, update

from engine.order_state import StudyStanding, derive
from engine.store.tables import deliveries, holds, jobs, orders, results, revisions, studies

T = TypeVar("T")

PENDING = "pons.orders"  # in `Connection.info`: studies touched by the transaction, and when
SOME = 500  # studies in one statement

_OPEN = ("queued", "waiting")
# What is said after every transaction is built once: building a statement costs more than running it.
_later_job, _later_delivery = jobs.alias("later_job"), deliveries.alias("later_delivery")
_live = jobs.c.outcomes[(0, "shadow")].as_boolean().is_not(True)  # a shadow run is nobody's to wait for

_FAILED_RUN = (
    jobs.c.study_id == studies.c.id,
    jobs.c.state == "failed",
    _live,
    ~exists().where(
        _later_job.c.study_id == jobs.c.study_id,
        _later_job.c.lineage == jobs.c.lineage,
        _later_job.c.queued_at > jobs.c.queued_at,
    ),
    ~exists().where(
        revisions.c.study_id == jobs.c.study_id,
        revisions.c.revision > jobs.c.revision,
        revisions.c.state == "decided",
    ),
)
_DEAD_LETTER = (
    deliveries.c.study_id == studies.c.id,
    deliveries.c.state == "dead",
    ~exists().where(
        _later_delivery.c.destination == deliveries.c.destination,
        _later_delivery.c.lineage == deliveries.c.lineage,
        _later_delivery.c.seq > deliveries.c.seq,
    ),
)

_STANDING = select(
    studies.c.id,
    studies.c.state,
    exists().where(revisions.c.study_id == studies.c.id, revisions.c.state == "closed").label("undecided"),
    exists().where(holds.c.study_id == studies.c.id, holds.c.released_at.is_(None)).label("held"),
    or_(
        exists().where(jobs.c.study_id == studies.c.id, jobs.c.state.in_(("queued", "running")), _live),
        exists().where(deliveries.c.study_id == studies.c.id, deliveries.c.state.in_(_OPEN)),
    ).label("under_way"),
    exists().where(*_FAILED_RUN).label("run_failed"),
    exists().where(*_DEAD_LETTER).label("delivery_failed"),
).where(studies.c.id.in_(bindparam("studies", expanding=True)))
_TOUCHED = (
    select(
        *(orders.c.seq, orders.c.study_id, orders.c.since_revision, orders.c.state, orders.c.updated_at),
        *(orders.c.upload_began_at, orders.c.cancelled_at, orders.c.failure, orders.c.failure_result_id),
    )
    .where(orders.c.study_id.in_(bindparam("studies", expanding=True)))
    .order_by(orders.c.seq)
    .with_for_update()
)
_FOLLOW = (
    update(orders)
    .where(orders.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(
        state=bindparam("state_"),
        failure=bindparam("failure_"),
        failure_result_id=bindparam("report_"),
        updated_at=bindparam("at_"),
        version=orders.c.version + 1,
    )
)


def touch(connection: Connection, study_id: int, now: float = 0.0, *, changed: bool = False) -> None:
    """A fact of a study has changed: its orders are derived again before this transaction commits.

    Args:
        now: 0 where the caller has no clock: as late as the latest change of its orders.
        changed: its orders have changed in any case (a result was filed), whatever their state is then.
    """
    pending: dict[int, tuple[float, bool]] | None = connection.info.get(PENDING)
    if pending is None:  # a transaction of somebody who commits for himself
        _catch_up(connection, {study_id: (now, changed)})
        return
    before = pending.get(study_id, (now, False))
    pending[study_id] = (max(now, before[0]), changed or before[1])


def touch_all(connection: Connection, study_ids: Iterable[int], now: float) -> None:
    """`touch` of several."""
    for study_id in study_ids:
        touch(connection, study_id, now)


def followed(work: Callable[[Connection], T], connection: Connection) -> T:
    """Run a piece of work, and let the orders follow what it changed."""
    info = connection.info  # asked for once: a connection that is lost meanwhile would not tell any more
    info[PENDING] = {}
    try:
        value = work(connection)
        catch_up(connection)
        return value
    finally:
        info.pop(PENDING, None)


def catch_up(connection: Connection) -> None:
    """Derive now what was touched so far, for who goes on to look at it in the same transaction."""
    pending: dict[int, tuple[float, bool]] = connection.info.get(PENDING) or {}
    if pending:
        _catch_up(connection, dict(pending))
        pending.clear()


def reconcile(connection: Connection, now: float, study_ids: Collection[int] | None = None) -> int:
    """Derive orders from scratch; how many were not as they should have been.

    Args:
        study_ids: of these studies; every order there is when absent.
    """
    wrong = 0
    if study_ids is None:
        bound = select(orders.c.study_id).where(orders.c.study_id.is_not(None)).distinct()
        study_ids = connection.execute(bound).scalars().all()
        wrong = _without_study(connection, now)
    wanted = sorted(study_ids)
    return wrong + sum(
        _catch_up(connection, dict.fromkeys(wanted[start : start + SOME], (now, False)))
        for start in range(0, len(wanted), SOME)
    )


def derive_row(order: Any, standing: Row[Any] | None) -> str:
    """The state that an order's row should have."""
    return derive(
        None if standing is None else _standing(standing),
        cancelled=order.cancelled_at is not None,
        uploading=order.upload_began_at is not None,
        upload_failed=bool(order.failure),
    ).value


def standings(connection: Connection, study_ids: Collection[int]) -> dict[int, Row[Any]]:
    """What studies have come to, by id."""
    rows = connection.execute(_STANDING, {"studies": list(study_ids)})
    return {row.id: row for row in rows}


def _standing(row: Row[Any]) -> StudyStanding:
    return StudyStanding(
        receiving=row.state == "receiving",
        undecided=bool(row.undecided),
        held=bool(row.held),
        under_way=bool(row.under_way),
        failed=bool(row.run_failed or row.delivery_failed),
    )


def _catch_up(connection: Connection, touched: dict[int, tuple[float, bool]]) -> int:
    rows = connection.execute(_TOUCHED, {"studies": list(touched)}).all()
    if not rows:
        return 0
    found = standings(connection, {row.study_id for row in rows})  # what was committed while we waited, too
    wrong = 0
    alike: dict[tuple[str, str, str | None, float], list[int]] = {}
    for order in rows:
        now, changed = touched[order.study_id]
        standing = found[order.study_id]
        state = derive_row(order, standing)
        failure, report = _failure(connection, standing, order) if state == "failed" else ("", None)
        if state == "cancelled":
            failure, report = order.failure, order.failure_result_id
        differs = (order.state, order.failure, order.failure_result_id) != (state, failure, report)
        wrong += differs
        if differs or changed:
            alike.setdefault((state, failure, report, max(now, order.updated_at)), []).append(order.seq)
    for (state, failure, report, updated_at), seqs in alike.items():
        values = {"state_": state, "failure_": failure, "report_": report, "at_": updated_at}
        connection.execute(_FOLLOW, {**values, "seqs": seqs})
    return wrong


def _without_study(connection: Connection, now: float) -> int:
    wrong = 0
    for order in connection.execute(
        select(orders).where(orders.c.study_id.is_(None)).order_by(orders.c.seq).with_for_update()
    ).all():
        state = derive_row(order, None)
        wrong += state != order.state
        if state != order.state:
            connection.execute(
                update(orders)
                .where(orders.c.seq == order.seq)
                .values(state=state, updated_at=now, version=orders.c.version + 1)
            )
    return wrong


def _failure(connection: Connection, standing: Row[Any], order: Any) -> tuple[str, str | None]:
    """Why a study has failed, in names of the table alone, and its latest failure report."""
    of_study = studies.c.id == standing.id
    gave_up = [
        *(f"processor {name} failed" for name in _names(connection, jobs.c.processor, of_study, _FAILED_RUN)),
        *(
            f"delivery to {name} gave up"
            for name in _names(connection, deliveries.c.destination, of_study, _DEAD_LETTER)
        ),
    ]
    report = None
    if standing.run_failed:
        report = connection.execute(
            select(results.c.result_id)
            .where(
                results.c.study_id == standing.id,
                results.c.status == "failed",
                results.c.shadow.is_(False),
                results.c.study_revision >= order.since_revision,
            )
            .order_by(results.c.produced_at.desc(), results.c.result_id)
            .limit(1)
        ).scalar_one_or_none()
    return "; ".join(gave_up), report


def _names(connection: Connection, column: Any, of_study: Any, failed: tuple[Any, ...]) -> list[str]:
    query = select(column).select_from(studies).join(column.table, and_(*failed)).where(of_study)
    return sorted(set(connection.execute(query).scalars()))


def count_by_state(connection: Connection, sites: Collection[str] | None) -> dict[str, int]:
    """How many orders are in each state."""
    query = select(orders.c.state, func.count()).group_by(orders.c.state)
    if sites is not None:
        query = query.where(orders.c.site.in_(list(sites)))
    return {state: int(count) for state, count in connection.execute(query)}
