"""`pons check`, `test`, `explain`, `schema`: what the routing table says, without running anything."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.catalog import Catalog
from engine.config import examine, load
from engine.explain import Assumed, WronglyAssumed, read_studies, recorded_decision
from engine.finding import Finding
from engine.route import Decision, RouteOutcome, decide_in_full, decision_to_json
from engine.schema import result_schema, table_schema
from engine.table import Table
from engine.table_tests import Verdict, run_tests

TablePath = Annotated[Path, typer.Argument(help="The routing table.", exists=True, dir_okay=False)]
TableOption = Annotated[Path, typer.Option("--table", help="The routing table.", exists=True, dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


class Subject(StrEnum):
    """What there is a schema of."""

    TABLE = "table"
    RESULT = "result"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    app.command("test")(run_table_tests)
    app.command("explain")(explain)
    app.command("schema")(schema)


def check(path: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Say everything that is wrong with a table; exit 1 when the engine would refuse it."""
    table, findings = examine(path)
    if as_json:
        typer.echo(json.dumps({"version": table.version if table else None, "findings": _listed(findings)}))
    else:
        for finding in findings:
            typer.echo(str(finding.under(path.parent)))
        typer.echo(f"{path}: {_summary(table, findings)}")
    if table is None:
        raise typer.Exit(1)


def run_table_tests(path: TablePath = Path("routes.yaml"), as_json: AsJson = False) -> None:
    """Run the tests that a table carries; exit 1 when one fails."""
    verdicts = run_tests(load(path, surroundings=False))
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if as_json:
        typer.echo(json.dumps([_verdict_to_json(verdict) for verdict in verdicts]))
    else:
        for verdict in verdicts:
            typer.echo(f"{'ok  ' if verdict.passed else 'FAIL'} {verdict.test.name}")
            for line in () if verdict.passed else _why_it_failed(verdict):
                typer.echo(f"     {line}")
        typer.echo(f"{path}: {len(verdicts) - len(failed)} of {len(verdicts)} tests pass")
    if failed:
        raise typer.Exit(1)


def explain(
    path_or_study: Annotated[str, typer.Argument(help="Folder or file of DICOM, or a Study Instance UID.")],
    path: TableOption = Path("routes.yaml"),
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
        typer.echo(json.dumps([{"study": uid, **_decision_to_json(decision)} for uid, decision in decided]))
        return
    for uid, decision in decided:
        _tell(uid, decision)


def schema(subject: Annotated[Subject, typer.Argument(help="Of what.")] = Subject.TABLE) -> None:
    """Print a JSON Schema: of the table for editors, of results for authors of processors."""
    found = table_schema(Catalog()) if subject is Subject.TABLE else result_schema()
    typer.echo(json.dumps(found, indent=2))


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def _summary(table: Table | None, findings: list[Finding]) -> str:
    counts = Counter[str](finding.severity for finding in findings)
    told = [
        f"{counts[word]} {word}{'' if counts[word] == 1 else 's'}"
        for word in ("error", "warning")
        if counts[word]
    ]
    if table is None:
        return ", ".join(told)
    fine = (
        f"sites {len(table.sites)}, ways in {len(table.inbound)}, ways out {len(table.outbound)}, "
        f"routes {len(table.routes)}, tests {len(table.tests)}; version {table.version}"
    )
    return f"{', '.join(['fine', *told])}: {fine}"


def _why_it_failed(verdict: Verdict) -> list[str]:
    lines = []
    for one in verdict.differences:
        expected, got = (", ".join(names) or "none" for names in (one.expected, one.got))
        lines.append(f"{one.what}: expected {expected}; got {got} ({verdict.test.position})")
    return [*lines, *verdict.reasons]


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
        when = f" when {' or '.join(sending.when_status)}" if sending.when_status else ""
        lines.append(f"{'would deliver' if outcome.shadow else 'deliver'} to {sending.to}{after}{when}")
    if outcome.hold:
        lines.append(f"hold: {outcome.hold}")
    return lines


# ── for programs ────────────────────────────────────────────────────────────────────────────────


def _listed(findings: list[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "file": one.file,
            "line": one.line,
            "column": one.column,
            "path": one.path,
            "message": one.message,
            "severity": one.severity,
        }
        for one in findings
    ]


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "test": verdict.test.name,
        "position": verdict.test.position,
        "passed": verdict.passed,
        "differences": [
            {"what": one.what, "expected": list(one.expected), "got": list(one.got)}
            for one in verdict.differences
        ],
        "decision": _decision_to_json(verdict.decision),
    }


def _decision_to_json(decision: Decision) -> dict[str, Any]:
    return {"verdict": decision.verdict, **decision_to_json(decision)}
