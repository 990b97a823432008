"""`pons explain`: why a study goes where it goes, by the table as it stands or as it was decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import colour
from engine.commands.desk import AsJson, ExistingTable
from engine.config import load
from engine.explain import Assumed, WronglyAssumed, read_studies, recorded_decisions
from engine.explanation import Explanation, RouteExplained, explanation
from engine.explanation_story import changes, consequences, decides_the_same, in_words
from engine.finding import did_you_mean, shown
from engine.route import decide, decide_in_full
from engine.table import Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    path_or_study: Annotated[str, typer.Argument(help="Folder or file of DICOM, or a Study Instance UID.")],
    path: ExistingTable = Path("routes.yaml"),
    site: Annotated[str | None, typer.Option(help="Site the files come from.")] = None,
    inbound: Annotated[str | None, typer.Option(help="Inbound channel they come by.")] = None,
    calling: Annotated[str | None, typer.Option(help="Calling AE title.")] = None,
    called: Annotated[str | None, typer.Option(help="Called AE title.")] = None,
    revision: Annotated[int | None, typer.Option(min=1, help="This revision of a recorded study.")] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Beside the record, what the table makes of the study as it stands.")
    ] = False,
    route: Annotated[str | None, typer.Option(help="All there is to say of this route.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List also the routes of a large table that could not fire.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say which routes a study fires, and why each other one does not.

    Files are decided by the table as it stands. For a Study Instance UID the engine's own record is
    shown: the decision that was taken, by the table of that time.
    """
    table = load(path, surroundings=False)
    if route is not None and Path(path_or_study).exists():
        _check_route(table, route)
    if Path(path_or_study).exists():
        told = _of_files(
            Path(path_or_study), table, Assumed(site, inbound, calling, called), every or bool(route)
        )
    else:
        told = _of_record(path_or_study, table, revision, now)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in told]))
        return
    for one in told:
        if route is None:
            _tell(one)
        else:
            _tell_route(one, route)


def _of_files(path: Path, table: Table, assumed: Assumed, in_full: bool) -> list[Explanation]:
    try:
        studies, skipped = read_studies(path, table, assumed)
    except WronglyAssumed as error:
        raise typer.BadParameter(str(error)) from None
    if skipped:
        typer.echo(f"{skipped} of the files are not DICOM and were left out", err=True)
    ask = decide_in_full if in_full else decide
    return [
        explanation(
            ask(study, table),
            table,
            study=study.study_instance_uid,
            site=study.site,
            revision=study.revision,
            source="files",
        )
        for study in studies
    ]


def _of_record(uid: str, table: Table, revision: int | None, now: bool) -> list[Explanation]:
    return [
        explanation(
            one.decision,
            table,
            study=uid,
            site=one.site,
            revision=one.revision,
            source="record",
            decided_at=one.decided_at,
            now=one.now,
        )
        for one in recorded_decisions(table, uid, revision=revision, now=now)
    ]


def _check_route(table: Table, route: str) -> None:
    names = [one.name for one in table.routes]
    if route not in names:
        raise typer.BadParameter(f"no route {shown(route)}{did_you_mean(route, names)}", param_hint="--route")


# ── for people: everything at a glance ──────────────────────────────────────────────────────────


def _tell(told: Explanation) -> None:
    for one in _each(told):
        _tell_head(one)
        if one.overridden:
            typer.echo(f"  overridden by the metadata of its order: {', '.join(one.overridden)}")
        _tell_outcomes(one.outcomes)
        if one.passed_over:
            typer.echo(f"  {one.passed_over} more routes could not fire, by the index (--all lists them)")
        _tell_destinations(one)
        for reason in one.holds:
            typer.echo(f"  hold: {colour.notable(reason)}")
    if told.now is not None:
        _tell_changes(told, told.now)


def _each(told: Explanation) -> tuple[Explanation, ...]:
    return (told,) if told.now is None else (told, told.now)


def _tell_head(one: Explanation) -> None:
    by = {"record": "", "files": "", "now": "now, "}[one.source]
    at = f" at {one.decided_at.isoformat(timespec='seconds')}" if one.decided_at else ""
    revision = "" if one.source == "files" else f", revision {one.revision},"
    typer.echo(
        f"study {one.study} of site {one.site}{revision} {by}by table {one.table_version}{at}: {one.verdict}"
    )


def _tell_outcomes(outcomes: Sequence[RouteExplained]) -> None:
    width = max((len(_named(outcome)) for outcome in outcomes), default=0)
    for outcome in outcomes:
        sign = colour.good("fires") if outcome.hit else "-    "
        name = f"{_named(outcome):{width}}"
        if outcome.hit or outcome.failed is None:
            place, why = outcome.position, outcome.why
        else:
            place = outcome.failed.position
            why = f"wanted {outcome.failed.wanted}, found {colour.bad(outcome.failed.found)}"
        typer.echo(f"  {sign} {name}  {why}  {colour.quiet(place)}")


def _named(outcome: RouteExplained) -> str:
    return f"{outcome.route} (shadow)" if outcome.shadow else outcome.route


def _tell_destinations(one: Explanation) -> None:
    seen = set()
    for outcome in one.outcomes:
        for destination in outcome.deliver if outcome.hit and not outcome.shadow else ():
            if destination.to not in seen:
                typer.echo(f"  deliver to {in_words(destination, outcome)}")
            seen.add(destination.to)


def _tell_changes(then: Explanation, again: Explanation) -> None:
    for words in changes(then, again):
        typer.echo(colour.notable(f"  {words}"))
    if decides_the_same(then, again):
        typer.echo("  the table as it stands decides the same")


# ── for people: one route ───────────────────────────────────────────────────────────────────────


def _tell_route(told: Explanation, name: str) -> None:
    for one in _each(told):
        outcome = next((each for each in one.outcomes if each.route == name), None)
        _tell_head(one)
        if outcome is None:
            names = [each.route for each in one.outcomes]
            missing = f"route {shown(name)} is not among what was recorded{did_you_mean(name, names)}"
            typer.echo(f"  {missing}")
            continue
        sign = colour.good("fires") if outcome.hit else colour.bad("does not fire")
        typer.echo(f"  {_named(outcome)} {sign} {colour.quiet(outcome.position)}")
        if outcome.failed is None:
            typer.echo(f"    {outcome.why}")
        else:
            typer.echo(f"    wanted  {outcome.failed.wanted}  {colour.quiet(outcome.failed.position)}")
            typer.echo(f"    found   {colour.bad(outcome.failed.found)}")
        for line in consequences(outcome):
            typer.echo(f"    {line}")
