"""`pons destinations`, `pause`, `resume`: how each way out stands, stopping it, letting it go on.

A running engine obeys within seconds. Both are on record in the audit trail, with who and why.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from engine.clock import SteadyClock, at
from engine.commands.desk import AsJson, Reason, TablePath, opened, show, who, write
from engine.config import Table, load
from engine.errors import PonsError
from engine.outlook import moment, state_of
from engine.pause import pause, resume
from engine.retraction import checked_reason
from engine.store.destinations import Numbers, Standing, all_standings, numbers
from engine.window import closed_until

Name = Annotated[str, typer.Argument(help="The destination, as the table names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("destinations")(destinations)
    app.command("pause")(pause_destination)
    app.command("resume")(resume_destination)


def destinations(table: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """How each destination stands: what is in its way, what waits, how old the oldest is."""
    loaded, now = load(table, surroundings=False), SteadyClock().now()

    def work(connection: Connection) -> tuple[dict[str, Standing], dict[str, Numbers]]:
        return all_standings(connection), numbers(connection)

    with opened(loaded) as database:
        standings, lying = database.read_now(work)
    names = [*loaded.outbound, *sorted(lying.keys() - loaded.outbound.keys())]
    rows = [
        _row(loaded, name, standings.get(name, Standing()), lying.get(name, Numbers()), now) for name in names
    ]
    show(rows, as_json, "the table has no destinations")


def _row(table: Table, name: str, standing: Standing, lies: Numbers, now: float) -> dict[str, Any]:
    state, why = state_of(standing, closed_at(table, name, now))
    if name not in table.outbound:
        state, why = "unknown", "the table has no such destination; what is queued for it waits"
    last = standing.last_acknowledged_at
    return {
        "destination": name,
        "site": table.outbound[name].settings.site if name in table.outbound else "",
        "state": state,
        "queued": lies.queued,
        "waiting": lies.waiting,
        "dead": lies.dead,
        "oldest": f"{max(0.0, now - lies.oldest_at):.0f} s" if lies.oldest_at is not None else "",
        "acknowledged": moment(last) if last is not None else "",
        "why": why,
    }


def closed_at(table: Table, name: str, now: float) -> datetime | None:
    """When the maintenance windows of a destination end that hold now; None when none does."""
    if name not in table.outbound:
        return None
    settings = table.outbound[name].settings
    zone = ZoneInfo(table.sites[settings.site].timezone)
    return closed_until(settings.maintenance, at(now), zone)


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
