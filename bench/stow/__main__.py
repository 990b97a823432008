"""How fast instances are taken in by STOW-RS, beside Orthanc's DICOMweb plug-in.

    python -m bench.stow [--short] [--runs N] [--work ct-4 …] [--subject pons …]

The same raw sender and the same bytes for both, on one connection and on four, one instance a request; in
`mr-1-batch` a request has a hundred. Services take turns, each in a fresh process and folder, and medians
are shown. `ct` is 0.5 MB, `mr` 33 KB, `big` one object of 1 GB. CPU is of all processes of the service,
memory its peak. Which of them are durable is in `bench.stow.receivers`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.intake.__main__ import METRICS, free_port
from bench.intake.objects import KINDS
from bench.stow.receivers import RECEIVERS
from bench.stow.sender import send

OUT = Path(__file__).parents[1] / "out" / "stow.json"
SPAWN = multiprocessing.get_context("spawn")


class Load(NamedTuple):
    """What one service is sent in one go."""

    kind: str
    connections: int
    requests: int  # on each connection
    batch: int = 1  # instances in each request


WORKS = {
    "ct-1": Load("ct", 1, 300),
    "ct-4": Load("ct", 4, 150),
    "mr-1": Load("mr", 1, 1500),
    "mr-4": Load("mr", 4, 750),
    "mr-1-batch": Load("mr", 1, 20, 100),
    "big-1": Load("big", 1, 1),
}


def load_of(work: str, *, short: bool) -> Load:
    """What is sent for a work; a fifth of it for a short one."""
    load = WORKS[work]
    if not short:
        return load
    kind = "big-short" if load.kind == "big" else load.kind
    return load._replace(kind=kind, requests=max(1, load.requests // 5))


def once(load: Load, subject: str, run: int) -> dict[str, float]:
    """One service, fresh, takes one load."""
    kind = KINDS[load.kind]
    with tempfile.TemporaryDirectory() as folder:
        start, said = SPAWN.Barrier(load.connections), SPAWN.Queue()
        with RECEIVERS[subject](Path(folder), free_port(), free_port()) as service:
            before = service.process.cpu_seconds()
            fixed = (service.port, service.path, load.kind, run)
            senders = [
                SPAWN.Process(
                    target=send,
                    args=(*fixed, number, load.requests, load.batch, start, said),
                    daemon=True,
                )
                for number in range(load.connections)
            ]
            for sender in senders:
                sender.start()
            answers: list[tuple[float, float, int]] = []
            while len(answers) < load.connections:
                try:
                    answers.append(said.get(timeout=1))
                except queue.Empty:
                    if any(sender.exitcode for sender in senders):
                        raise RuntimeError(f"{subject}: a sender failed; what it said is above") from None
            cpu, peak = service.process.cpu_seconds() - before, service.process.peak_mb()
            for sender in senders:
                sender.join(60)
    sent = load.connections * load.requests * load.batch
    stored = sum(count for _, _, count in answers)
    if stored != sent:
        raise RuntimeError(f"{subject}: {sent - stored} instances were not answered as stored")
    seconds = max(ended for _, ended, _ in answers) - min(began for began, _, _ in answers)
    return {
        "MB/s": stored * kind.pixels / 1e6 / seconds,
        "instances/s": stored / seconds,
        "cpu ms": cpu * 1000 / stored,
        "rss MB": peak,
    }


def measure(works: list[str], subjects: list[str], runs: int, short: bool) -> list[dict[str, Any]]:
    """Rows of medians; in each run every service takes its turn."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for work in works:
        for run in range(runs):
            for subject in subjects:
                taken = once(load_of(work, short=short), subject, run)
                found.setdefault((work, subject), []).append(taken)
    return [
        {
            "work": work,
            "subject": subject,
            "metric": metric,
            "value": round(statistics.median(one[metric] for one in taken), 2),
            "runs": runs,
        }
        for (work, subject), taken in found.items()
        for metric in METRICS
    ]


def shown(rows: list[dict[str, Any]]) -> Table:
    """One line a work and service, with its speed as a ratio to that of Orthanc."""
    table = Table("work", "service", title="Instances taken in by STOW-RS, medians")
    for heading in (*METRICS, "of orthanc"):
        table.add_column(heading, justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in rows}
    for work, subject in dict.fromkeys((row["work"], row["subject"]) for row in rows):
        orthanc = values.get((work, "orthanc", "MB/s"), 0.0)
        ratio = f"{values[work, subject, 'MB/s'] / orthanc:.2f}" if orthanc else ""
        table.add_row(work, subject, *(f"{values[work, subject, one]:,.1f}" for one in METRICS), ratio)
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Instances taken in by STOW-RS, beside Orthanc.")
    parser.add_argument("--short", action="store_true", help="a fifth of the load, one run")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs, of which the median is shown")
    parser.add_argument("--work", nargs="*", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--subject", nargs="*", choices=list(RECEIVERS), default=list(RECEIVERS))
    asked = parser.parse_args()
    rows = measure(asked.work, asked.subject, 1 if asked.short else asked.runs, asked.short)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
