"""A day in an hour: senders that open, send, idle and drop at random, and what is left of it.

    python -m bench.day [--short] [--minutes N] [--senders N] [--seed S]

Two hundred senders for ten minutes (`--short`: 40 for half a minute) against one engine as `pons run` starts
it: small MR, CT and now and then 33 MB by C-STORE, one in ten by STOW-RS; a quarter of all visits ends in the
middle, by an abort, a TCP reset, half a PDU, silence, or without waiting for the answer. A C-ECHO on an
association of its own is timed five times a second, and once a second memory, descriptors and threads are
looked at. At the end every acknowledged instance must be recorded with the bytes that were sent, nothing
may be half-written, and nothing may be left of the associations: the exit code says whether that holds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.day.day import Outcome, day
from bench.memory import free_port

OUT = Path(__file__).resolve().parents[1] / "out" / "day.json"


def main() -> int:
    """Live through it, print, keep; 0 on a good day."""
    parser = argparse.ArgumentParser(prog="python -m bench.day", description=__doc__)
    parser.add_argument("--short", action="store_true", help="40 senders for half a minute")
    parser.add_argument("--minutes", type=float, help="how long the day is")
    parser.add_argument("--senders", type=int, help="how many there are at a time, at least 2")
    parser.add_argument("--seed", type=int, help="the same visits again, not in the same order")
    asked = parser.parse_args()
    senders = asked.senders or (40 if asked.short else 200)
    minutes = asked.minutes or (0.5 if asked.short else 10)
    seed = asked.seed if asked.seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="pons-day-") as folder:  # gone a good while after the results
        outcome = day(Path(folder), senders, minutes * 60, seed, free_port)
        report(outcome, f"{senders} senders, {minutes:g} min", seed)
    return int(bool(outcome.complaints))


def report(outcome: Outcome, work: str, seed: int) -> None:
    """Print and keep what a day came to."""
    table = Table("metric", "value", title=f"A day: {work}, seed {seed}", min_width=50)
    for metric, value in outcome.rows().items():
        table.add_row(metric, f"{value:,.1f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    if outcome.complaints:
        OUT.with_suffix(".log").write_text(outcome.log)
        print(*outcome.complaints[:30], f"the engine's log is in {OUT.with_suffix('.log')}", sep="\n")
    sys.stdout.flush()
    rows = [
        {"work": work, "subject": "pons", "metric": metric, "value": round(value, 2), "runs": 1}
        for metric, value in outcome.rows().items()
    ]
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
