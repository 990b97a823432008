"""`pons test`: the tests that a routing table carries, run without running anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from engine.commands.desk import AsJson, TableArgument
from engine.config import load
from engine.route import decision_to_json
from engine.table_tests import Verdict, run_tests


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test")(run_table_tests)


def run_table_tests(path: TableArgument = Path("routes.yaml"), as_json: AsJson = False) -> None:
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


def _why_it_failed(verdict: Verdict) -> list[str]:
    lines = []
    for one in verdict.differences:
        expected, got = (", ".join(names) or "none" for names in (one.expected, one.got))
        lines.append(f"{one.what}: expected {expected}; got {got} ({verdict.test.position})")
    return [*lines, *verdict.reasons]


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "test": verdict.test.name,
        "position": verdict.test.position,
        "passed": verdict.passed,
        "differences": [
            {"what": one.what, "expected": list(one.expected), "got": list(one.got)}
            for one in verdict.differences
        ],
        "decision": {"verdict": verdict.decision.verdict, **decision_to_json(verdict.decision)},
    }
