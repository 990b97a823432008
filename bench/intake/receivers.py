"""The receivers that are compared, each a process of its own in a folder of its own.

| subject | what it is | durable when it answers |
|---|---|---|
| `pons` | the whole engine: recorded, attributes extracted, routed | file, name, folder and record |
| `pons-workers` | the same with two processes that receive (`engine.workers: 2`) | the same |
| `null` | our associations alone: what arrives is forgotten | no |
| `storescp` | DCMTK, one process | no |
| `storescp-fork` | DCMTK, a process an association | no |
| `storescp-bits` | DCMTK, `+B`: straight to the file | no |
| `orthanc` | its default: one fdatasync a file | file |
| `orthanc-unsynced` | `SyncStorageArea: false` | no |
| `pynetdicom` | its own acceptor, the raw data set written to a file | no |
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.e2e.engine import Engine
from tests.peers.dcmtk import ENVIRONMENT
from tests.peers.orthanc import Orthanc
from tests.peers.process import PeerProcess, accepts_connections, binary

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Receiver:
    """One that is listening."""

    port: int
    called: str
    group: int  # process group of all it consists of

    def cpu_seconds(self) -> float:
        """Used so far by its processes and by those of them that have ended."""
        return sum(sum(map(int, stat[11:15])) for _, stat in self._processes()) / TICKS

    def peak_mb(self) -> float:
        """Resident memory at its peak, of all its processes."""
        total = 0.0
        for pid, _ in self._processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) / 1024
        return total

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    if int(stat[2]) == self.group:
                        yield int(folder.name), stat


@contextlib.contextmanager
def process(argv: list[str], folder: Path, port: int, called: str) -> Iterator[Receiver]:
    """A program that listens on a port."""
    running = PeerProcess(Path(argv[0]).name, argv, folder / "log", ENVIRONMENT)
    running.wait_ready(lambda: accepts_connections(port))
    try:
        yield Receiver(port, called, running.process.pid)
    finally:
        running.kill9()


def storescp(*options: str) -> Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]:
    """DCMTK's receiver with some options."""

    def start(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
        (folder / "store").mkdir()
        argv = [binary("storescp", "dcmtk"), "-aet", "BENCH", "-dhl", "--max-pdu", "131072", *options]
        return process([*argv, "-od", str(folder / "store"), str(port)], folder, port, "BENCH")

    return start


def orthanc(
    **configuration: object,
) -> Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]:
    """Orthanc, with changes to its configuration."""

    @contextlib.contextmanager
    def start(folder: Path, port: int, http_port: int) -> Iterator[Receiver]:
        peer = Orthanc(folder / "orthanc", http_port, port, "BENCH", {}, {}, configuration)
        try:
            yield Receiver(port, "BENCH", peer.pid)
        finally:
            peer.stop()

    return start


@contextlib.contextmanager
def pons(
    folder: Path, port: int, http_port: int, *, workers: int = 1, tls: Mapping[str, object] | None = None
) -> Iterator[Receiver]:
    """The whole engine on SQLite, as `pons run` starts it."""
    pacs = {"type": "c_store", "listen": f"127.0.0.1:{port}", "ae_title": "PONS"}
    table = {
        "assembly": {"stable_after": "1s"},
        "sites": {"bench": {"name": "Bench", "ae_titles": ["BENCH"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": {**pacs, "tls": tls} if tls else pacs},
        "routes": [
            {
                "name": "bench",
                "match": {"series": {"Modality": {"in": ["CT", "MR", "OT"]}}},
                "hold": "measured",
            }
        ],
    }
    engine = Engine(
        folder / "pons", http_port, port, table, engine={"log": "json", "workers": workers}
    ).start()
    try:
        yield Receiver(port, "PONS", engine.pid)
    finally:
        engine.kill9()


def plain_pynetdicom(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
    """pynetdicom's own receiver."""
    (folder / "store").mkdir()
    argv = [sys.executable, "-m", "bench.intake.plain_receiver", str(port), str(folder / "store")]
    return process(argv, folder, port, "BENCH")


def null(folder: Path, port: int, _: int) -> contextlib.AbstractContextManager[Receiver]:
    """Our associations, and nothing behind them."""
    argv = [sys.executable, "-m", "bench.intake.null_receiver", str(port)]
    return process(argv, folder, port, "BENCH")


ONE_AT_A_TIME = {"storescp", "storescp-bits"}
"""They serve one association after the other."""

RECEIVERS: dict[str, Callable[[Path, int, int], contextlib.AbstractContextManager[Receiver]]] = {
    "pons": pons,
    "pons-workers": partial(pons, workers=2),
    "null": null,
    "storescp": storescp(),
    "storescp-fork": storescp("--fork"),
    "storescp-bits": storescp("+B"),
    "storescp-bits-fork": storescp("+B", "--fork"),
    "orthanc": orthanc(),
    "orthanc-unsynced": orthanc(SyncStorageArea=False),
    "pynetdicom": plain_pynetdicom,
}
