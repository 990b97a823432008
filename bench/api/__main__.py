"""How fast the REST API answers among a million orders, and takes uploads beside STOW-RS.

    python -m bench.api [--short] [--runs N] [--work status list upload …]

`status` asks for one order by its id, `of-study` for the orders of a study, `list` for the latest fifty of a
site, `list-state` for its latest ten that failed: on one connection and on four, among forty thousand orders
and among a million (`status-40000-4`: forty thousand, four connections), so that a ratio within one run tells
what the million costs. `upload` brings the same study by STOW-RS, by one PUT and in parts, each to a fresh
engine, in turns. Medians of the runs are shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.api.asking import QUESTIONS, asked
from bench.api.house import serving
from bench.api.sending import KIND, SUBJECTS
from bench.intake.__main__ import free_port

OUT = Path(__file__).parents[1] / "out" / "api.json"
FEW, MANY, SHORT = 40_000, 1_000_000, 200_000  # orders; of the few, a page is full as well
CONNECTIONS = (1, 4)
ASKED = 500  # times on each connection
INSTANCES = 400  # of 0.5 MB
UPLOAD = "upload"


def answered(works: list[str], orders: int, runs: int, count: int) -> list[dict[str, Any]]:
    """Rows of what is asked among so many orders."""
    found: dict[tuple[str, str], list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), free_port(), free_port(), orders) as house,
    ):
        for _ in range(runs):
            for work in works:
                for connections in CONNECTIONS:
                    name = f"{work}-{orders}-{connections}"
                    for metric, value in asked(house, work, orders, connections, count).items():
                        found.setdefault((name, metric), []).append(value)
    return [_row(work, "pons", metric, values) for (work, metric), values in found.items()]


def uploaded(runs: int, instances: int) -> list[dict[str, Any]]:
    """Rows of one study brought by each way, in turns."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in range(runs):
        for subject, bring in SUBJECTS.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                serving(Path(folder), free_port(), free_port()) as house,
            ):
                before = house.process.cpu_seconds()
                seconds = bring(house, instances, run)
                cpu = house.process.cpu_seconds() - before
                figures = {
                    "MB/s": instances * KIND.pixels / 1e6 / seconds,
                    "cpu ms": cpu * 1000 / instances,
                    "rss MB": house.process.peak_mb(),
                }
            for metric, value in figures.items():
                found.setdefault((subject, metric), []).append(value)
    return [_row(UPLOAD, subject, metric, values) for (subject, metric), values in found.items()]


def _row(work: str, subject: str, metric: str, values: list[float]) -> dict[str, Any]:
    value = round(statistics.median(values), 2)
    return {"work": work, "subject": subject, "metric": metric, "value": value, "runs": len(values)}


def shown(rows: list[dict[str, Any]]) -> Table:
    """A line a work and subject."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    table = Table(title="The REST API, medians")
    table.add_column("work", no_wrap=True)
    table.add_column("subject", no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in rows}
    for work, subject in dict.fromkeys((row["work"], row["subject"]) for row in rows):
        line = [values.get((work, subject, metric)) for metric in metrics]
        table.add_row(work, subject, *("" if value is None else f"{value:,.1f}" for value in line))
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="The REST API among many orders, and uploads.")
    parser.add_argument("--short", action="store_true", help="200,000 orders, less of all, one run")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs, of which the median is shown")
    works = [*QUESTIONS, UPLOAD]
    parser.add_argument("--work", nargs="*", choices=works, default=works)
    given = parser.parse_args()
    runs = 1 if given.short else given.runs
    questions = [work for work in given.work if work != UPLOAD]
    rows: list[dict[str, Any]] = []
    for orders in (FEW, SHORT if given.short else MANY) if questions else ():
        rows += answered(questions, orders, runs, ASKED // 5 if given.short else ASKED)
    if UPLOAD in given.work:
        rows += uploaded(runs, INSTANCES // 4 if given.short else INSTANCES)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
