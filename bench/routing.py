"""How long one decision takes, and how long a table takes to check and to load: 10 to 10,000 routes.

    python -m bench.routing [--short]

Enter: tables written for the purpose (ten routes a site, a destination each; patterns, counts and
modalities in every route) and studies of 260 instances in four series. Leave: rows of p50 and p99
milliseconds per decision, by the clock and of the processor (which tells more on a busy machine); the
seconds and megabytes that `pons check` takes as a command of its own; the seconds a table takes to
load in a running process, and the milliseconds its index takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.config import load
from engine.model import InstanceFacts, Study
from engine.route import decide

OUT = Path(__file__).parent / "out" / "routing.json"
ROUTES_OF_A_SITE = 10
SIZES = (10, 1000, 10_000)


def sites_of(routes: int) -> int:
    """How many sites a table of so many routes has."""
    return max(1, routes // ROUTES_OF_A_SITE)


def table_text(routes: int) -> str:
    """A table with so many routes."""
    sites = sites_of(routes)
    lines = ["version: 1", "sites:"]
    lines += [f"  s{n}: {{addresses: [10.{n // 250}.{n % 250}.2], ae_titles: [S{n}]}}" for n in range(sites)]
    lines += ["inbound:", "  pacs: {type: c_store}", "  web: {type: stow_rs}"]
    lines += ["processors: {qc: {type: quality_control}}", "outbound:"]
    lines += [
        f"  d{n}: {{type: dicom_sr, site: s{n}, host: 10.{n // 250}.{n % 250}.2, port: 104, ae_title: S{n}}}"
        for n in range(sites)
    ]
    lines.append("routes:")
    for n in range(routes):
        series = (
            f"{{Modality: {('MR', 'CT')[n // sites % 2]}, SeriesDescription: "
            f"{{matches: '(?i)dti|protocol {n}'}}, instances: {{at_least: {n % 90}}}}}"
        )
        lines.append(
            f"  - {{name: r{n}, from: [{('pacs', 'web')[n // sites % 3 == 2]}], "
            f"match: {{site: s{n % sites}, series: {series}}}, process: qc, deliver: [d{n % sites}]}}"
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


def check_by_command(path: Path) -> dict[str, float]:
    """`pons check` as somebody types it: seconds by the clock and of the processor, and the most memory."""
    program = "from engine.cli import main; main()"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, "check", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    return {
        "check s": time.perf_counter() - started,
        "check cpu s": usage.ru_utime + usage.ru_stime,
        "check rss MB": usage.ru_maxrss / 1024,
    }


def load_and_decide(path: Path, routes: int, decisions: int) -> dict[str, float]:
    """One process's life with a table: it is loaded, then studies are decided by it."""
    started, cpu = time.perf_counter(), time.process_time()
    table = load(path)
    found = {"load s": time.perf_counter() - started, "load cpu s": time.process_time() - cpu}
    started = time.perf_counter()
    assert table.index is not None
    found["index ms"] = (time.perf_counter() - started) * 1000
    times, cpu_times = [], []
    for number in range(decisions):
        subject = study(number % sites_of(routes))
        started, cpu = time.perf_counter(), time.process_time()
        decision = decide(subject, table)
        cpu_times.append((time.process_time() - cpu) * 1000)
        times.append((time.perf_counter() - started) * 1000)
        assert len(decision.outcomes) + decision.passed_over == routes + 1
        assert decision.verdict == "routed"
    for name, measured in (("ms", times), ("cpu ms", cpu_times)):
        measured.sort()
        found[f"p50 {name}"] = measured[len(measured) // 2]
        found[f"p99 {name}"] = measured[len(measured) * 99 // 100]
    return found


def measure(routes: int, decisions: int, runs: int) -> list[dict[str, Any]]:
    """Rows for one size of table: medians over the runs."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "routes.yaml"
        path.write_text(table_text(routes))
        for _ in range(runs):
            once = check_by_command(path) | load_and_decide(path, routes, decisions)
            for metric, value in once.items():
                found.setdefault(metric, []).append(value)
    return [
        {
            "work": str(routes),
            "subject": "pons",
            "metric": metric,
            "value": round(statistics.median(values), 4),
            "runs": runs,
        }
        for metric, values in found.items()
    ]


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Milliseconds per decision; seconds to check and load.")
    parser.add_argument("--short", action="store_true", help="one run of fewer decisions")
    short = parser.parse_args().short
    rows = [
        row
        for routes in SIZES
        for row in measure(routes, decisions=300 if short else 2000, runs=1 if short else 3)
    ]
    values = {(row["work"], row["metric"]): row["value"] for row in rows}
    print(f"{'metric':<14}" + "".join(f"{routes:>10}" for routes in SIZES) + "   routes")
    for metric in dict.fromkeys(row["metric"] for row in rows):
        print(f"{metric:<14}" + "".join(f"{values[str(routes), metric]:>10}" for routes in SIZES))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
