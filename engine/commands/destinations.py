"""`pons destinations`, `pause`, `resume`: how each way out stands, stopping it, letting it go on.

A running engine obeys within seconds. Both are on record in the audit trail, with who and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.clock import SteadyClock
from engine.commands.desk import AsJson, Reason, TablePath, opened, show, who, write
from engine.config import Table, load
from engine.errors import PonsError
from engine.operations import standing
from engine.operations_model import DestinationStanding
from engine.pause import pause, resume
from engine.reason import checked_reason

Name = Annotated[str, typer.Argument(help="The destination, as the table names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("destinations")(destinations)
    app.command("pause")(pause_destination)
    app.command("resume")(resume_destination)


def destinations(table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """How each destination stands: what is in its way, what waits, how old the oldest is."""
    loaded, now = load(table, surroundings=False), SteadyClock().now()
    with opened(loaded) as database:
        found = database.read_now(lambda c: standing.destinations(c, loaded, now))
    show([_row(one, now) for one in found], as_json, "the table has no destinations")


def _row(one: DestinationStanding, now: float) -> dict[str, Any]:
    oldest, last = one.oldest_at, one.last_acknowledged_at
    return {
        "destination": one.destination,
        "site": one.site,
        "state": one.state,
        "queued": one.queued,
        "waiting": one.waiting,
        "dead": one.dead,
        "oldest": f"{max(0.0, now - oldest.timestamp()):.0f} s" if oldest is not None else "",
        "acknowledged": last.isoformat(timespec="seconds") if last is not None else "",
        "why": one.why,
    }


def pause_destination(name: Name, reason: Reason, table: TablePath = Path("routes.yaml")) -> None:
    """Let nothing more go out to a destination; what is under way ends, what is queued waits."""
    loaded, why = _with(table, name), checked_reason(reason)
    now = SteadyClock().now()
    if not write(loaded, lambda c: pause(c, name, actor=who(), reason=why, now=now)):
        raise PonsError(f"{name} is paused already; `pons destinations` says by whom and why")
    typer.echo(f"{name} is paused; `pons resume {name}` lets it go on")


def resume_destination(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for the audit trail; no patient data.")] = "",
    table: TablePath = Path("routes.yaml"),
) -> None:
    """Let a paused destination go on; one that counts as down is tried at once."""
    loaded, why = _with(table, name), reason.strip()
    now = SteadyClock().now()
    if not write(loaded, lambda c: resume(c, name, actor=who(), reason=why, now=now)):
        raise PonsError(f"{name} is neither paused nor down; there is nothing to resume")
    typer.echo(f"{name} goes on")


def _with(table: Path, name: str) -> Table:
    loaded = load(table, surroundings=False)
    if name not in loaded.outbound:
        there = ", ".join(loaded.outbound) or "none"
        raise PonsError(f"{table}: no destination {name}; there are: {there}")
    return loaded
