"""How fast instances are sent by C-STORE, beside other senders.

    python -m bench.send [--short] [--runs N] [--work ct-4 …] [--subject pons …] [--receiver null …]

The same files and the same receivers for all, on one association and on four; senders take turns, and medians
are shown. `ct` is 0.5 MB, `mr` 33 KB, `big` one object of 1 GB. The receiver `null` only acknowledges,
`storescp` is DCMTK's (bit-preserving, a process an association) with TCP_NODELAY, `storescp-stock` without,
`orthanc` an Orthanc without its syncs. CPU is of all processes of the sender, memory their peak.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.intake.__main__ import METRICS, WORKS, Load, free_port, load_of
from bench.intake.objects import KINDS
from bench.intake.receivers import Receiver, orthanc, process, storescp
from bench.send.files import write
from bench.send.senders import SENDERS, Sent
from tests.peers.process import binary

OUT = Path(__file__).parents[1] / "out" / "send.json"


def null(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
    """The receiver that only acknowledges."""
    return process([sys.executable, "-m", "bench.send.null_receiver", str(port)], folder, port, "BENCH")


def stock(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
    """DCMTK's receiver as it comes: Nagle's algorithm is on, and holds back the half of each answer."""
    (folder / "store").mkdir()
    options = ["-aet", "BENCH", "-dhl", "--max-pdu", "131072", "+B", "--fork", "-od", str(folder / "store")]
    argv = ["/usr/bin/env", "-u", "TCP_NODELAY", binary("storescp", "dcmtk"), *options, str(port)]
    return process(argv, folder, port, "BENCH")


RECEIVERS: dict[str, Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]] = {
    "null": null,
    "storescp": storescp("+B", "--fork"),
    "storescp-stock": stock,
    "orthanc": orthanc(SyncStorageArea=False),
}


def once(load: Load, subject: str, receiver: str, folders: list[Path]) -> dict[str, float]:
    """One sender sends one load to a fresh receiver."""
    with tempfile.TemporaryDirectory() as scratch:
        with RECEIVERS[receiver](Path(scratch), free_port(), free_port()) as listening:
            sent = SENDERS[subject](listening.port, listening.called, folders)
        shutil.rmtree(scratch, ignore_errors=True)
        Path(scratch).mkdir()
    return figures(load, subject, sent)


def figures(load: Load, subject: str, sent: Sent) -> dict[str, float]:
    """What is shown of one run; RuntimeError when not all was stored."""
    count = load.associations * load.each
    if sent.stored != count:
        raise RuntimeError(f"{subject}: {count - sent.stored} instances were not answered with success")
    return {
        "MB/s": count * KINDS[load.kind].pixels / 1e6 / sent.seconds,
        "instances/s": count / sent.seconds,
        "cpu ms": sent.cpu * 1000 / count,
        "rss MB": sent.peak_mb,
    }


def measure(
    works: list[str], subjects: list[str], receivers: list[str], runs: int, short: bool
) -> list[dict[str, Any]]:
    """Rows of medians; in each run every sender takes its turn."""
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for work in works:
        load = load_of(work, short=short)
        with tempfile.TemporaryDirectory() as scratch:
            folders = write(Path(scratch), load)
            for _ in range(runs):
                for receiver in receivers:
                    for subject in subjects:
                        one = once(load, subject, receiver, folders)
                        found.setdefault((work, receiver, subject), []).append(one)
    return [
        {
            "work": work,
            "receiver": receiver,
            "subject": subject,
            "metric": metric,
            "value": round(statistics.median(one[metric] for one in taken), 2),
            "runs": runs,
        }
        for (work, receiver, subject), taken in found.items()
        for metric in METRICS
    ]


def shown(rows: list[dict[str, Any]]) -> Table:
    """One line a work, receiver and sender, with its speed as a ratio to that of `storescu`."""
    table = Table("work", "receiver", "sender", title="Instances sent by C-STORE, medians")
    for heading in (*METRICS, "of storescu"):
        table.add_column(heading, justify="right")
    values = {(row["work"], row["receiver"], row["subject"], row["metric"]): row["value"] for row in rows}
    for one in dict.fromkeys((row["work"], row["receiver"], row["subject"]) for row in rows):
        work, receiver, _ = one
        theirs = values.get((work, receiver, "storescu", "MB/s"), 0.0)
        ratio = f"{values[*one, 'MB/s'] / theirs:.2f}" if theirs else ""
        table.add_row(*one, *(f"{values[*one, metric]:,.1f}" for metric in METRICS), ratio)
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Instances sent by C-STORE, beside other senders.")
    parser.add_argument("--short", action="store_true", help="a fifth of the load, one run")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs, of which the median is shown")
    parser.add_argument("--work", nargs="*", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--subject", nargs="*", choices=list(SENDERS), default=list(SENDERS))
    parser.add_argument("--receiver", nargs="*", choices=list(RECEIVERS), default=["null", "storescp"])
    asked = parser.parse_args()
    runs = 1 if asked.short else asked.runs
    rows = measure(asked.work, asked.subject, asked.receiver, runs, asked.short)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
