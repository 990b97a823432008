"""`pons check`: everything that is wrong with a routing table, without running anything.

Exit code 0: the engine would start; 1: it would not, or with `--strict` there are warnings, or with
`--online` a destination does not answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.checks.online import Probe, findings_of, ports_in_use, probe_all
from engine.commands.desk import AsJson, TableArgument
from engine.config import examine
from engine.finding import Finding
from engine.finding_text import plain, with_source
from engine.sarif import log_of
from engine.settings import parse_duration
from engine.table import Table


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    SOURCE = "source"
    JSON = "json"
    SARIF = "sarif"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    path: TableArgument = Path("routes.yaml"),
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="text: a line each; source: with the line of the table, as on a terminal; json; sarif.",
        ),
    ] = None,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", "--warnings-as-errors", help="Exit 1 for warnings, too.")
    ] = False,
    online: Annotated[
        bool,
        typer.Option("--online", help="Also ask destinations for a sign of life, and look for free ports."),
    ] = False,
    timeout: Annotated[str, typer.Option(help="How long each destination may take to answer.")] = "10s",
) -> None:
    """Say everything that is wrong with a table; exit 1 when the engine would refuse it."""
    patience = _patience(timeout)
    form = Format.JSON if as_json else form or (Format.SOURCE if sys.stdout.isatty() else Format.TEXT)
    table, findings = examine(path)
    probes: list[Probe] = []
    if online and table is not None:
        probes = asyncio.run(probe_all(table, patience))
        findings = [*findings, *ports_in_use(table), *findings_of(table, probes)]
    _write(form, path, table, findings, probes)
    if form in (Format.TEXT, Format.SOURCE) and online and table is None:
        typer.echo("destinations were not asked: the table has errors", err=True)
    if any(finding.severity == "error" or strict for finding in findings):
        raise typer.Exit(1)


def _patience(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from None


def _write(
    form: Format, path: Path, table: Table | None, findings: list[Finding], probes: list[Probe]
) -> None:
    if form is Format.SARIF:
        typer.echo(json.dumps(log_of(findings, path.parent, version("pons")), indent=2))
        return
    if form is Format.JSON:
        told: dict[str, Any] = {"version": table.version if table else None, "findings": _listed(findings)}
        if probes:
            told["probes"] = [_probe_to_json(probe) for probe in probes]
        typer.echo(json.dumps(told))
        return
    colour = form is Format.SOURCE and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    shown = [finding for finding in findings if finding.code != "no-answer"]
    for line in (
        plain(shown, path.parent) if form is Format.TEXT else with_source(shown, path.parent, colour=colour)
    ):
        typer.echo(line, color=colour or None)
    for probe in probes:
        typer.echo(_probe_line(probe))
        for sentence in probe.takes_not:
            typer.echo(f"           {sentence}")
    typer.echo(f"{path}: {_summary(table, findings)}")


def _probe_line(probe: Probe) -> str:
    what = f"{probe.destination} ({probe.type}{f' at {probe.peer}' if probe.peer else ''})"
    if probe.answered:
        return f"answers    {what} in {probe.seconds * 1000:.0f} ms"
    return f"no answer  {what} after {probe.seconds * 1000:.0f} ms: {probe.reason}"


def _probe_to_json(probe: Probe) -> dict[str, Any]:
    return {
        "destination": probe.destination,
        "type": probe.type,
        "peer": probe.peer,
        "answered": probe.answered,
        "seconds": round(probe.seconds, 3),
        "reason": probe.reason,
        "takes_not": list(probe.takes_not),
    }


def _summary(table: Table | None, findings: list[Finding]) -> str:
    counts = Counter[str](finding.severity for finding in findings)
    told = [
        f"{counts[word]} {word}{'' if counts[word] == 1 else 's'}"
        for word in ("error", "warning")
        if counts[word]
    ]
    if table is None or counts["error"]:
        return ", ".join(told)
    fine = (
        f"sites {len(table.sites)}, ways in {len(table.inbound)}, ways out {len(table.outbound)}, "
        f"routes {len(table.routes)}, tests {len(table.tests)}; version {table.version}"
    )
    return f"{', '.join(['fine', *told])}: {fine}"


def _listed(findings: list[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "file": one.file,
            "line": one.line,
            "column": one.column,
            "path": one.path,
            "message": one.message,
            "severity": one.severity,
            "code": one.code,
        }
        for one in findings
    ]
