"""What is done to orders, each change one transaction with its event on the audit trail.

Enter: an order as it is given, or an order and what is asked of it. Leaves: the order's row as it is then.
Rows are locked in one order by everybody: the study, its lanes, the audit trail, the order; so what is asked
of an order is judged by what it is at that moment, and an event is never about a change that was not made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, literal, select, update

from engine.audit import append_event
from engine.errors import OrderRefused, OrderRefusedReason
from engine.order_model import NewBatch, NewOrder, OrderState, Submitter
from engine.order_names import named
from engine.store import batches, order_cancel, orders, replay, studies
from engine.store.dialect import serialise
from engine.store.order_cancel import Stopped
from engine.store.order_states import catch_up, derive_row, standings, touch
from engine.store.orders import Scope
from engine.store.study_orders import bind as bind_row
from engine.store.study_orders import new_id
from engine.store.tables import batches as batch_table
from engine.store.tables import instances, order_results, results
from engine.store.tables import orders as table

OVER = (OrderState.DELIVERED, OrderState.FAILED, OrderState.CANCELLED)
CHANGEABLE = (OrderState.CREATED, OrderState.RECEIVING, OrderState.STABLE, OrderState.HELD)
STATE, VERSION = OrderRefusedReason.STATE, OrderRefusedReason.VERSION


def create(
    connection: Connection, new: NewOrder, metadata: Mapping[str, str], now: float, replace_within: float
) -> Row[Any]:
    """Take an order; see `engine.order_desk.OrderDesk.create`.

    Args:
        metadata: checked (`engine.overrides`).
    """
    digest = _digest([new.site, new.study_instance_uid, dict(metadata), new.batch_id])
    before = _given_before(connection, table, new.submitter, new.idempotency_key, digest)
    if before is not None:
        return before
    if new.batch_id is not None:
        batches.by_id(connection, new.batch_id, [new.site])
    order_id = new_id()
    connection.execute(
        insert(table).values(
            order_id=order_id,
            site=new.site,
            submitter_kind=new.submitter.kind,
            submitter=new.submitter.name,
            inbound=new.inbound,
            batch_id=new.batch_id,
            study_instance_uid=new.study_instance_uid,
            state=OrderState.CREATED.value,
            overrides=dict(metadata),
            idempotency_key=new.idempotency_key,
            request_digest=digest,
            created_at=now,
            updated_at=now,
            **named(metadata),
        )
    )
    _tell(
        connection, now, new.submitter, "order created", order_id, {"site": new.site, "metadata": [*metadata]}
    )
    if new.study_instance_uid:
        return bind(connection, order_id, new.study_instance_uid, None, now, replace_within)
    return orders.by_id(connection, order_id)


def create_batch(connection: Connection, new: NewBatch, now: float) -> Row[Any]:
    """Begin a batch."""
    digest = _digest([new.site, new.name])
    before = _given_before(connection, batch_table, new.submitter, new.idempotency_key, digest)
    if before is not None:
        return before
    batch_id = new_id()
    connection.execute(
        insert(batch_table).values(
            batch_id=batch_id,
            site=new.site,
            submitter_kind=new.submitter.kind,
            submitter=new.submitter.name,
            name=new.name,
            idempotency_key=new.idempotency_key,
            request_digest=digest,
            created_at=now,
        )
    )
    event = {"actor": str(new.submitter), "action": "batch created", "subject": f"batch {batch_id}"}
    append_event(connection, now, **event, detail={"site": new.site})
    return batches.by_id(connection, batch_id)


def set_metadata(
    connection: Connection,
    order_id: str,
    metadata: Mapping[str, str],
    actor: Submitter,
    sites: Scope,
    version: int | None,
    now: float,
) -> Row[Any]:
    """Give an order other metadata; see `engine.order_desk.OrderDesk.set_metadata`."""
    order = _ours(connection, order_id, sites, version)
    if order.state not in CHANGEABLE:
        raise OrderRefused(
            STATE,
            f"order {order_id} is {order.state}: metadata count until its study is decided; give another",
        )
    found = {column: value for column, value in named(metadata).items() if value}
    detail = {"metadata": [*metadata], "before": [*order.overrides]}
    _tell(connection, now, actor, "order metadata changed", order_id, detail)
    _change(connection, order, now, overrides=dict(metadata), **found)
    return orders.by_id(connection, order_id)


def uploading(connection: Connection, order_id: str, sites: Scope, now: float) -> Row[Any]:
    """Bytes for an order are on their way."""
    order = _without_study(_ours(connection, order_id, sites))
    if order.upload_began_at is None or order.failure:
        _tell(connection, now, _giver(order), "order upload began", order_id, {})
        _change(connection, order, now, upload_began_at=now, failure="")
    return orders.by_id(connection, order_id)


def upload_ended(connection: Connection, order_id: str, failure: str, sites: Scope, now: float) -> Row[Any]:
    """An upload left nothing, or nothing of use (``failure`` says why)."""
    order = _without_study(_ours(connection, order_id, sites))
    if failure:
        _tell(connection, now, _giver(order), "order upload failed", order_id, {"reason": failure})
    elif order.upload_began_at is not None:
        _tell(connection, now, _giver(order), "order upload given up", order_id, {})
    _change(connection, order, now, upload_began_at=None, failure=failure)
    return orders.by_id(connection, order_id)


def bind(
    connection: Connection,
    order_id: str,
    study_instance_uid: str,
    sites: Scope,
    now: float,
    replace_within: float,
) -> Row[Any]:
    """The study of an order is this one; see `engine.order_desk.OrderDesk.bind`."""
    site = orders.by_id(connection, order_id, sites).site
    there = studies.find(connection, site, study_instance_uid)
    study = None if there is None else studies.lock(connection, there)
    serialise(connection, "audit")
    order = orders.by_id(connection, order_id, sites, lock=True)
    if order.cancelled_at is not None:
        raise OrderRefused(STATE, f"order {order_id} was cancelled: give another")
    if study is not None and order.study_id == study.id:
        return order
    if order.study_id is not None or order.study_instance_uid not in ("", study_instance_uid):
        raise OrderRefused(STATE, f"order {order_id} is of another study: give another order for this one")
    _tell(connection, now, _giver(order), "order bound", order_id, {"study": study_instance_uid})
    if study is None:
        _change(connection, order, now, study_instance_uid=study_instance_uid)
        return orders.by_id(connection, order_id)
    bind_row(connection, order, study, _first_attributes(connection, study.id))
    order = orders.by_id(connection, order_id)
    _take_place_of_the_channels(connection, order, study, now, replace_within)
    _take_results(connection, order, now)
    if order.overrides and study.state == "stable":
        _decide_again(connection, study, now)
    touch(connection, study.id, now, changed=True)
    catch_up(connection)
    _replace_earlier(connection, order, now, replace_within)
    return orders.by_id(connection, order_id)


def cancel(
    connection: Connection,
    order_id: str,
    actor: Submitter,
    reason: str,
    sites: Scope,
    version: int | None,
    now: float,
) -> tuple[Row[Any], Stopped, bool]:
    """Cancel an order: it, what was stopped, and whether another order kept everything going."""
    order = orders.by_id(connection, order_id, sites)
    if order.study_id is not None:
        studies.lock(connection, order.study_id)
    order = orders.by_id(connection, order_id, sites)
    if order.cancelled_at is not None:
        return order, Stopped(), False
    shared = order.study_id is not None and _wanted_by_others(connection, order)
    stopped = Stopped()
    if order.study_id is not None and not shared:
        stopped = order_cancel.stop(connection, order.study_id, order.since_revision, now)
    serialise(connection, "audit")
    order = orders.by_id(connection, order_id, sites, lock=True)  # what refuses now undoes all of it
    if version is not None and version != order.version:
        raise OrderRefused(VERSION, f"order {order_id} has changed since: look at it again")
    if order.state in OVER:
        raise OrderRefused(STATE, f"order {order_id} is {order.state}: nothing of it is still to begin")
    detail = {
        "reason": reason,
        "study": order.study_instance_uid,
        "runs": stopped.runs,
        "deliveries": stopped.deliveries,
        "delivered": list(stopped.delivered),
        "shared": shared,
    }
    _tell(connection, now, actor, "order cancelled", order_id, detail)
    _change(connection, order, now, cancelled_at=now, cancelled_by=str(actor)[:128])
    return orders.by_id(connection, order_id), stopped, shared


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────


def _ours(connection: Connection, order_id: str, sites: Scope, version: int | None = None) -> Row[Any]:
    """An order, its study's row and its own ours until the transaction ends."""
    order = orders.by_id(connection, order_id, sites)
    if order.study_id is not None:
        studies.lock(connection, order.study_id)
    serialise(connection, "audit")
    order = orders.by_id(connection, order_id, sites, lock=True)
    if version is not None and version != order.version:
        raise OrderRefused(VERSION, f"order {order_id} has changed since: look at it again")
    return order


def _giver(order: Row[Any]) -> Submitter:
    return Submitter(kind=order.submitter_kind, name=order.submitter)


def _without_study(order: Row[Any]) -> Row[Any]:
    if order.cancelled_at is not None:
        raise OrderRefused(STATE, f"order {order.order_id} was cancelled: give another")
    if order.study_id is not None:
        raise OrderRefused(STATE, f"the study of order {order.order_id} is here: give another order")
    return order


def _change(connection: Connection, order: Row[Any], now: float, **values: Any) -> None:
    """Write an order, its version and the state that follows."""
    after = connection.execute(
        update(table)
        .where(table.c.seq == order.seq)
        .values(**values, version=table.c.version + 1, updated_at=max(now, order.updated_at))
        .returning(table)
    ).one()
    found = standings(connection, [after.study_id]) if after.study_id is not None else {}
    state = derive_row(after, found.get(after.study_id))
    if state != after.state:
        connection.execute(update(table).where(table.c.seq == order.seq).values(state=state))


def _given_before(
    connection: Connection, of: Any, submitter: Submitter, key: str | None, digest: str
) -> Row[Any] | None:
    """What the same idempotency key gave the first time."""
    if key is None:
        return None
    serialise(connection, f"{of.name} {submitter} {key}")
    row: Row[Any] | None = connection.execute(
        select(of).where(
            of.c.submitter_kind == submitter.kind,
            of.c.submitter == submitter.name,
            of.c.idempotency_key == key,
        )
    ).one_or_none()
    if row is not None and row.request_digest != digest:
        raise OrderRefused(
            OrderRefusedReason.IDEMPOTENCY,
            "the idempotency key came with another request before: use a new one",
        )
    return row


def _digest(request: list[Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _first_attributes(connection: Connection, study_id: int) -> dict[str, Any]:
    query = select(instances.c.attributes).where(instances.c.study_id == study_id)
    return connection.execute(query.order_by(instances.c.id).limit(1)).scalar() or {}


def _take_place_of_the_channels(
    connection: Connection, order: Row[Any], study: Row[Any], now: float, replace_within: float
) -> None:
    """The order that the study's way in gave for it gives way, with its results, while it is young."""
    if now - study.last_at > replace_within:
        return
    given_by_channel = connection.execute(
        select(table.c.order_id, table.c.since_revision).where(
            table.c.study_id == study.id,
            table.c.submitter_kind == "channel",
            table.c.cancelled_at.is_(None),
            table.c.seq != order.seq,
            table.c.batch_id.is_(None),
        )
    ).all()
    for row in given_by_channel:
        connection.execute(
            update(order_results)
            .where(order_results.c.order_id == row.order_id)
            .values(order_id=order.order_id)
        )
        connection.execute(delete(table).where(table.c.order_id == row.order_id))
        first = min(order.since_revision, row.since_revision)
        connection.execute(update(table).where(table.c.seq == order.seq).values(since_revision=first))


def _take_results(connection: Connection, order: Row[Any], now: float) -> None:
    """What there is already of the revision that the order begins with is its own, too."""
    taken = select(order_results.c.result_id).where(order_results.c.order_id == order.order_id)
    connection.execute(
        insert(order_results).from_select(
            ["order_id", "result_id", "site", "filed_at"],
            select(literal(order.order_id), results.c.result_id, literal(order.site), literal(now))
            .where(
                results.c.study_id == order.study_id,
                results.c.study_revision >= order.since_revision,
                results.c.shadow.is_(False),
                results.c.result_id.not_in(taken),
            )
            .order_by(results.c.produced_at, results.c.result_id),
        )
    )


def _decide_again(connection: Connection, study: Row[Any], now: float) -> None:
    """Metadata came for a study that was decided without: its latest revision is decided with them."""
    state = replay.revision_state(connection, study.id, study.revision)
    if study.purged_at is None and state in ("decided", "held"):
        replay.release_holds(connection, study.id, now)
        studies.set_revision_state(connection, study.id, study.revision, "closed", now)


def _replace_earlier(connection: Connection, order: Row[Any], now: float, replace_within: float) -> None:
    """Somebody gives the same again at once: the earlier order of the two is cancelled, told as replaced."""
    order = orders.by_id(connection, order.order_id)
    if replace_within <= 0 or order.submitter_kind == "channel":
        return
    same_study = table.c.study_id == order.study_id
    if order.accession_number and order.patient_id:
        same_study = same_study | (
            (table.c.accession_number == order.accession_number)
            & (table.c.patient_id == order.patient_id)
            & table.c.study_id.is_not(None)
        )
    earlier = connection.execute(
        select(table).where(
            same_study,
            table.c.site == order.site,
            table.c.submitter_kind == order.submitter_kind,
            table.c.submitter == order.submitter,
            table.c.seq < order.seq,
            table.c.created_at >= now - replace_within,
            table.c.cancelled_at.is_(None),
            table.c.state.not_in([state.value for state in OVER]),
            # The orders of one batch are meant to be several.
            table.c.batch_id.is_(None) if order.batch_id is None else table.c.batch_id != order.batch_id,
        )
    ).all()
    actor = Submitter(kind=order.submitter_kind, name=order.submitter)
    for row in earlier:
        reason = f"replaced by order {order.order_id}"
        cancel(connection, row.order_id, actor, reason, None, None, now)
        connection.execute(update(table).where(table.c.seq == row.seq).values(failure=reason))


def _wanted_by_others(connection: Connection, order: Row[Any]) -> bool:
    others = select(table.c.seq).where(
        table.c.study_id == order.study_id, table.c.seq != order.seq, table.c.cancelled_at.is_(None)
    )
    return connection.execute(others.limit(1)).first() is not None


def _tell(
    connection: Connection, now: float, actor: Submitter, action: str, order_id: str, detail: dict[str, Any]
) -> None:
    append_event(connection, now, actor=str(actor), action=action, subject=f"order {order_id}", detail=detail)
