"""`pons audit list | verify`: who did what, when and why, and whether the trail is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from engine import audit
from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, Limit, ListsByDefault, Since, TablePath, moment, read, show
from engine.store import trail


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ListsByDefault, help="The audit trail: list (by default), verify.")
    group.command("list")(list_events)
    group.command("verify")(verify_trail)
    app.add_typer(group, name="audit")


def list_events(
    table: TablePath = Path("routes.yaml"),
    action: Annotated[str | None, typer.Option(help="What was done, for example `replayed`.")] = None,
    actor: Annotated[str | None, typer.Option(help="By whom: a part of the name.")] = None,
    subject: Annotated[str | None, typer.Option(help="To what: a part of it, for example an id.")] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="The latest time, as --since.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The latest events, the newest last."""
    now = SteadyClock().now()
    first, last = moment(since, now, "--since"), moment(until, now, "--until")
    rows = read(
        table,
        lambda c: trail.list_events(
            c, action=action, actor=actor, subject=subject, since=first, until=last, limit=limit
        ),
    )
    show(
        [
            {
                "id": row.id,
                "at": at(row.at).isoformat(timespec="seconds"),
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                "detail": row.detail if as_json else json.dumps(row.detail, ensure_ascii=False),
            }
            for row in rows
        ],
        as_json,
        "the audit trail is empty",
    )


def verify_trail(table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Check that no event was changed or removed; exit code 1 names the first that does not fit."""

    def work(connection: Connection) -> tuple[int | None, int]:
        return audit.verify(connection), trail.count(connection)

    broken, count = read(table, work)
    if as_json:
        typer.echo(json.dumps({"events": count, "whole": broken is None, "broken_at": broken}))
    elif broken is None:
        typer.echo(f"{count} events, the chain is whole")
    else:
        typer.echo(f"event {broken} does not fit: it, or one before it, was changed or removed", err=True)
    if broken is not None:
        raise typer.Exit(1)
