"""`pons hold list | release`: what waits for a person, and the answer."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.clock import SteadyClock, at
from engine.commands.desk import (
    AsJson,
    Limit,
    ListsByDefault,
    Reason,
    TablePath,
    Yes,
    read,
    show,
    who,
    write,
)
from engine.config import load
from engine.reason import checked_reason
from engine.release import plan, release
from engine.replay import Stage
from engine.store import holds


class Then(StrEnum):
    """What happens to a study when its hold is released."""

    ROUTE = "route"
    PROCESS = "process"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ListsByDefault, help="Holds: list (by default), release.")
    group.command("list")(list_holds)
    group.command("release")(release_holds)
    app.add_typer(group, name="hold")


def list_holds(
    table: TablePath = Path("routes.yaml"),
    site: Annotated[str | None, typer.Option(help="Of this site only.")] = None,
    study: Annotated[str | None, typer.Option(help="Of this Study Instance UID only.")] = None,
    released: Annotated[bool, typer.Option("--released", help="Those that were answered, too.")] = False,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """What waits for a person, the longest wait first, each with its reason."""
    rows = read(table, lambda c: holds.list_holds(c, site=site, study=study, released=released, limit=limit))
    show(
        [
            {
                "hold": row.id,
                "site": row.site,
                "study": row.study_instance_uid,
                "revision": row.revision,
                "held": at(row.held_at).isoformat(timespec="seconds"),
                "released": at(row.released_at).isoformat(timespec="seconds") if row.released_at else "",
                "reason": row.reason,
            }
            for row in rows
        ],
        as_json,
        "nothing is held",
    )


def release_holds(
    ids: Annotated[list[int], typer.Argument(help="Ids of holds, as `pons hold` shows them.")],
    reason: Reason,
    then: Annotated[
        Then | None,
        typer.Option(
            help="Also decide the study again by the table of now, or process it as it was decided. "
            "A revision that was held before it was decided is decided in any case."
        ),
    ] = None,
    yes: Yes = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Answer holds: the study goes on, and the audit trail says who let it and why."""
    words = checked_reason(reason)
    loaded = load(table, surroundings=False)
    now = SteadyClock().now()
    stage = Stage(then.value) if then else None
    if yes:
        steps = write(loaded, lambda c: release(c, ids, stage, loaded, now, actor=who(), reason=words))
    else:
        steps = read(table, lambda c: plan(c, ids, stage, loaded))
    rows = [
        {
            "hold": int(step.id),
            "site": step.site,
            "study": step.study,
            "state": step.state,
            "what": f"stays: {step.left_out}" if step.left_out else step.effect,
        }
        for step in steps
    ]
    going = sum(not step.left_out for step in steps)
    if as_json:
        typer.echo(json.dumps({"done": yes and going > 0, "released": going, "holds": rows}, indent=2))
    else:
        show(rows, False, "")
        typer.echo(f"{going} holds {'are' if yes else 'would be'} released")
        if not yes:
            typer.echo("nothing was changed; add --yes to do it")
    if yes and not going:
        raise typer.Exit(1)
