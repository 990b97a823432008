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

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.dcmtk import ENVIRONMENT
from tests.peers.process import binary


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run took."""

    seconds: float
    cpu: float  # seconds
    peak_mb: float  # resident memory at its peak, of all processes
    stored: int  # answered with success


class _Peak:
    """Looks at the memory of processes while they run: what is told afterwards is also their parent's."""

    def __init__(self, processes: Sequence[subprocess.Popen[Any]]) -> None:
        self._status = {Path(f"/proc/{process.pid}/status"): 0 for process in processes}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def megabytes(self) -> float:
        """The sum of their peaks; they have ended."""
        self._over.set()
        self._thread.join()
        return sum(self._status.values()) / 1024

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for path in self._status:
                with contextlib.suppress(OSError):
                    for line in path.read_text().splitlines():
                        if line.startswith("VmHWM:"):
                            self._status[path] = int(line.split()[1])


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
        peak = _Peak(running)
        used = []
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            used.append(usage)
        seconds = time.monotonic() - began
        return Sent(
            seconds,
            sum(usage.ru_utime + usage.ru_stime for usage in used),
            peak.megabytes(),
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
            peak = _Peak([process])
            said = process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"{name} failed; what it said is above")
        told = json.loads(said)
        return Sent(told["seconds"], told["cpu"], peak.megabytes(), told["stored"])

    return send


SENDERS: dict[str, Callable[[int, str, list[Path]], Sent]] = {
    "pons": module("bench.send.pons_sender"),
    "storescu": storescu(ENVIRONMENT),
    "storescu-stock": storescu({}),
    "pynetdicom": module("bench.send.plain_sender"),
}
