"""How fast instances are taken in by C-STORE, beside other receivers.

    python -m bench.intake [--short] [--runs N] [--work ct-4 …] [--subject pons …]

The same sender and the same bytes for all, on one association and on four; receivers take turns, each in a
fresh process and folder, and medians are shown. `ct` is 0.5 MB, `mr` 33 KB, `big` one object of 1 GB;
`tls` is over TLS, `nagle` is sent by `storescu` as it is installed (`bench.intake.stock_sender`).
CPU is of all processes of the receiver, memory its peak. Which of them are durable is in
`bench.intake.receivers`. `pons` is the installed program beside the running Python; PYTHONPATH puts the
code of another checkout in its place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import queue
import random
import socket
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.intake.objects import KINDS
from bench.intake.over_tls import CERTIFICATE, OVER_TLS
from bench.intake.receivers import ONE_AT_A_TIME, RECEIVERS
from bench.intake.sender import send
from bench.intake.stock_sender import send_stock

OUT = Path(__file__).parents[1] / "out" / "intake.json"
SPAWN = multiprocessing.get_context("spawn")
WORKS = {  # kind, associations, objects of each
    "ct-1": ("ct", 1, 400),
    "ct-4": ("ct", 4, 150),
    "mr-1": ("mr", 1, 2000),
    "mr-4": ("mr", 4, 1000),
    "big-1": ("big", 1, 1),
}
IN_OTHER_WAYS = {  # the same, and the way it is sent
    "ct-1-tls": (("ct", 1, 400), "tls"),
    "ct-4-tls": (("ct", 4, 150), "tls"),
    "mr-4-tls": (("mr", 4, 1000), "tls"),
    "ct-1-nagle": (("ct", 1, 50), "nagle"),
    "mr-1-nagle": (("mr", 1, 100), "nagle"),
}


class Load(NamedTuple):
    """What one receiver is sent in one go."""

    kind: str
    associations: int
    each: int  # objects on each association
    way: str = "plain"  # or tls, or nagle


METRICS = ("MB/s", "instances/s", "cpu ms", "rss MB")


# Below the range for outgoing connections, so that nobody is handed one by chance; two benches pick others.
_PORTS = iter(random.sample(range(13000, 20000), 7000))


def free_port() -> int:
    """A port that nobody has used in this run."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def load_of(work: str, *, short: bool) -> Load:
    """What is sent for a work; a fifth of it for a short one."""
    (kind_name, associations, each), way = IN_OTHER_WAYS.get(work) or (WORKS[work], "plain")
    if short:
        kind_name, each = "big-short" if kind_name == "big" else kind_name, max(1, each // 5)
    return Load(kind_name, associations, each, way)


def takes(subject: str, load: Load) -> bool:
    """Whether a receiver can be sent this."""
    if load.associations > 1 and subject in ONE_AT_A_TIME:
        return False
    return load.way != "tls" or subject in OVER_TLS


def once(load: Load, subject: str, run: int) -> dict[str, float]:
    """One receiver, fresh, takes one load."""
    kind_name, associations, each, way = load
    kind = KINDS[kind_name]
    receivers = OVER_TLS if way == "tls" else RECEIVERS
    with tempfile.TemporaryDirectory() as folder:
        start, said = SPAWN.Barrier(associations), SPAWN.Queue()
        with receivers[subject](Path(folder), free_port(), free_port()) as receiver:
            certificate = str(Path(folder) / CERTIFICATE) if way == "tls" else ""
            target = send_stock if way == "nagle" else partial(send, certificate=certificate)
            before = receiver.cpu_seconds()
            senders = [
                SPAWN.Process(
                    target=target,
                    args=(receiver.port, receiver.called, kind_name, run, number, each, start, said),
                    daemon=True,
                )
                for number in range(associations)
            ]
            for sender in senders:
                sender.start()
            answers: list[tuple[float, float, int]] = []
            while len(answers) < associations:
                try:
                    answers.append(said.get(timeout=1))
                except queue.Empty:
                    if any(sender.exitcode for sender in senders):
                        raise RuntimeError(f"{subject}: a sender failed; what it said is above") from None
            cpu, peak = receiver.cpu_seconds() - before, receiver.peak_mb()
            for sender in senders:
                sender.join(60)
    stored = sum(count for _, _, count in answers)
    if stored != associations * each:
        raise RuntimeError(
            f"{subject}: {associations * each - stored} instances were not answered with success"
        )
    seconds = max(ended for _, ended, _ in answers) - min(began for began, _, _ in answers)
    return {
        "MB/s": stored * kind.pixels / 1e6 / seconds,
        "instances/s": stored / seconds,
        "cpu ms": cpu * 1000 / stored,
        "rss MB": peak,
    }


def measure(works: list[str], subjects: list[str], runs: int, short: bool) -> list[dict[str, Any]]:
    """Rows of medians; in each run every receiver takes its turn."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for work in works:
        for run in range(runs):
            for subject in subjects:
                load = load_of(work, short=short)
                if not takes(subject, load):
                    continue
                taken = once(load, subject, run)
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
    """One line a work and receiver, with its speed as a ratio to that of `storescp`."""
    table = Table("work", "receiver", title="Instances taken in by C-STORE, medians")
    for heading in (*METRICS, "of storescp"):
        table.add_column(heading, justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in rows}
    for work, subject in dict.fromkeys((row["work"], row["subject"]) for row in rows):
        rates = [values.get((work, name, "MB/s"), 0.0) for name in ("storescp", "storescp-fork")]
        mine = values[work, subject, "MB/s"]
        ratio = f"{mine / max(rates):.2f}" if max(rates) else ""
        table.add_row(work, subject, *(f"{values[work, subject, one]:,.1f}" for one in METRICS), ratio)
    return table


def main() -> None:
    """Measure, print, keep."""
    works = [*WORKS, *IN_OTHER_WAYS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a fifth of the load, one run")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs, of which the median is shown")
    parser.add_argument("--work", nargs="*", choices=works, default=works)
    parser.add_argument("--subject", nargs="*", choices=list(RECEIVERS), default=list(RECEIVERS))
    asked = parser.parse_args()
    rows = measure(asked.work, asked.subject, 1 if asked.short else asked.runs, asked.short)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
