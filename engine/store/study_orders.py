"""The orders on a study: which are bound to it when it arrives, which results they have, what they override.

Every study has an order at least. One that was given before its study came is bound to it by the Study
Instance UID, else by site and accession number (and patient, where both are known); where there is none, the
way in that the study came by gives one. All of it happens in the transaction that records the instance.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, insert, literal, or_, select, update

from engine.order_names import named
from engine.store.order_states import touch
from engine.store.tables import order_results, orders, studies

if TYPE_CHECKING:
    from engine.store.recording import NewInstance


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


def arrived(connection: Connection, study_id: int, new: NewInstance, now: float) -> None:
    """A study has begun to arrive, or more of one that was stable: it has an order that is not cancelled."""
    study = connection.execute(select(studies).where(studies.c.id == study_id)).one()
    bound = of_study(connection, study_id)
    if not any(order.cancelled_at is None for order in bound):
        waiting = [] if bound else _waiting_for(connection, new)
        for order in waiting:
            bind(connection, order, study, new.attributes)
        if not waiting:
            connection.execute(
                insert(orders).values(
                    order_id=new_id(),
                    site=new.site,
                    submitter_kind="channel",
                    submitter=new.inbound,
                    inbound=new.inbound,
                    study_id=study_id,
                    since_revision=study.revision + 1,
                    study_instance_uid=new.study_instance_uid,
                    state="receiving",
                    overrides={},
                    created_at=now,
                    updated_at=now,
                    **named(new.attributes),
                )
            )
    touch(connection, study_id, now)


def _waiting_for(connection: Connection, new: NewInstance) -> list[Row[Any]]:
    """The orders that were given before their study came, and that this one is of."""
    waiting = (
        orders.c.site == new.site,
        orders.c.study_id.is_(None),
        orders.c.cancelled_at.is_(None),
    )
    by_uid = connection.execute(
        select(orders)
        .where(*waiting, orders.c.study_instance_uid == new.study_instance_uid)
        .order_by(orders.c.seq)
        .with_for_update()
    ).all()
    names = named(new.attributes)
    if by_uid or not names["accession_number"]:
        return list(by_uid)
    by_accession = connection.execute(
        select(orders)
        .where(
            *waiting,
            orders.c.study_instance_uid == "",
            orders.c.upload_began_at.is_(None),  # that one's study comes by its upload
            orders.c.accession_number == names["accession_number"],
            or_(literal(names["patient_id"]) == "", orders.c.patient_id.in_(("", names["patient_id"]))),
        )
        .order_by(orders.c.seq)
        .limit(1)
        .with_for_update()
    ).all()
    return list(by_accession)


def bind(connection: Connection, order: Row[Any], study: Row[Any], attributes: Mapping[str, Any]) -> None:
    """A study is an order's from now on: from its open revision, or else from the one it has."""
    filled = {
        column: value for column, value in named(attributes).items() if value and not order._mapping[column]
    }
    connection.execute(
        update(orders)
        .where(orders.c.seq == order.seq)
        .values(
            study_id=study.id,
            study_instance_uid=study.study_instance_uid,
            since_revision=study.revision + (study.state == "receiving"),
            upload_began_at=None,
            failure="",
            version=orders.c.version + 1,
            **filled,
        )
    )


def of_study(connection: Connection, study_id: int) -> list[Row[Any]]:
    """Every order on a study, in the order in which they were given."""
    query = select(orders).where(orders.c.study_id == study_id).order_by(orders.c.seq)
    return list(connection.execute(query).all())


def counting_for(connection: Connection, study_id: int, revision: int) -> list[Row[Any]]:
    """The orders that a revision of a study is of."""
    return [order for order in of_study(connection, study_id) if order.since_revision <= revision]


def is_cancelled(connection: Connection, study_id: int, revision: int) -> bool:
    """Whether every order that a revision is of was cancelled: nothing is to begin for it."""
    counting = counting_for(connection, study_id, revision)
    return bool(counting) and all(order.cancelled_at is not None for order in counting)


def overrides_of(connection: Connection, study_id: int, revision: int) -> dict[str, str]:
    """The metadata of a revision's orders, together; of two that name an attribute the later counts."""
    found: dict[str, str] = {}
    for order in counting_for(connection, study_id, revision):
        if order.cancelled_at is None:
            found.update(order.overrides)
    return found


def file_result(connection: Connection, study_id: int, revision: int, result_id: str, now: float) -> None:
    """A result is one of every order that its revision is of."""
    connection.execute(
        insert(order_results).from_select(
            ["order_id", "result_id", "site", "filed_at"],
            select(orders.c.order_id, literal(result_id), orders.c.site, literal(now))
            .where(
                orders.c.study_id == study_id,
                orders.c.since_revision <= revision,
                orders.c.cancelled_at.is_(None),
            )
            .order_by(orders.c.seq),
        )
    )
    touch(connection, study_id, now, changed=True)
