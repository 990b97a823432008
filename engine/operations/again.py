"""What a person lets go on, gives up or has done again: as the commands do it, for the sites that he may see.

Enter: a connection inside a transaction, ids or a selection, who and why. Leaves: a plan, step by step. What
was judged is what is done: the plan is made inside the transaction that carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from sqlalchemy import Connection

from engine import dead_letter, release, replay
from engine.clock import at
from engine.delivery_model import ActionPlan, HeldRow, PlannedStep, ReplayQuery
from engine.errors import PonsError
from engine.operations_model import OperationRefused, OperationRefusedReason, Sites
from engine.reason import checked_reason
from engine.replay_plan import Stage, Step
from engine.store import browse
from engine.store.replay import FAILED, HELD, Selection
from engine.table import Table

NOT_FOUND, INVALID, CHANGED = (
    OperationRefusedReason.NOT_FOUND,
    OperationRefusedReason.INVALID,
    OperationRefusedReason.CHANGED,
)
Then = Literal["route", "process"] | None
MOST = 1000
"""Deliveries, studies or holds in one action: more are for `pons replay --force`."""


def reason_of(words: str) -> str:
    """The reason as it is kept."""
    try:
        return checked_reason(words)
    except PonsError as error:
        raise OperationRefused(INVALID, str(error)) from None


# ── holds ───────────────────────────────────────────────────────────────────────────────────────


def holds(
    connection: Connection, sites: Sites, *, study: str | None, released: bool, limit: int
) -> list[HeldRow]:
    """What waits for a person, the longest wait first."""
    rows = browse.list_held(connection, sites=sites, study=study, released=released, limit=limit)
    return [
        HeldRow(
            hold_id=row.id,
            site=row.site,
            study_instance_uid=row.study_instance_uid,
            revision=row.revision,
            reason=row.reason,
            held_at=at(row.held_at),
            released_at=at(row.released_at) if row.released_at is not None else None,
        )
        for row in rows
    ]


def plan_release(
    connection: Connection, ids: Sequence[int], then: Then, sites: Sites, table: Table
) -> ActionPlan:
    """What releasing holds would do."""
    _demand(ids, browse.holds_among(connection, ids, sites), "hold")
    return _plan(release.plan(connection, ids, _stage(then), table))


def release_holds(
    connection: Connection,
    ids: Sequence[int],
    then: Then,
    sites: Sites,
    table: Table,
    now: float,
    *,
    actor: str,
    reason: str,
) -> ActionPlan:
    """Release them, inside the caller's transaction."""
    _demand(ids, browse.holds_among(connection, ids, sites), "hold")
    return _plan(release.release(connection, ids, _stage(then), table, now, actor=actor, reason=reason))


def _stage(then: Then) -> Stage | None:
    return Stage(then) if then is not None else None


# ── dead letters ────────────────────────────────────────────────────────────────────────────────


def discard(
    connection: Connection, ids: Sequence[str], sites: Sites, now: float, *, actor: str, reason: str
) -> int:
    """Give dead letters up, inside the caller's transaction."""
    _demand(ids, browse.deliveries_among(connection, ids, sites), "delivery")
    try:
        return dead_letter.discard(connection, ids, now, actor=actor, reason=reason)
    except PonsError as error:
        raise OperationRefused(CHANGED, str(error)) from None


# ── replay ──────────────────────────────────────────────────────────────────────────────────────


def plan_replay(connection: Connection, query: ReplayQuery, table: Table) -> ActionPlan:
    """What a replay would do."""
    stage, wanted = _selection(connection, query)
    try:
        return _plan(replay.plan(connection, stage, wanted, table, to=query.to).steps)
    except PonsError as error:
        raise OperationRefused(INVALID, str(error)) from None


def carry_out(
    connection: Connection,
    query: ReplayQuery,
    table: Table,
    now: float,
    *,
    expect: int,
    actor: str,
    reason: str,
) -> ActionPlan:
    """Replay, inside the caller's transaction."""
    stage, wanted = _selection(connection, query)
    try:
        done = replay.replay(
            connection,
            stage,
            wanted,
            table,
            now,
            actor=actor,
            reason=reason,
            to=query.to,
            limit=MOST,
            expect=expect,
        )
    except replay.NotAsExpected as error:
        raise OperationRefused(CHANGED, str(error)) from None
    except PonsError as error:
        raise OperationRefused(INVALID, str(error)) from None
    return _plan(done.steps)


def _selection(connection: Connection, query: ReplayQuery) -> tuple[Stage, Selection]:
    stage = Stage(query.begin)
    if query.to is not None and stage is not Stage.DELIVER:
        where = "another destination goes with deliver: what is made again goes where its route says"
        raise OperationRefused(INVALID, where)
    if stage is Stage.DELIVER and set(query.states) & {HELD, FAILED}:
        raise OperationRefused(INVALID, "held and failed are states of studies, not of deliveries")
    if stage is Stage.DELIVER:
        _demand(query.ids, browse.deliveries_among(connection, query.ids, query.sites), "delivery")
    states = query.states or (("dead",) if stage is Stage.DELIVER and not query.ids else ())
    wanted = Selection(
        study=query.study,
        site=query.site,
        destination=query.destination,
        route=query.route,
        states=states,
        ids=query.ids,
        sites=() if query.sites is None else (*sorted(query.sites), ""),  # the last: none is not every
    )
    if not (query.ids or query.study or query.site or query.destination or query.route or query.states):
        what = "name what: deliveries, a study, a site, a destination, a route or a state"
        raise OperationRefused(INVALID, what)
    return stage, wanted


def _demand(ids: Collection[object], found: Collection[object], what: str) -> None:
    if not all(one in found for one in ids):
        raise OperationRefused(NOT_FOUND, f"no such {what} here")


def _plan(steps: Sequence[Step]) -> ActionPlan:
    return ActionPlan(
        tuple(
            PlannedStep(
                step.id, step.site, step.study, step.destination, step.state, step.effect, step.left_out
            )
            for step in steps
        )
    )
