"""A person answers a hold: the study goes on, or stays as it is, and the trail says why.

Enter: ids of holds, a reason, what to do then. Leave: a step for each; carried out, the holds are
released in one transaction with an event for each. A revision that was never decided because it was
held (instances came late) is decided then; what was decided before stays as it is unless a person
wants it routed or processed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from engine.audit import append_event
from engine.errors import PonsError
from engine.replay_plan import Stage, Step
from engine.store import holds as queries
from engine.store import replay, studies
from engine.table import Table
from engine.take_up import study_step, take_up

NOTHING_MORE = "released; nothing else happens"


def plan(connection: Connection, ids: Sequence[int], then: Stage | None, table: Table) -> list[Step]:
    """Work out what releasing holds would do; nothing is changed.

    Raises:
        PonsError: one of the ids is not here.
    """
    return [step for step, _ in _plan(connection, ids, then, table)]


def release(
    connection: Connection,
    ids: Sequence[int],
    then: Stage | None,
    table: Table,
    now: float,
    *,
    actor: str,
    reason: str,
) -> list[Step]:
    """Release holds, inside the caller's transaction, and say what was done.

    Raises:
        PonsError: as `plan`; nothing is changed then.
    """
    replay.lock_studies(connection, {row.study_id for row in queries.with_ids(connection, ids)})
    steps = _plan(connection, ids, then, table)
    taken_up: set[int] = set()
    for step, stage in steps:
        if step.left_out:
            continue
        hold = step.row
        queries.release(connection, hold.id, now)
        if stage is not None and hold.study_id not in taken_up:
            taken_up.add(hold.study_id)
            take_up(connection, studies.study(connection, hold.study_id), stage, now)
    for study_id, revision in {(step.row.study_id, step.row.revision) for step, _ in steps}:
        if study_id not in taken_up:
            _settle_revision(connection, study_id, revision)
    for step, stage in steps:
        if not step.left_out:
            append_event(
                connection,
                now,
                actor=actor,
                action="hold released",
                subject=f"hold {step.id}",
                detail={
                    "reason": reason,
                    "study": step.study,
                    "held for": step.row.reason,
                    "then": stage.value if stage else "nothing",
                },
            )
    return [step for step, _ in steps]


def _plan(
    connection: Connection, ids: Sequence[int], then: Stage | None, table: Table
) -> list[tuple[Step, Stage | None]]:
    found = {row.id: row for row in queries.with_ids(connection, ids)}
    missing = [key for key in ids if key not in found]
    if missing:
        raise PonsError(f"no hold {missing[0]} here; `pons hold list` lists what there is")
    return [_step(connection, found[key], then, table) for key in dict.fromkeys(ids)]


def _step(connection: Connection, hold: Any, then: Stage | None, table: Table) -> tuple[Step, Stage | None]:
    study = studies.study(connection, hold.study_id)
    undecided = replay.revision_state(
        connection, study.id, hold.revision
    ) == "held" and not queries.was_decided(connection, study.id, hold.revision)
    stage, why = next_stage(
        released=hold.released_at is not None,
        undecided=undecided,
        latest=hold.revision == study.revision,
        purged=study.purged_at is not None,
        then=then,
    )
    effect = NOTHING_MORE
    if stage is not None and not why:
        following = study_step(connection, study, stage, table)
        why, effect = following.left_out, following.effect
    state = "released" if hold.released_at is not None else "held"
    step = Step(
        str(hold.id), study.site, study.study_instance_uid, "", state, "" if why else effect, why, hold
    )
    return step, None if why else stage


def next_stage(
    *, released: bool, undecided: bool, latest: bool, purged: bool, then: Stage | None
) -> tuple[Stage | None, str]:
    """From which stage a study goes on when a hold is released, or why the hold stays.

    Args:
        undecided: its revision was held before it was decided.
        latest: no revision came since.
        then: what a person wants.
    """
    if released:
        return None, "it was released before"
    if then is None:
        return (Stage.ROUTE if undecided and latest and not purged else None), ""
    if not latest:
        return None, "a later revision has come since: release it without --then"
    return then, ""


def _settle_revision(connection: Connection, study_id: int, revision: int) -> None:
    """A revision that nothing holds any more is decided, or, where it never was, passed over."""
    if replay.revision_state(connection, study_id, revision) != "held":
        return
    if queries.open_of(connection, study_id, revision):
        return
    state = "decided" if queries.was_decided(connection, study_id, revision) else "ignored"
    studies.set_revision_state(connection, study_id, revision, state)
