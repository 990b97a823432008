"""`pons check`: everything that is wrong with a routing table, without running anything."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from engine.commands.desk import AsJson, TableArgument
from engine.config import examine
from engine.finding import Finding
from engine.table import Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(path: TableArgument = Path("routes.yaml"), as_json: AsJson = False) -> None:
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
