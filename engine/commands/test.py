"""`pons test`: the tests that a routing table carries, run without running anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands import colour
from engine.commands.desk import AsJson, TableArgument
from engine.config import load
from engine.coverage import Coverage
from engine.finding import did_you_mean, shown
from engine.junit import junit
from engine.route import decision_to_json
from engine.table import Table
from engine.table_tests import Verdict, cover_tests, in_words, run_tests


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test")(run_table_tests)


def run_table_tests(
    path: TableArgument = Path("routes.yaml"),
    only: Annotated[list[str] | None, typer.Option(help="Run this test only; may be repeated.")] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Say which routes and predicates no test exercises.")
    ] = False,
    fail_under: Annotated[
        float | None, typer.Option(min=0, max=100, help="Exit 1 when coverage is below this percentage.")
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Also write the outcome as JUnit XML.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the tests that a table carries; exit 1 when one fails."""
    table = load(path, surroundings=False)
    names = [test.name for test in table.tests]
    for name in only or ():
        if name not in names:
            raise typer.BadParameter(f"no test {shown(name)}{did_you_mean(name, names)}", param_hint="--only")
    verdicts = run_tests(table, only or ())
    covered = cover_tests(table, only or ()) if coverage or fail_under is not None else None
    if junit_file is not None:
        junit_file.write_bytes(junit(str(path), verdicts))
    if as_json:
        typer.echo(json.dumps(_to_json(table, verdicts, covered)))
    else:
        _tell(path, verdicts, covered)
    too_little = covered is not None and fail_under is not None and covered.percent < fail_under
    if too_little and covered is not None:
        typer.echo(f"{path}: coverage {covered.percent} % is below {fail_under:g} %", err=True)
    if too_little or any(not verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def _tell(path: Path, verdicts: tuple[Verdict, ...], covered: Coverage | None) -> None:
    for verdict in verdicts:
        typer.echo(f"{colour.good('ok  ') if verdict.passed else colour.bad('FAIL')} {verdict.test.name}")
        if not verdict.passed:
            _tell_failure(verdict)
    passed = sum(verdict.passed for verdict in verdicts)
    summary = f"{passed} of {len(verdicts)} tests pass"
    typer.echo(f"{path}: {(colour.good if passed == len(verdicts) else colour.bad)(summary)}")
    if covered is not None:
        _tell_coverage(path, covered)


def _tell_failure(verdict: Verdict) -> None:
    """The lines of a verdict, what was expected in one colour and what came instead in another."""
    for line in verdict.lines:
        told = line
        for one in verdict.differences:
            if line.startswith(f"{one.what}: expected "):
                told = (
                    f"{one.what}: expected {colour.good(in_words(one.expected))}; "
                    f"got {colour.bad(in_words(one.got))} {colour.quiet(f'({one.position})')}"
                )
        typer.echo(f"     {told}")


def _tell_coverage(path: Path, covered: Coverage) -> None:
    for route in covered.routes:
        if route.unseen:
            place = colour.quiet(f"({route.position})")
            typer.echo(f"     no test in which {route.route} {' or '.join(route.unseen)} {place}")
        for leaf in route.leaves:
            if leaf.unseen:
                place = colour.quiet(f"({leaf.position})")
                told = f"{route.route}: no test in which {leaf.predicate} {' or '.join(leaf.unseen)}"
                typer.echo(f"     {told} {place}")
    routes = sum(route.fired for route in covered.routes)
    leaves = sum(not leaf.unseen for leaf in covered.leaves)
    typer.echo(
        f"{path}: coverage {covered.percent} %: {routes} of {len(covered.routes)} routes fire, "
        f"{leaves} of {len(covered.leaves)} predicates are seen to hold and to fail"
    )


# ── for programs ────────────────────────────────────────────────────────────────────────────────


def _to_json(table: Table, verdicts: tuple[Verdict, ...], covered: Coverage | None) -> dict[str, Any]:
    return {
        "table_version": table.version,
        "passed": sum(verdict.passed for verdict in verdicts),
        "failed": sum(not verdict.passed for verdict in verdicts),
        "tests": [_verdict_to_json(verdict) for verdict in verdicts],
    } | ({} if covered is None else {"coverage": _coverage_to_json(covered)})


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "test": verdict.test.name,
        "position": verdict.test.position,
        "passed": verdict.passed,
        "seconds": round(verdict.seconds, 3),
        "trouble": verdict.trouble,
        "differences": [
            {
                "what": one.what,
                "expected": list(one.expected),
                "got": list(one.got),
                "position": one.position,
            }
            for one in verdict.differences
        ],
        "decision": None
        if verdict.decision is None
        else {"verdict": verdict.decision.verdict, **decision_to_json(verdict.decision)},
    }


def _coverage_to_json(covered: Coverage) -> dict[str, Any]:
    return {
        "percent": covered.percent,
        "routes": [
            {
                "route": route.route,
                "position": route.position,
                "fires": route.fired,
                "does_not_fire": route.missed,
                "unseen": list(route.unseen),
                "predicates": [
                    {
                        "position": leaf.position,
                        "predicate": leaf.predicate,
                        "holds": leaf.held,
                        "fails": leaf.failed,
                        "unseen": list(leaf.unseen),
                    }
                    for leaf in route.leaves
                ],
            }
            for route in covered.routes
        ],
    }
