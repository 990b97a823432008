"""`pons explain`: why a study goes where it goes, by the table as it stands or as it was decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.desk import AsJson, ExistingTable
from engine.config import load
from engine.explain import Assumed, WronglyAssumed, read_studies, recorded_decision
from engine.route import Decision, RouteOutcome, decide_in_full, decision_to_json


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
    as_json: AsJson = False,
) -> None:
    """Say which routes a study fires, and why each other one does not.

    Files are decided by the table as it stands. For a Study Instance UID the engine's own record is
    shown: the decision that was taken, by the table of that time.
    """
    table = load(path, surroundings=False)
    files = Path(path_or_study)
    if files.exists():
        try:
            studies, skipped = read_studies(files, table, Assumed(site, inbound, calling, called))
        except WronglyAssumed as error:
            raise typer.BadParameter(str(error)) from None
        decided = [(study.study_instance_uid, decide_in_full(study, table)) for study in studies]
        if skipped:
            typer.echo(f"{skipped} of the files are not DICOM and were left out", err=True)
    else:
        decided = [(path_or_study, decision) for decision in recorded_decision(table, path_or_study)]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {"study": uid, "verdict": decision.verdict, **decision_to_json(decision)}
                    for uid, decision in decided
                ]
            )
        )
        return
    for uid, decision in decided:
        _tell(uid, decision)


def _tell(uid: str, decision: Decision) -> None:
    typer.echo(f"study {uid} by table {decision.table_version}: {decision.verdict}")
    for outcome in decision.outcomes:
        sign = "fires" if outcome.hit else "-    "
        shadow = " (shadow)" if outcome.shadow else ""
        typer.echo(f"  {sign} {outcome.route}{shadow} at {outcome.position}")
        typer.echo(f"          {outcome.why}")
        for line in _consequences(outcome):
            typer.echo(f"          {line}")
    if decision.passed_over:
        typer.echo(f"  {decision.passed_over} more routes could not fire, by the index")


def _consequences(outcome: RouteOutcome) -> list[str]:
    lines = []
    if outcome.process:
        lines.append(f"process {outcome.process} with {len(outcome.series)} series")
    for sending in outcome.deliver:
        after = f" after {', '.join(sending.after)}" if sending.after else ""
        when = f" when {'; or '.join(map(str, sending.when))}" if sending.when else ""
        lines.append(f"{'would deliver' if outcome.shadow else 'deliver'} to {sending.to}{after}{when}")
    if outcome.hold:
        lines.append(f"hold: {outcome.hold}")
    return lines
