"""Queries on studies, their instances and their revisions; how instances come in is in `recording`.

Each function is one named statement or one small transaction; all take the connection first. Where
several processes write, the study's row is what orders them: who adds to a study, closes, decides or
files a result of it holds that row, and takes it before any lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from engine.store.order_states import touch
from engine.store.tables import holds, instances, revisions, studies

LATE = "instances arrived after the study was stable"
REMOVED = "earlier instances were removed by retention"


def find(connection: Connection, site: str, study_instance_uid: str) -> int | None:
    """The study of a site with this Study Instance UID; None while nothing of it is here."""
    found: int | None = connection.execute(
        select(studies.c.id).where(studies.c.site == site, studies.c.study_instance_uid == study_instance_uid)
    ).scalar_one_or_none()
    return found


def lock(connection: Connection, study_id: int) -> Row[Any]:
    """The study's row, ours until the transaction ends."""
    return connection.execute(
        select(studies).where(studies.c.id == study_id).with_for_update(key_share=True)
    ).one()


def awaits_decision(connection: Connection, study_id: int, revision: int) -> bool:
    """Whether a closed revision is ours to decide; if so, nobody else can until the transaction ends.

    Not while an earlier one is still undecided: what that one causes must come first.
    """
    lock(connection, study_id)
    undecided = connection.execute(
        select(func.min(revisions.c.revision)).where(
            revisions.c.study_id == study_id, revisions.c.state == "closed"
        )
    ).scalar_one()
    return bool(undecided == revision)


def quiet_studies(connection: Connection, quiet_since: float, opened_before: float) -> Sequence[Any]:
    """Studies that may be closed: quiet since a time, or open since before another."""
    return connection.execute(
        select(studies.c.id, studies.c.last_at, studies.c.opened_at)
        .where(
            studies.c.state == "receiving",
            or_(studies.c.last_at <= quiet_since, studies.c.opened_at <= opened_before),
        )
        .order_by(studies.c.last_at)
        .limit(500)
    ).all()


def close_revision(
    connection: Connection, study_id: int, now: float, why: str, *, on_late: str, last_at: float
) -> int | None:
    """Close the open revision; None when an instance arrived since ``last_at`` was read.

    ``on_late`` says what becomes of a revision after the first: ``rerun`` (closed, to be
    decided), ``hold`` (a person decides) or ``ignore`` (kept, nothing happens). One whose earlier
    instances retention has removed is held in any case: it must not be decided as if it were whole.
    """
    study = lock(connection, study_id)
    if study.state != "receiving" or study.last_at > last_at:
        return None
    revision = study.revision + 1
    arrived = (
        select(instances.c.sop_instance_uid)
        .where(instances.c.study_id == study_id, instances.c.revision.is_(None))
        .scalar_subquery()
    )
    connection.execute(
        update(instances)
        .where(
            instances.c.study_id == study_id,
            instances.c.revision.is_not(None),
            instances.c.replaced_in.is_(None),
            instances.c.sop_instance_uid.in_(arrived),
        )
        .values(replaced_in=revision)
    )
    _replace_within_revision(connection, study_id, revision)
    connection.execute(
        update(instances)
        .where(instances.c.study_id == study_id, instances.c.revision.is_(None))
        .values(revision=revision)
    )
    count = connection.execute(
        select(func.count()).select_from(instances).where(*_members(study_id, revision))
    ).scalar_one()
    state = "closed" if revision == 1 else {"rerun": "closed", "hold": "held", "ignore": "ignored"}[on_late]
    if study.purged_at is not None:
        state = "held"
    connection.execute(
        insert(revisions).values(
            study_id=study_id, revision=revision, state=state, closed_at=now, why=why, instances=count
        )
    )
    if state == "held":
        hold(connection, study_id, revision, LATE if study.purged_at is None else REMOVED, now)
    connection.execute(
        update(studies).where(studies.c.id == study_id).values(state="stable", revision=revision)
    )
    touch(connection, study_id, now)
    return int(revision)


def _replace_within_revision(connection: Connection, study_id: int, revision: int) -> None:
    """Of several versions that arrived within one revision, the latest stands."""
    latest = (
        select(func.max(instances.c.id))
        .where(instances.c.study_id == study_id, instances.c.revision.is_(None))
        .group_by(instances.c.sop_instance_uid)
        .scalar_subquery()
    )
    connection.execute(
        update(instances)
        .where(
            instances.c.study_id == study_id, instances.c.revision.is_(None), instances.c.id.not_in(latest)
        )
        .values(replaced_in=revision)
    )


def _members(study_id: int, revision: int) -> tuple[Any, ...]:
    return (
        instances.c.study_id == study_id,
        instances.c.revision <= revision,
        or_(instances.c.replaced_in.is_(None), instances.c.replaced_in > revision),
    )


def members(connection: Connection, study_id: int, revision: int) -> Sequence[Row[Any]]:
    """The instances of a study revision, in order of series and arrival."""
    return connection.execute(
        select(instances)
        .where(*_members(study_id, revision))
        .order_by(instances.c.series_instance_uid, instances.c.id)
    ).all()


def digests(connection: Connection, study_id: int, revision: int) -> Sequence[str]:
    """The digests of the instances of a study revision, in no order."""
    return connection.execute(select(instances.c.sha256).where(*_members(study_id, revision))).scalars().all()


def study(connection: Connection, study_id: int) -> Row[Any]:
    """One study."""
    return connection.execute(select(studies).where(studies.c.id == study_id)).one()


def revisions_in(connection: Connection, state: str, limit: int = 100) -> Sequence[Row[Any]]:
    """Revisions in a state, oldest first."""
    return connection.execute(
        select(revisions).where(revisions.c.state == state).order_by(revisions.c.closed_at).limit(limit)
    ).all()


def set_revision_state(
    connection: Connection, study_id: int, revision: int, state: str, now: float = 0.0
) -> None:
    """Move a revision to a state."""
    connection.execute(
        update(revisions)
        .where(and_(revisions.c.study_id == study_id, revisions.c.revision == revision))
        .values(state=state)
    )
    touch(connection, study_id, now)


def hold(connection: Connection, study_id: int, revision: int, reason: str, now: float) -> None:
    """Make a study revision wait for a person, visibly."""
    connection.execute(insert(holds).values(study_id=study_id, revision=revision, reason=reason, held_at=now))
    touch(connection, study_id, now)
