"""Does the engine keep its promises while everything around it breaks?

Real engines, senders and receivers; faults by seed; then the records are judged: nothing that was
acknowledged is lost, no result overtakes another, whatever comes twice can be recognised, nothing is
stuck. The exit code says whether that holds.

    python -m bench.faults [--short] [--database sqlite|postgres] [--minutes N] [--seed S] [--rate N]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from bench.faults.plan import NODE_FAULTS
from bench.faults.rig import Kind, Outcome, run

OUT = Path(__file__).resolve().parents[1] / "out" / "faults.json"
SHORT, LONG = 1.0, 10.0  # minutes of faults
KINDS = (*NODE_FAULTS, "database", "disk", "weather")


def metrics(outcome: Outcome) -> dict[str, int | float]:
    """What is counted, by name."""
    verdict = outcome.verdict
    return {
        "lost": len(verdict.lost),
        "out_of_order": len(verdict.out_of_order),
        "unrecognised": len(verdict.unrecognised),
        "stuck": len(verdict.stuck),
        "duplicates": verdict.duplicates,
        "acknowledged": verdict.acknowledged,
        "delivered": verdict.delivered,
        "studies": outcome.studies,
        **{f"faults: {kind}": outcome.faults.get(kind, 0) for kind in KINDS},
        "engine starts": outcome.starts,
        "stacks logged": outcome.defects.total(),
        "settled s": round(outcome.settled_in, 1),
    }


def told(outcome: Outcome) -> str:
    """Why a run was not good, and how to have it again."""
    verdict = outcome.verdict
    lines = [f"{outcome.work}, seed {outcome.seed}, records in {outcome.folder}"]
    lines += outcome.complaints
    lines += [str(one) for one in verdict.offences[:20]]
    return "\n".join([*lines, "", "the first offender:", outcome.story])


def main() -> int:
    """Run, print, keep; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one minute of faults instead of ten")
    parser.add_argument("--database", choices=get_args(Kind), help="only this one")
    parser.add_argument("--minutes", type=float, help="minutes of faults")
    parser.add_argument("--seed", type=int, help="the same faults again")
    parser.add_argument("--rate", type=float, default=0.5, help="new studies a second")
    parser.add_argument("--out", type=Path, default=OUT, help="where the rows are kept")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (SHORT if arguments.short else LONG)
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    kinds: list[Kind] = [arguments.database] if arguments.database else list(get_args(Kind))
    outcomes = [run(kind, minutes * 60, seed, studies_a_second=arguments.rate) for kind in kinds]
    table = Table("metric", *(one.work for one in outcomes), title=f"faults, {minutes:g} min, seed {seed}")
    rows: list[dict[str, Any]] = []
    for metric in metrics(outcomes[0]):
        values = [metrics(one)[metric] for one in outcomes]
        table.add_row(metric, *(str(value) for value in values))
        rows += [
            {"work": one.work, "subject": "pons", "metric": metric, "value": value, "runs": 1}
            for one, value in zip(outcomes, values, strict=True)
        ]
    Console().print(table)
    for outcome in outcomes:
        for defect, count in outcome.defects.most_common(10):
            print(f"{outcome.work}: {count} x {defect}")
        if not outcome.good:
            print(told(outcome))
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    return int(not all(one.good for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
