"""`pons plan NEW`: what another table would change, before anything is changed.

The table that it is compared with is the active one of the engine's database. Nothing is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import colour
from engine.commands.desk import AsJson
from engine.errors import PonsError
from engine.plan_story import Tone, as_data, story
from engine.proposal import Place, Proposal, database_of, place_of, propose

NewTable = Annotated[Path, typer.Argument(help="The new table.", exists=True, dir_okay=False)]
RunningTable = Annotated[
    Path,
    typer.Option("--table", help="The table that `pons run` is given: it names the database. NEW if absent."),
]
Studies = Annotated[
    int, typer.Option(min=0, max=100_000, help="So many of the latest studies are decided by both tables.")
]

_PAINT = {
    Tone.ADDED: colour.good,
    Tone.CHANGED: colour.notable,
    Tone.REMOVED: colour.bad,
    Tone.TROUBLE: colour.bad,
    Tone.ASIDE: colour.quiet,
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    new: NewTable,
    table: RunningTable = Path("routes.yaml"),
    studies: Studies = 100,
    as_json: AsJson = False,
) -> None:
    """Say what a new table would change; exit 1 when it has errors or its tests fail."""
    place = standing_at(table, new)
    with database_of(place) as database:
        proposal = propose(place, database, new, studies, named=new.parent)
    if as_json:
        typer.echo(json.dumps(as_data(proposal), indent=2))
    else:
        show(proposal)
        if proposal.table is not None:
            for objection in proposal.objections(force=False):
                typer.echo(colour.bad(f"`pons apply` would refuse it: {objection}"))
    if proposal.table is None or proposal.failed:
        raise typer.Exit(1)


def standing_at(table: Path, new: Path | None) -> Place:
    """Where the engine is; a new table speaks for itself where the named one is not there."""
    if table.exists():
        return place_of(table)
    if new is None:
        raise PonsError(f"{table}: is not there; name the table that `pons run` is given with --table")
    return place_of(new)


def show(proposal: Proposal) -> None:
    """A proposal, for people, each line in the colour of what it is about."""
    for line in story(proposal):
        paint = _PAINT.get(line.tone)
        typer.echo(paint(line.text) if paint and line.text else line.text)
