"""`pons run` with a wall clock that can be wrong: the same engine, told another time of day.

    python -m bench.faults.engine_process --table routes.yaml --wall FILE

FILE holds by how many seconds this machine's wall clock is off; it may change while the engine runs,
as when somebody sets the clock. What counts time without telling it (the monotonic clock) is left alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path


def wrong_by(wall: Path, right: Callable[[], float]) -> Callable[[], float]:
    """A `time.time` that is off by what a file says, looked up a few times a second."""
    seen, offset = float("-inf"), 0.0

    def now() -> float:
        nonlocal seen, offset
        if time.monotonic() - seen > 0.2:
            seen, offset = time.monotonic(), float(wall.read_text() or 0)
        return right() + offset

    return now


def main() -> None:
    """Set the clock wrong, then run."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults.engine_process", description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--wall", type=Path, required=True)
    arguments = parser.parse_args()
    time.time = wrong_by(arguments.wall, time.time)
    from engine.cli import main as pons  # after the clock was set: a module may keep what it imported

    sys.argv = ["pons", "run", "--table", str(arguments.table)]
    pons()


if __name__ == "__main__":
    main()
