"""`pons replay --from STAGE SELECTION`: look first, then do it, and never too much of it by mistake.

Without `--yes` it counts, shows what would happen and to what nothing would, and changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.clock import SteadyClock
from engine.commands.desk import AsJson, Since, TablePath, Yes, moment, read, show, who, write
from engine.config import load
from engine.reason import checked_reason
from engine.replay import Plan, Selection, Stage, Step, plan, replay
from engine.store.replay import FAILED, HELD

FIRST = 10  # of each kind are shown; --json has all
STATES = ("queued", "waiting", "delivered", "dead", "superseded", "discarded")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay_selection)


def replay_selection(
    stage: Annotated[Stage, typer.Option("--from", help="Where it begins again.")],
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Delivery ids (--from deliver), else Study Instance UIDs."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Of this Study Instance UID.")] = None,
    site: Annotated[str | None, typer.Option(help="Of this site.")] = None,
    destination: Annotated[str | None, typer.Option(help="Bound for this destination.")] = None,
    route: Annotated[str | None, typer.Option(help="Sent on its way by this route.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="In this state; may be repeated. --from deliver means dead letters unless told otherwise. "
            f"Of a study: {HELD}, {FAILED}, or the state of one of its deliveries."
        ),
    ] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="The latest time, as --since.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Send it to this destination of the same site (--from deliver).")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why, for the audit trail; no patient data. Needed with --yes.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="More than these need --force.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Do it to more than --limit.")] = False,
    yes: Yes = False,
    table: TablePath = Path("routes.yaml"),
    as_json: AsJson = False,
) -> None:
    """Deliver, process, route or assemble again what is selected; a preview unless --yes is given."""
    now = SteadyClock().now()
    wanted = Selection(
        study=study,
        site=site,
        destination=destination,
        route=route,
        states=_states(stage, state or []),
        since=moment(since, now, "--since"),
        until=moment(until, now, "--until"),
        ids=tuple(dict.fromkeys(ids or ())),
    )
    if wanted.empty:
        raise typer.BadParameter(
            "name what: ids, --study, --site, --destination, --route, --state or --since",
            param_hint="the selection",
        )
    if to is not None and stage is not Stage.DELIVER:
        raise typer.BadParameter(
            "it goes with --from deliver: what is made again goes where its route says", param_hint="--to"
        )
    if yes and reason is None:
        raise typer.BadParameter("--yes needs one, for the audit trail", param_hint="--reason")
    if stage is Stage.DELIVER and not wanted.states and not wanted.ids:
        wanted = Selection(**{**_fields(wanted), "states": ("dead",)})
    words = checked_reason(reason) if reason is not None else ""
    loaded = load(table, surroundings=False)
    if yes:
        most = None if force else limit
        done = write(
            loaded,
            lambda c: replay(c, stage, wanted, loaded, now, actor=who(), reason=words, to=to, limit=most),
        )
    else:
        done = read(table, lambda c: plan(c, stage, wanted, loaded, to=to))
    too_many = len(done.going) > limit and not force
    if as_json:
        typer.echo(json.dumps(_as_json(done, yes), indent=2))
    else:
        _tell(done, yes, too_many, limit)
    if yes and done.steps and not done.going:
        raise typer.Exit(1)


def _states(stage: Stage, states: list[str]) -> tuple[str, ...]:
    known = STATES if stage is Stage.DELIVER else (*STATES, HELD, FAILED)
    for state in states:
        if state not in known:
            raise typer.BadParameter(f"{state} is none of {', '.join(known)}", param_hint="--state")
    return tuple(dict.fromkeys(states))


def _fields(wanted: Selection) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in wanted.__dataclass_fields__}


def _tell(done: Plan, yes: bool, too_many: bool, limit: int) -> None:
    what = "deliveries" if done.stage is Stage.DELIVER else "studies"
    verb = "replayed" if yes else "would be replayed"
    typer.echo(f"{len(done.steps)} {what} selected: {len(done.going)} {verb}, {len(done.left_out)} left out")
    if done.counts:
        show([dict(zip(("to", "state", "count"), row, strict=True)) for row in done.counts], False, "")
    for title, steps in (("what happens", done.going), ("left out", done.left_out)):
        if steps:
            typer.echo(f"\n{title}{_of(len(steps))}:")
            show([_row(step) for step in steps[:FIRST]], False, "")
    if len(done.left_out) > FIRST:
        typer.echo()
        reasons = Counter(step.left_out for step in done.left_out)
        show([{"left out": count, "because": why} for why, count in reasons.most_common()], False, "")
    if yes:
        return
    if too_many:
        typer.echo(f"more than {limit}: it will need --force")
    typer.echo("nothing was changed; add --reason TEXT --yes to do it")


def _of(count: int) -> str:
    return f", the first {FIRST} of {count}" if count > FIRST else ""


def _row(step: Step) -> dict[str, str]:
    return {
        "id": step.id,
        "site": step.site,
        **({"study": step.study, "bound for": step.destination} if step.destination else {}),
        "state": step.state,
        "what": step.left_out or step.effect,
    }


def _as_json(done: Plan, yes: bool) -> dict[str, Any]:
    return {
        "from": done.stage.value,
        "to": done.to,
        "done": yes and bool(done.going),
        "selected": len(done.steps),
        "replayed": len(done.going),
        "left_out": len(done.left_out),
        "counts": [{"to": to, "state": state, "count": count} for to, state, count in done.counts],
        "items": [
            {
                "id": step.id,
                "site": step.site,
                "study": step.study,
                "destination": step.destination or None,
                "state": step.state,
                "effect": step.effect or None,
                "left_out": step.left_out or None,
            }
            for step in done.steps
        ],
    }
