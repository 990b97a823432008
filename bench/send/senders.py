"""The senders that are compared; each reads the same folders and has one association a folder.

| subject | what it is |
|---|---|
| `pons` | what `pons send` does: one process, all associations on one loop |
| `storescu` | DCMTK, a process an association, `TCP_NODELAY=1` |
| `storescu-stock` | the same as it comes: Nagle's algorithm is on |
| `pynetdicom` | its own requestor, a thread an association |

DCMTK's time is that of its processes, start and end included, some 10 ms; that of the others starts once
their modules are loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.peers.dcmtk import ENVIRONMENT
from tests.peers.process import binary


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run took."""

    seconds: float
    cpu: float  # seconds
    peak_mb: float  # resident memory at its peak, of all processes
    stored: int  # answered with success


def storescu(environment: Mapping[str, str]) -> Callable[[int, str, list[Path]], Sent]:
    """DCMTK's sender."""

    def send(port: int, called: str, folders: list[Path]) -> Sent:
        argv = [binary("storescu", "dcmtk"), "-v", "-R", "-aet", "BENCH", "-aec", called, "+sd"]
        logs = [folder.with_suffix(".log") for folder in folders]
        began = time.monotonic()
        running = []
        for folder, log in zip(folders, logs, strict=True):
            with log.open("wb") as output:
                running.append(
                    subprocess.Popen(
                        [*argv, "127.0.0.1", str(port), str(folder)],
                        stdout=output,
                        stderr=output,
                        env={**os.environ, **environment},
                    )
                )
        used = []
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            used.append(usage)
        seconds = time.monotonic() - began
        return Sent(
            seconds,
            sum(usage.ru_utime + usage.ru_stime for usage in used),
            sum(usage.ru_maxrss for usage in used) / 1024,
            sum(log.read_text().count("Received Store Response (Success)") for log in logs),
        )

    return send


def module(name: str) -> Callable[[int, str, list[Path]], Sent]:
    """A sender in Python that says itself how it went."""

    def send(port: int, called: str, folders: list[Path]) -> Sent:
        with subprocess.Popen(
            [sys.executable, "-m", name, str(port), called, *map(str, folders)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{name} failed; what it said is above")
        told = json.loads(said)
        return Sent(told["seconds"], told["cpu"], usage.ru_maxrss / 1024, told["stored"])

    return send


SENDERS: dict[str, Callable[[int, str, list[Path]], Sent]] = {
    "pons": module("bench.send.pons_sender"),
    "storescu": storescu(ENVIRONMENT),
    "storescu-stock": storescu({}),
    "pynetdicom": module("bench.send.plain_sender"),
}
