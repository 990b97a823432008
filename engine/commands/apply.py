"""`pons apply NEW`, `pons apply --rollback [VERSION]`: another table takes the place of the running one.

What `plan` shows is shown first. The change is one transaction, on record with who and why; then the engines
that run are asked, one by one, whether they took it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands import colour
from engine.commands.desk import AsJson, who
from engine.commands.plan import RunningTable, Studies, show, standing_at
from engine.errors import PonsError
from engine.plan_story import as_data
from engine.proposal import Place, Proposal, database_of, kept, propose
from engine.reason import checked_reason
from engine.settings import parse_duration
from engine.store.database import Database
from engine.table_change import APPLIED, ROLLED_BACK, Applied, Order, carry_out, version_before


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply")(apply)


def apply(
    new: Annotated[
        str | None, typer.Argument(help="The new table; with --rollback a version, the one before if absent.")
    ] = None,
    table: RunningTable = Path("routes.yaml"),
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to a version that ran before (`pons history`).")
    ] = False,
    message: Annotated[str, typer.Option(help="Why, for the history and the audit trail.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Though tests of the table fail, or deliveries would strand.")
    ] = False,
    wait: Annotated[
        str, typer.Option(help="How long the engines have to take it; 0s does not wait.")
    ] = "30s",
    auto_rollback: Annotated[
        bool, typer.Option("--auto-rollback", help="Go back by itself when an engine does not take it.")
    ] = False,
    studies: Studies = 100,
    as_json: AsJson = False,
) -> None:
    """Make a new table the running one, and wait until the engines have taken it."""
    order = Order(
        actor=who(),
        action=ROLLED_BACK if rollback else APPLIED,
        message=checked_reason(message) if message else "",
        force=force,
        within=_seconds(wait),
        auto_rollback=auto_rollback,
    )
    file = None if rollback else _file(new)
    place = standing_at(table, file)
    with database_of(place) as database:
        if database is None:
            raise PonsError(
                f"no engine has run here yet; start it with `pons run --table {place.table}` first"
            )
        with _proposed(place, database, file, new, studies) as proposal:
            told: dict[str, Any] = {"plan": as_data(proposal), "objections": [], "engines": []}
            if not as_json:
                show(proposal)
            told["objections"] = [] if proposal.is_running else proposal.objections(force=force)
            done = not told["objections"] and (proposal.is_running or yes or _says_yes(as_json))
            if done:
                applied = carry_out(database, proposal, order)
                told |= _as_data(applied)
                done = applied.is_well
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _tell(told, order)
    if not done:
        raise typer.Exit(1)


def _file(new: str | None) -> Path:
    if new is None:
        raise typer.BadParameter("name the new table, or --rollback", param_hint="NEW")
    if not Path(new).is_file():
        raise typer.BadParameter(f"{new}: no such file", param_hint="NEW")
    return Path(new)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--wait") from None


@contextlib.contextmanager
def _proposed(
    place: Place, database: Database, file: Path | None, version: str | None, studies: int
) -> Iterator[Proposal]:
    if file is not None:
        yield propose(place, database, file, studies, named=file.parent)
        return
    wanted = database.read_now(lambda c: version_before(c, version))
    with kept(database, wanted) as path:
        yield propose(place, database, path, studies)


def _says_yes(as_json: bool) -> bool:
    """A person is asked; a program must have said so before."""
    if not as_json and at_a_terminal():
        return typer.confirm("apply it?")
    typer.echo("nothing was changed; add --yes to do it", err=as_json)
    return False


def at_a_terminal() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty()


def _as_data(applied: Applied) -> dict[str, Any]:
    engines = []
    for state in ("taken", "refused", "pending"):
        for row in getattr(applied.takers, state):
            trouble = row.trouble if state == "refused" else ""
            engines.append(
                {"engine": row.node, "state": state, "runs": row.table_version, "trouble": trouble}
            )
    return {"change": applied.change, "engines": engines, "back": applied.back}


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def _tell(told: dict[str, Any], order: Order) -> None:
    for objection in told["objections"]:
        typer.echo(colour.bad(f"not {order.action}: {objection}"))
    if "change" not in told:
        return
    if told["change"] is not None:
        typer.echo(f"{told['plan']['version']} is {order.action}, change {told['change']} of the history")
    for row in told["engines"]:
        typer.echo(_engine(row))
    if order.within and not told["engines"]:
        typer.echo("no engine runs: it takes effect at the next start")
    if told["back"]:
        typer.echo(colour.bad(f"not every engine took it: {told['back']} is the running table again"))
    elif any(row["state"] != "taken" for row in told["engines"]):
        typer.echo(colour.bad("not every engine took it: `pons apply --rollback` goes back"))


def _engine(row: dict[str, str]) -> str:
    if row["state"] == "taken":
        return colour.good(f"engine {row['engine']} runs it")
    if row["state"] == "refused":
        return colour.bad(
            f"engine {row['engine']} refused it and goes on with {row['runs']}: {row['trouble']}"
        )
    return colour.notable(f"engine {row['engine']} has not taken it yet and runs {row['runs']}")
