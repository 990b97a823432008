"""A minute in which everything breaks, on each database: no promise of the engine does.

Real engine processes, senders and receivers, see `bench/faults`; the ten-minute form is
`make bench NAME=faults`. The rig is a process of its own: pynetdicom leaves sockets behind where
nobody listens, which is no business of a test run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.faults.plan import NODE_FAULTS
from bench.faults.rig import EXPECTED

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
SEED = 20260301  # which faults, in which order; what they meet is up to the machine


@pytest.mark.parametrize(("database", "has_server"), [("sqlite", False), ("postgres", True)])
def test_nothing_is_lost_overtaken_stuck_or_twice_unrecognisably(
    tmp_path: Path, database: str, has_server: bool
) -> None:
    rows = tmp_path / "faults.json"
    command = [sys.executable, "-m", "bench.faults", "--short", "--database", database]
    command += ["--seed", str(SEED), "--out", str(rows)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)

    assert done.returncode == 0, f"seed {SEED}\n{done.stdout[-12_000:]}\n{done.stderr[-3_000:]}"
    found = {row["metric"]: row["value"] for row in json.loads(rows.read_text())}
    assert [found[metric] for metric in ("lost", "out_of_order", "unrecognised", "stuck")] == [0, 0, 0, 0]
    assert found["acknowledged"] > 20, "hardly anything was sent while everything broke"
    assert found["delivered"] > len(EXPECTED)
    assert found["duplicates"] > 0, "no fault fell between a receipt and its answer"
    for kind in (*NODE_FAULTS, "disk", "weather"):
        assert found[f"faults: {kind}"] > 0, f"no {kind}; filling a disk needs root"
    assert (found["faults: database"] > 0) is has_server
