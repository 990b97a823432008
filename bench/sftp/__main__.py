"""How fast files come and go by SFTP, beside OpenSSH's own server.

    python -m bench.sftp [--short] [--runs N] [--work in-1 …] [--subject pons …]

The client is OpenSSH's `sftp` for both, on one connection and on four at once. `in` and `out` are one file of
256 MB a connection, `small` 500 files of 100 KB in a folder. Every file is synced (`put -f`).
CPU and memory are of the server's processes, the latter at its highest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.intake.__main__ import free_port
from bench.sftp.servers import SERVERS, Serving

OUT = Path(__file__).parents[1] / "out" / "sftp.json"
METRICS = ("MB/s", "cpu ms/MB", "rss MB")
WORKS = {
    "in-1": ("in", 1),
    "in-4": ("in", 4),
    "out-1": ("out", 1),
    "out-4": ("out", 4),
    "small-1": ("small", 1),
}


@dataclass(frozen=True)
class Load:
    """What each connection carries."""

    way: str
    connections: int
    files: int
    size: int

    @property
    def megabytes(self) -> float:
        """Of all connections."""
        return self.connections * self.files * self.size / 1e6


def load_of(work: str, *, short: bool) -> Load:
    """A work, or a short form of it."""
    way, connections = WORKS[work]
    shorter = 8 if short else 1
    if way == "small":
        return Load(way, connections, 500 // shorter, 100_000)
    return Load(way, connections, 1, 256_000_000 // shorter)


class Watch:
    """CPU and memory of a server and all that it forks, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._server = psutil.Process(pid)
        self._cpu: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._before = self._seen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        """Seconds since it began."""
        return self._seen() - self._before

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self._seen()

    def _seen(self) -> float:
        memory = 0
        for process in [self._server, *self._server.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._cpu[process.pid] = times.user + times.system
                memory += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak = max(self.peak, memory)
        return sum(self._cpu.values())


def once(load: Load, subject: str) -> dict[str, float]:
    """One server carries one load; RuntimeError when not all of it arrived."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = _files(scratch, load)
        with SERVERS[subject](scratch, free_port()) as serving:
            if load.way == "out":  # there first, and then it is fetched
                _all([_client(serving, f"put -f {files} {serving.folder}/1.bin")])
            commands = [_command(load, serving, files, scratch, number) for number in range(load.connections)]
            with Watch(serving.pid) as watch:
                began = time.perf_counter()
                _all([_client(serving, command) for command in commands])
                took = time.perf_counter() - began
                cpu = watch.cpu
            got = sum(path.stat().st_size for path in scratch.glob("got-*"))
    if load.way == "out" and got != load.connections * load.size:
        raise RuntimeError(f"{subject}: {got} bytes came, not all")
    return {
        "MB/s": load.megabytes / took,
        "cpu ms/MB": cpu * 1000 / load.megabytes,
        "rss MB": watch.peak / 1e6,
    }


def _files(scratch: Path, load: Load) -> Path:
    block = os.urandom(min(load.size, 1_000_000))
    (scratch / "given").mkdir()
    for number in range(load.files):
        with (scratch / "given" / f"{number}.bin").open("wb") as file:
            for _ in range(load.size // len(block)):
                file.write(block)
    return scratch / "given" if load.way == "small" else scratch / "given" / "0.bin"


def _command(load: Load, serving: Serving, files: Path, scratch: Path, number: int) -> str:
    if load.way == "out":
        return f"get {serving.folder}/1.bin {scratch}/got-{number}"
    if load.way == "small":
        return f"put -f -R {files} {serving.folder}/small-{number}"
    return f"put -f {files} {serving.folder}/in-{number}.bin"


def _client(serving: Serving, command: str) -> subprocess.Popen[str]:
    options = [
        "-F",
        "none",
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
    ]
    options += ["-oIdentitiesOnly=yes", "-oLogLevel=ERROR", "-i", str(serving.key), f"-oPort={serving.port}"]
    pipe = subprocess.PIPE
    argv = ["sftp", "-q", *options, "-b", "-", f"{serving.user}@127.0.0.1"]
    process = subprocess.Popen(argv, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
    assert process.stdin is not None
    process.stdin.write(command + "\n")
    process.stdin.close()
    return process


def _all(clients: list[subprocess.Popen[str]]) -> None:
    for client in clients:
        assert client.stderr is not None
        with client:
            said = client.stderr.read()
        if client.returncode:
            raise RuntimeError(f"sftp ended with {client.returncode}: {said}")


def measure(works: list[str], subjects: list[str], runs: int, short: bool) -> list[dict[str, Any]]:
    """Rows of medians; in each run every server takes its turn."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for work in works:
        for _ in range(runs):
            for subject in subjects:
                found.setdefault((work, subject), []).append(once(load_of(work, short=short), subject))
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
    """One line a work and server, with its speed as a ratio to that of OpenSSH's."""
    table = Table("work", "server", title="Files by SFTP, medians")
    for heading in (*METRICS, "of openssh"):
        table.add_column(heading, justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in rows}
    for work, subject in dict.fromkeys((row["work"], row["subject"]) for row in rows):
        theirs = values.get((work, "openssh", "MB/s"), 0.0)
        ratio = f"{values[work, subject, 'MB/s'] / theirs:.2f}" if theirs else ""
        table.add_row(work, subject, *(f"{values[work, subject, metric]:,.1f}" for metric in METRICS), ratio)
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Files by SFTP, beside OpenSSH's own server.")
    parser.add_argument("--short", action="store_true", help="an eighth of the load, one run")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs, of which the median is shown")
    parser.add_argument("--work", nargs="*", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--subject", nargs="*", choices=list(SERVERS), default=list(SERVERS))
    asked = parser.parse_args()
    rows = measure(asked.work, asked.subject, 1 if asked.short else asked.runs, asked.short)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
