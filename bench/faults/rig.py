"""One run of the rig: builds everything, lets it go wrong for a while, lets it settle, has it judged.

Enter: which database, how long, a seed. Leave: the verdict and the story of the first offender. The
order at the end matters: faults end, senders finish, engines settle and stop, and one of them starts once
more, alone, to sweep up after those that were killed; only then are the records read.
"""

from __future__ import annotations

import base64
import contextlib
import random
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.faults import records
from bench.faults.disk import Disk, may_mount
from bench.faults.engines import EngineProcess, wait_for
from bench.faults.injector import Injector
from bench.faults.judge import Expected, Verdict, judge
from bench.faults.plan import plan
from bench.faults.producers import SITES, Door, Producers
from bench.faults.records import Ledger
from bench.faults.storage_sink import StorageSink, ae_title
from bench.faults.store import Store
from bench.faults.text_sinks import Loop, MllpSink, WebhookSink
from bench.faults.weather import Sink
from engine.config import load
from engine.store.database import locate
from tests.peers.postgres import Cluster

Kind = Literal["sqlite", "postgres"]

LEASE = 3.0  # seconds
NODES = {"sqlite": 1, "postgres": 3}
SETTLING = 150.0  # seconds after the last fault in which everything must have been settled
DISK = 64  # MB
EXPECTED = (
    Expected("north-his", "north"),
    Expected("north-pacs", "north"),
    Expected("north-hook", "north"),
    Expected("south-his", "south"),
    Expected("south-hook", "south"),  # after south-his
    Expected("south-archive", "south", instances=True),
)


@dataclass
class Outcome:
    """What a run came to."""

    work: str
    seed: int
    verdict: Verdict
    faults: dict[str, int]
    studies: int
    starts: int  # of engines
    settled_in: float  # seconds after the last fault
    story: str = ""  # of the first offender
    complaints: list[str] = field(default_factory=list)  # what broke beside the promises
    defects: Counter[str] = field(default_factory=Counter)  # stacks in the engines' logs: not foreseen
    folder: Path | None = None  # kept when something was wrong

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdict.offences and not self.complaints


def run(kind: Kind, seconds: float, seed: int, *, studies_a_second: float = 0.5) -> Outcome:
    """Faults for so many seconds, then the verdict."""
    folder = Path(tempfile.mkdtemp(prefix="pons-faults-"))
    with contextlib.ExitStack() as stack:
        outcome = _Run(kind, seconds, seed, studies_a_second, folder, stack).outcome()
    if outcome.good:
        shutil.rmtree(folder)
    else:
        outcome.folder = folder
    return outcome


class _Run:
    def __init__(
        self,
        kind: Kind,
        seconds: float,
        seed: int,
        studies_a_second: float,
        folder: Path,
        stack: contextlib.ExitStack,
    ) -> None:
        self.kind, self.seconds, self.seed, self.folder = kind, seconds, seed, folder
        self.data = folder / "data"
        self.work = "sqlite" if kind == "sqlite" else f"{kind}-{NODES[kind]}"
        ports = _free_ports()
        self.cluster, database = None, "sqlite"
        if kind == "postgres":
            self.cluster = Cluster(folder / "postgres", next(ports))
            stack.callback(self.cluster.stop, "immediate")
            database = self.cluster.database()
        self.disk = stack.enter_context(Disk(self.data, DISK)) if may_mount() else None
        taken, told = Ledger(folder / "receipts"), Ledger(folder / "acknowledged")
        stack.callback(taken.close)
        stack.callback(told.close)
        loop = Loop()
        stack.callback(loop.stop)
        self.sinks = self._receivers(ports, taken, loop)
        for sink in self.sinks.values():
            stack.callback(sink.stop)
        self.doors = [Door(next(ports), next(ports)) for _ in range(NODES[kind])]
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.nodes = {
            f"node-{n}": EngineProcess(
                folder / f"node-{n}", self._table(door, database), door.http_port, secret
            )
            for n, door in enumerate(self.doors)
        }
        self.store = Store(locate(load(self._first().table, surroundings=False).engine), self.data)
        for node in self.nodes.values():
            stack.callback(node.stop)
            node.start()
        for node in self.nodes.values():
            node.wait_ready()
        self.producers = Producers(
            self.doors, told, folder / "studies", seed, studies_a_second=studies_a_second
        )
        stack.callback(self.producers.stop)

    def outcome(self) -> Outcome:
        """Break things, settle, judge."""
        faults = plan(
            self.seed,
            self.seconds,
            nodes=list(self.nodes),
            sinks={name: sink.weathers for name, sink in self.sinks.items()},
            lease=LEASE,
            database=self.cluster is not None,
            disk=self.disk is not None,
        )
        injector = Injector(self.nodes, self.sinks, self.cluster, self.disk, self.folder / "faults.log")
        injector.run(faults)
        began = time.monotonic()
        self.producers.no_more_studies()
        complaints = list(injector.errors)
        with contextlib.suppress(TimeoutError):  # the judge names what did not settle
            wait_for(self._settled, SETTLING, str)
        settled_in = time.monotonic() - began
        self.producers.stop()
        if left := self.producers.unacknowledged:
            complaints.append(f"{left} parts of studies could not be sent after the faults had ended")
        complaints += self._stop()
        verdict = judge(
            records.acknowledged(self.folder / "acknowledged"),
            records.receipts(self.folder / "receipts"),
            EXPECTED,
            self.store.kept(),
        )
        return Outcome(
            work=self.work,
            seed=self.seed,
            verdict=verdict,
            faults=injector.counts,
            studies=self.producers.studies,
            starts=sum(node.starts for node in self.nodes.values()),
            settled_in=settled_in,
            story=self._story(verdict),
            complaints=complaints,
            defects=Counter(one for node in self.nodes.values() for one in node.defects()),
        )

    def _first(self) -> EngineProcess:
        return self.nodes["node-0"]

    def _settled(self) -> bool:
        """Everything is sent, nothing is under way, and a moment later still nothing is."""
        for _ in range(2):
            if self.producers.unacknowledged or self.store.under_way():
                time.sleep(0.5)
                return False
            time.sleep(1.0)
        return True

    def _stop(self) -> list[str]:
        """Stop all; then one starts and stops alone, to sweep up what the killed ones left."""
        complaints = []
        statuses = {name: node.stop() for name, node in self.nodes.items()}
        sweeper = EngineProcess(
            self.folder / "sweeper", self._first().document, self._first().http_port, self._first().secret
        )
        sweeper.start()
        try:
            sweeper.wait_ready()
        except TimeoutError as error:
            complaints.append(str(error))
        statuses["sweeper"] = sweeper.stop()
        complaints += [f"{name} ended with {status}" for name, status in statuses.items() if status != 0]
        return complaints

    def _receivers(self, ports: Iterator[int], taken: Ledger, loop: Loop) -> dict[str, Any]:
        """One for each destination, by the kind that its name ends with."""
        sinks: dict[str, Sink] = {}
        for one in EXPECTED:
            name, port = one.destination, next(ports)
            if name.endswith("-his"):
                sinks[name] = MllpSink(name, port, taken, loop)
            elif name.endswith("-hook"):
                sinks[name] = WebhookSink(name, port, taken, loop)
            else:
                sinks[name] = StorageSink(name, port, taken)
        return sinks

    def _table(self, door: Door, database: str) -> dict[str, Any]:
        """The table of one node; the nodes differ in their ports alone."""
        return {
            "version": 1,
            "engine": {
                "data": str(self.data),
                "database": database,
                "http": f"127.0.0.1:{door.http_port}",
                "lease": f"{LEASE:g}s",
                "min_free": "2MB",
                "reserve": "2MB",
            },
            "assembly": {"stable_after": "1s", "force_after": "20s"},
            "sites": {
                site: {"addresses": [address], "ae_titles": [site.upper()]} for site, address in SITES.items()
            },
            "inbound": {
                "pacs": {"type": "c_store", "listen": f"127.0.0.1:{door.dicom_port}", "ae_title": "PONS"},
                "web": {"type": "stow_rs"},
            },
            "processors": {"rig": {"type": "command", "command": _measure()}},
            "outbound": {one.destination: self._way_out(one) for one in EXPECTED},
            "routes": [
                {
                    "name": "north",
                    "match": {"site": "north"},
                    "process": "rig",
                    "deliver": ["north-his", "north-pacs", "north-hook"],
                },
                {
                    "name": "south",
                    "match": {"site": "south"},
                    "process": "rig",
                    "deliver": ["south-his", {"to": "south-hook", "after": ["south-his"]}],
                },
                {"name": "archive", "match": {"site": "south"}, "deliver": ["south-archive"]},
            ],
        }

    def _way_out(self, one: Expected) -> dict[str, Any]:
        sink: Any = self.sinks[one.destination]
        declared: dict[str, Any] = {
            "site": one.site,
            "timeout": "3s",
            "retry": {"first": "300ms", "cap": "3s"},
            "breaker": {"failures": 5, "open_for": "1s", "cap": "4s"},
        }
        if isinstance(sink, WebhookSink):
            return {"type": "webhook", **declared, "url": sink.url, "secret": {"env": "HOOK_SECRET"}}
        declared |= {"host": "127.0.0.1", "port": sink.port}
        if isinstance(sink, MllpSink):
            return {"type": "hl7_oru", **declared}
        kind = "dicom_forward" if one.instances else "dicom_sr"
        return {"type": kind, **declared, "ae_title": ae_title(one.destination)}

    def _story(self, verdict: Verdict) -> str:
        """All that is known of the first offender."""
        if not verdict.offences:
            return ""
        first = verdict.offences[0]
        lines = [str(first)]
        if not first.study:
            lines.append(self._first().pons("deliveries", "--limit", "20"))
        else:
            taken = [
                str(one)
                for one in records.receipts(self.folder / "receipts")
                if one.study == first.study and one.destination == (first.destination or one.destination)
            ]
            lines += taken[-20:]
            lines.append(self._first().pons("trace", first.study))
        return "\n".join(lines)


def _measure() -> list[str]:
    program = str(Path(__file__).with_name("measure.py"))
    return [sys.executable, "-I", "-S", program, "{in}", "{out}"]


def _free_ports() -> Iterator[int]:
    """Ports that are free now, below the range of outgoing connections; none twice."""
    for port in random.sample(range(12000, 20000), k=8000):  # the tests take theirs above
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        yield port
