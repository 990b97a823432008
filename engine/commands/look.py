"""`pons studies`, `trace`, `deliveries`: what came, what became of it, what went out.

They read the engine's database beside it, running or not, and change nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, Limit, TablePath, opened, read, show
from engine.config import load
from engine.errors import PonsError
from engine.operations.deliveries import Reasoned, reasoned
from engine.outlook import moment
from engine.store import look
from engine.story import tell


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("studies")(studies)
    app.command("trace")(trace)
    app.command("deliveries")(deliveries)


def studies(
    table: TablePath = Path("routes.yaml"),
    site: Annotated[str | None, typer.Option(help="Of this site only.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Studies, the latest first."""
    rows = read(table, lambda c: look.list_studies(c, site=site, uid=None, limit=limit))
    show(
        [
            {
                "site": row.site,
                "study": row.study_instance_uid,
                "state": "held" if row.holds else row.state,
                "revision": row.revision,
                "instances": row.instances,
                "duplicates": row.duplicates,
                "inbound": row.inbound,
                "from": row.calling_ae_title or row.remote_address,
                "last": at(row.last_at).isoformat(timespec="seconds"),
            }
            for row in rows
        ],
        as_json,
        "no studies yet",
    )


def deliveries(
    table: TablePath = Path("routes.yaml"),
    study: Annotated[str | None, typer.Option(help="Of this Study Instance UID only.")] = None,
    destination: Annotated[str | None, typer.Option(help="To this destination only.")] = None,
    state: Annotated[
        str | None, typer.Option(help="queued, waiting, delivered, dead, superseded or discarded.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Deliveries, the latest first; of each that has not gone out, why and when it is tried next."""
    loaded, now = load(table, surroundings=False), SteadyClock().now()

    def work(connection: Connection) -> list[Reasoned]:
        found = look.list_deliveries(connection, destination=destination, state=state, uid=study, limit=limit)
        return reasoned(connection, found, loaded, now)

    with opened(loaded) as database:
        rows = database.read_now(work)
    show(
        [
            {
                "delivery": row.delivery_id,
                "site": row.site,
                "study": row.study_instance_uid,
                "revision": row.study_revision,
                "destination": row.destination,
                "status": row.status,
                "state": row.state,
                "attempts": row.attempts,
                "waits": why,
                "next": moment(next_at) if next_at is not None else "",
                "reason": row.reason,
                "created": moment(row.created_at),
            }
            for row, why, next_at in rows
        ],
        as_json,
        "no deliveries",
    )


def trace(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """A study's whole story in order: received, stable, decided and why, processed, delivered."""

    def work(connection: Connection) -> list[dict[str, Any]]:
        return [
            {
                "at": at(event.at).isoformat(timespec="milliseconds"),
                "site": row.site,
                "what": event.what,
                "text": event.text,
            }
            for row in look.list_studies(connection, site=None, uid=study, limit=100)
            for event in tell(connection, row)
        ]

    events = read(table, work)
    if not events:
        raise PonsError(f"no study {study} here; `pons studies` lists what there is")
    if as_json:
        typer.echo(json.dumps(events, indent=2))
        return
    typer.echo(f"study {study}")
    for event in events:
        typer.echo(f"{event['at'][11:23]}  {event['site']:12} {event['what']:10} {event['text']}")
