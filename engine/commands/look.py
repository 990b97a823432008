"""`pons studies`, `trace`, `deliveries`: what came, what became of it, what went out.

They read the engine's database beside it, running or not, and change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table as Grid
from sqlalchemy import Connection

from engine.clock import at
from engine.config import load
from engine.errors import PonsError
from engine.run import database_path
from engine.store import look
from engine.store.database import connect
from engine.story import tell

T = TypeVar("T")

TablePath = Annotated[Path, typer.Option("--table", help="The routing table that names the data folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Rows at most.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("studies")(studies)
    app.command("trace")(trace)
    app.command("deliveries")(deliveries)


def read(table: Path, work: Callable[[Connection], T]) -> T:
    """Run a query on the engine's database; raises PonsError when there is none yet."""
    path = database_path(load(table, surroundings=False))  # looking needs none of its secrets
    if not path.exists():
        raise PonsError(f"{path}: no database yet; start the engine with `pons run --table {table}` first")
    engine = connect(path)
    try:
        with engine.connect() as connection:
            return work(connection)
    finally:
        engine.dispose()


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
    state: Annotated[str | None, typer.Option(help="queued, delivered, dead or superseded.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Deliveries, the latest first."""
    rows = read(
        table,
        lambda c: look.list_deliveries(c, destination=destination, state=state, uid=study, limit=limit),
    )
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
                "reason": row.reason,
                "created": at(row.created_at).isoformat(timespec="seconds"),
            }
            for row in rows
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


def show(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    """Rows as JSON or as a grid; a grid that is not on a terminal is never cut."""
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo(nothing)
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    grid = Grid(box=None, pad_edge=False)
    for column in rows[0]:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(value) for value in row.values()))
    console.print(grid)
