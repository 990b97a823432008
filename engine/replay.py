"""A person has something done again: delivered, processed, routed or assembled.

Enter: from which stage, a selection, the table of now. Leave: a plan that says of every delivery or
study what happens to it, or why nothing does; when it is carried out, in one transaction with its
event on the audit trail. The plan is made inside that transaction, so what was judged is what is done.

It never puts an old version after a new one and never sends what belongs to one site to another.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from engine.audit import append_event
from engine.errors import PonsError
from engine.replay_plan import Plan, Stage, Step
from engine.resend import delivery_steps, redirect
from engine.store import replay as queries
from engine.store.replay import Selection
from engine.table import Table
from engine.take_up import study_step, take_up

__all__ = ["NotAsExpected", "Plan", "Selection", "Stage", "Step", "plan", "replay"]


class NotAsExpected(PonsError):
    """Something happened between the plan that a person saw and his word to carry it out."""


def plan(
    connection: Connection, stage: Stage, wanted: Selection, table: Table, *, to: str | None = None
) -> Plan:
    """Work out a replay; nothing is changed.

    Raises:
        PonsError: one of the ids is not here, or ``to`` is no destination of the table.
    """
    if to is not None and to not in table.outbound:
        raise PonsError(f"the table has no destination {to}; it has {', '.join(sorted(table.outbound))}")
    if stage is Stage.DELIVER:
        rows = queries.selected_deliveries(connection, wanted)
        _demand_all(wanted.ids, {row.delivery_id for row in rows}, "delivery", "deliveries", wanted)
        steps = delivery_steps(connection, rows, table, to)
    else:
        rows = queries.selected_studies(connection, wanted)
        _demand_all(wanted.ids, {row.study_instance_uid for row in rows}, "study", "studies", wanted)
        steps = [study_step(connection, row, stage, table, route=wanted.route) for row in rows]
    return Plan(stage, to, tuple(steps))


def replay(
    connection: Connection,
    stage: Stage,
    wanted: Selection,
    table: Table,
    now: float,
    *,
    actor: str,
    reason: str,
    to: str | None = None,
    limit: int | None = None,
    expect: int | None = None,
) -> Plan:
    """Carry a replay out, inside the caller's transaction, and say what was done.

    Args:
        actor: who does it, for the audit trail.
        limit: refuse to do it to more than these.
        expect: refuse to do it to any other number: it is what a person was shown and has agreed to.

    Raises:
        PonsError: as `plan`, or there are more than ``limit``; nothing is changed then.
        NotAsExpected: there are others than ``expect``; nothing is changed then.
    """
    if stage is Stage.DELIVER:
        rows = queries.selected_deliveries(connection, wanted)
        if to is not None:  # a newer version for another destination comes by way of its study
            queries.lock_studies(connection, {row.study_id for row in rows})
        queries.lock_lanes(connection, rows)
    else:
        queries.lock_studies(connection, (row.id for row in queries.selected_studies(connection, wanted)))
    planned = plan(connection, stage, wanted, table, to=to)
    count = len(planned.going)
    if limit is not None and count > limit:
        raise PonsError(f"{count} would be replayed, more than {limit}; narrow the selection, or add --force")
    if expect is not None and count != expect:
        raise NotAsExpected(f"{count} would be replayed by now, not {expect}; look again, then do it")
    if not count:
        return planned
    if stage is Stage.DELIVER and to is None:
        queries.send_again(connection, [step.row for step in planned.going], now, "sent again by a person")
    elif to is not None:
        for step in planned.going:
            redirect(connection, step.row, table.outbound[to], now, instances=table.engine.data / "instances")
    else:
        for step in planned.going:
            take_up(connection, step.row, stage, now, route=wanted.route)
            queries.release_holds(connection, step.row.id, now)
    append_event(
        connection,
        now,
        actor=actor,
        action="replayed",
        subject=f"{count} from {stage.value}" + (f" to {to}" if to else ""),
        detail={
            "reason": reason,
            "selection": wanted.facts,
            "left out": len(planned.left_out),
            "studies": sorted({step.study for step in planned.going}),
            **({"deliveries": [step.id for step in planned.going]} if stage is Stage.DELIVER else {}),
        },
    )
    return planned


def _demand_all(ids: Sequence[str], found: set[str], one: str, many: str, wanted: Selection) -> None:
    missing = [key for key in ids if key not in found]
    if missing:
        meant = " that the other options mean" if len(wanted.facts) > 1 else ""
        raise PonsError(f"no {one} {missing[0]} here{meant}; `pons {many}` lists what there is")
