"""What is synced before an instance is acknowledged, by the system calls of the running engine.

    python -m bench.durability [--way small large tls stow stow-large]

A fresh engine under `strace -f` is sent one instance by each way: by C-STORE 33 KB and 33 MB, the small one
over TLS, both by STOW-RS. Shown is, in order, what was done to its bytes, its names and its record,
and when the first byte of the answer was written. Timings are those of a traced process. The exit code
is 0 when everything had been synced before the answer. Needs strace and DCMTK.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.durability.promise import Finding, Step, Stored, examine
from bench.durability.traced import WAYS, store
from bench.memory import free_port


def told(found: Finding, stored: Stored) -> list[str]:
    """The steps, a line each; names stand for what differs from instance to instance."""
    began = found.steps[0].calls[0].at if found.steps else 0.0
    return [_line(step, stored, began) for step in found.steps]


def _line(step: Step, stored: Stored, began: float) -> str:
    names = list(dict.fromkeys(call.name for call in step.calls))
    what = "the answer" if step.what == "answer" else _name(step.target, stored)
    if step.source:
        what = f"{_name(step.source, stored)} -> {what}"
    line = f"{(step.calls[0].at - began) * 1000:7.1f} ms  {' '.join(names):<9} {what}"
    if step.written:
        often = f" in {len(step.calls)} calls" if len(step.calls) > 1 else ""
        line += f": {step.written:,} bytes{often}"
    return line


def _name(path: str, stored: Stored) -> str:
    parts = Path(path).relative_to(stored.data).parts
    if parts[:1] == ("landing",):
        parts = ("landing", "<process>", "<landed>")[: len(parts)]
    elif parts[:1] == ("log",):
        parts = ("log", "<process>", parts[-1])[: len(parts)]
    elif parts[:1] == ("instances",):
        parts = ("instances", "<site>", "<study>", "<sop>-<digest>.dcm")[: len(parts)]
    return "/".join(("data", *parts))


def main() -> int:
    """Trace each way, print, judge; 0 when the promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.durability", description=__doc__)
    parser.add_argument("--way", nargs="*", choices=list(WAYS), default=list(WAYS))
    broken = 0
    for name in parser.parse_args().way:
        with tempfile.TemporaryDirectory() as folder:
            calls, stored = store(Path(folder), free_port, WAYS[name])
            found = examine(calls, stored)
        print(f"{name}: {stored.size:,} bytes", *told(found, stored), sep="\n")
        print(
            *[f"BROKEN: {one}" for one in found.broken] or ["kept: all of it was synced first"], "", sep="\n"
        )
        broken += len(found.broken)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
