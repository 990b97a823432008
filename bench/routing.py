"""How long one decision takes, with 10, 1,000 and 10,000 routes.

Enter: tables written for the purpose (twenty routes a site; patterns, counts and modalities in every
route) and studies of 260 instances in four series. Leave: rows of p50 and p99 milliseconds per
decision, the seconds a table takes to load and check, and the milliseconds its index takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.config import load
from engine.model import InstanceFacts, Study
from engine.route import decide

OUT = Path(__file__).parent / "out" / "routing.json"
ROUTES_OF_A_SITE = 20


def table_text(routes: int) -> str:
    """A table with so many routes."""
    sites = max(1, routes // ROUTES_OF_A_SITE)
    lines = ["version: 1", "sites:"]
    lines += [f"  s{n}: {{addresses: [10.{n // 250}.{n % 250}.2], ae_titles: [S{n}]}}" for n in range(sites)]
    lines += ["inbound:", "  pacs: {type: c_store}", "  web: {type: stow_rs}", "routes:"]
    for n in range(routes):
        series = (
            f"{{Modality: {('MR', 'CT')[n % 2]}, SeriesDescription: {{matches: '(?i)dti|protocol {n}'}}, "
            f"instances: {{at_least: {n % 90}}}}}"
        )
        lines.append(
            f"  - {{name: r{n}, from: [{('pacs', 'web')[n % 3 == 2]}], "
            f"match: {{site: s{n % sites}, series: {series}}}, hold: benchmark}}"
        )
    lines.append("  - {name: rest, otherwise: true, hold: no route matched}")
    return "\n".join(lines) + "\n"


def study(site: int) -> Study:
    """A study of four series with 65 instances each."""
    instances = []
    for number in range(260):
        series = number % 4
        attributes = {
            "Modality": "MR",
            "SeriesDescription": f"ep2d_{('DTI', 'T1', 'FLAIR', 'SWI')[series]}_{series}",
        }
        instances.append(
            InstanceFacts(f"1.2.{series}", f"1.2.{series}.{number}", "1.2", "1.2.840.10008.1.2.1", attributes)
        )
    return Study(
        f"s{site}", "1.2", 1, "pacs", f"S{site}", "PONS", datetime(2026, 3, 1, 10, 30), tuple(instances)
    )


def measure(routes: int, decisions: int, runs: int) -> list[dict[str, Any]]:
    """Rows for one size of table: medians over the runs."""
    found: dict[str, list[float]] = {}
    sites = max(1, routes // ROUTES_OF_A_SITE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "routes.yaml"
        path.write_text(table_text(routes))
        for _ in range(runs):
            started = time.perf_counter()
            table = load(path)
            found.setdefault("load s", []).append(time.perf_counter() - started)
            started = time.perf_counter()
            assert table.index is not None
            found.setdefault("index ms", []).append((time.perf_counter() - started) * 1000)
            times = []
            for number in range(decisions):
                subject = study(number % sites)
                started = time.perf_counter()
                decision = decide(subject, table)
                times.append((time.perf_counter() - started) * 1000)
                assert len(decision.outcomes) + decision.passed_over == routes + 1
            times.sort()
            found.setdefault("p50 ms", []).append(times[len(times) // 2])
            found.setdefault("p99 ms", []).append(times[len(times) * 99 // 100])
    return [
        {
            "work": str(routes),
            "subject": "pons",
            "metric": metric,
            "value": round(statistics.median(values), 4),
        }
        | {"runs": runs}
        for metric, values in found.items()
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Milliseconds per decision.")
    parser.add_argument("--short", action="store_true", help="one run of fewer decisions")
    short = parser.parse_args().short
    rows = [
        row
        for routes in (10, 1000, 10_000)
        for row in measure(routes, decisions=300 if short else 2000, runs=1 if short else 3)
    ]
    print(f"{'routes':>8}  {'metric':<10}{'value':>10}")
    for row in rows:
        print(f"{row['work']:>8}  {row['metric']:<10}{row['value']:>10}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
