"""`pons dead list | show | discard`: what could not be delivered, why, and giving it up.

How a dead letter goes again is `pons replay --from deliver`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from engine.clock import SteadyClock, at
from engine.commands.desk import (
    AsJson,
    Limit,
    ListsByDefault,
    Reason,
    Since,
    TablePath,
    Yes,
    moment,
    read,
    show,
    who,
    write,
)
from engine.config import load
from engine.dead_letter import dead_letters, discard
from engine.reason import checked_reason
from engine.store import deliveries
from engine.store.replay import Selection, selected_deliveries

Ids = Annotated[list[str], typer.Argument(help="Ids of dead letters, as `pons dead` shows them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=ListsByDefault, help="Dead letters: list (by default), show, discard.")
    group.command("list")(list_dead)
    group.command("show")(show_dead)
    group.command("discard")(discard_dead)
    app.add_typer(group, name="dead")


def list_dead(
    table: TablePath = Path("routes.yaml"),
    destination: Annotated[str | None, typer.Option(help="To this destination only.")] = None,
    site: Annotated[str | None, typer.Option(help="Of this site only.")] = None,
    study: Annotated[str | None, typer.Option(help="Of this Study Instance UID only.")] = None,
    since: Since = None,
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Deliveries that gave up, the oldest first, each with its reason."""
    wanted = Selection(
        destination=destination,
        site=site,
        study=study,
        states=("dead",),
        since=moment(since, SteadyClock().now(), "--since"),
    )
    rows = read(table, lambda c: selected_deliveries(c, wanted))
    show([_row(row) for row in rows[:limit]], as_json, "no dead letters")
    if not as_json and len(rows) > limit:
        typer.echo(f"and {len(rows) - limit} more; --limit shows them")


def show_dead(
    delivery: Annotated[str, typer.Argument(help="Id of a dead letter.")],
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """One dead letter with every attempt and what was answered."""

    def facts(connection: Connection) -> dict[str, Any]:
        (row,) = dead_letters(connection, [delivery])
        return {
            **_row(row),
            "result": row.result_id or "",
            "study revision": row.study_revision,
            "after": list(row.after),
            "created": at(row.created_at).isoformat(timespec="seconds"),
            "identifiers": [part["identifier"] for part in row.payload or ()],
            "tries": [
                {
                    "attempt": one.attempt,
                    "started": at(one.started_at).isoformat(timespec="seconds"),
                    "outcome": one.outcome,
                    "code": one.code,
                    "detail": one.detail,
                    "warning": one.warning,
                }
                for one in deliveries.attempts_of(connection, delivery)
            ],
        }

    told = read(table, facts)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for key, value in told.items():
        if key != "tries":
            text = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{key + ':':16}{text}")
    typer.echo()
    show(told["tries"], False, "no attempts")


def discard_dead(
    ids: Ids,
    reason: Reason,
    yes: Yes = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Give dead letters up: they stay on record as discarded, with who and why on the audit trail."""
    words = checked_reason(reason)
    loaded = load(table, surroundings=False)
    now = SteadyClock().now()
    if yes:
        count = write(loaded, lambda c: discard(c, ids, now, actor=who(), reason=words))
    else:
        count = len(read(table, lambda c: dead_letters(c, ids)))
    if as_json:
        typer.echo(json.dumps({"done": yes, "discarded": count if yes else 0, "selected": count}))
        return
    typer.echo(f"{count} dead letters {'are' if yes else 'would be'} discarded")
    if not yes:
        typer.echo("nothing was changed; add --yes to do it")


def _row(row: Any) -> dict[str, Any]:
    return {
        "delivery": row.delivery_id,
        "site": row.site,
        "study": row.study_instance_uid,
        "destination": row.destination,
        "status": row.status,
        "attempts": row.attempts,
        "died": at(row.finished_at).isoformat(timespec="seconds"),
        "reason": row.reason,
    }
