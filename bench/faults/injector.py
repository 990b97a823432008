"""Makes the planned faults happen, and makes good again what can be made good.

Enter: a plan and the things it names. Leave: after `run`, everything runs and nothing is broken any
more; what was done is in the log, with its time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from bench.faults.disk import Disk
from bench.faults.engines import FREEZE, THAW, EngineProcess
from bench.faults.plan import Fault
from bench.faults.weather import Sink, Weather


class Restartable(Protocol):
    """The database server: see `tests.peers.postgres.Cluster`."""

    def start(self) -> None: ...

    def stop(self, mode: str = "immediate") -> None: ...


class Injector:
    """One run's faults."""

    def __init__(
        self,
        nodes: Mapping[str, EngineProcess],
        sinks: Mapping[str, Sink],
        cluster: Restartable | None,
        disk: Disk | None,
        log: Path,
    ) -> None:
        self._nodes, self._sinks = nodes, sinks
        self._cluster, self._disk = cluster, disk
        self._log = log
        self._lock = threading.Lock()
        self.errors: list[str] = []
        self.counts: dict[str, int] = {}

    def run(self, faults: Sequence[Fault]) -> None:
        """Do them all; each kind of trouble in a thread of its own, so that they overlap."""
        began = time.monotonic()
        timelines: dict[str, list[Fault]] = {}
        for fault in faults:
            timelines.setdefault(self._timeline(fault), []).append(fault)
        threads = [threading.Thread(target=self._play, args=(began, one)) for one in timelines.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _timeline(self, fault: Fault) -> str:
        if fault.kind == "weather":
            return fault.target
        return "all" if fault.kind in ("database", "disk") else "nodes"

    def _play(self, began: float, faults: Sequence[Fault]) -> None:
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            self._note(f"{time.monotonic() - began:6.1f} s does {fault}")
            try:
                self._acts[fault.kind](self, fault)
            except Exception as error:  # the rig itself broke: the run is not to be trusted
                self._note(f"the rig failed at {fault}: {error!r}")
                self.errors.append(f"{fault}: {error!r}")
            self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1

    def _note(self, line: str) -> None:
        with self._lock, self._log.open("a") as log:
            log.write(line + "\n")

    def _kill(self, fault: Fault) -> None:
        self._nodes[fault.target].kill9()

    def _freeze(self, fault: Fault) -> None:
        node = self._nodes[fault.target]
        node.signal(FREEZE)
        try:
            time.sleep(fault.lasts)
        finally:
            node.signal(THAW)

    def _restart(self, fault: Fault) -> None:
        self._nodes[fault.target].terminate()

    def _clock(self, fault: Fault) -> None:
        """The clock is set while the engine runs, then the engine starts by the new time."""
        node = self._nodes[fault.target]
        node.set_wall(float(fault.setting))
        time.sleep(1)
        node.kill9()

    def _database(self, fault: Fault) -> None:
        assert self._cluster is not None
        self._cluster.stop("immediate")
        try:
            time.sleep(fault.lasts)
        finally:
            self._cluster.start()

    def _full_disk(self, fault: Fault) -> None:
        assert self._disk is not None
        with self._disk.full():
            time.sleep(fault.lasts)

    def _turn(self, fault: Fault) -> None:
        sink = self._sinks[fault.target]
        sink.turn(cast(Weather, fault.setting))
        try:
            time.sleep(fault.lasts)
        finally:
            sink.turn("fair")

    _acts: Mapping[str, Callable[[Injector, Fault], None]] = {
        "kill": _kill,
        "freeze": _freeze,
        "restart": _restart,
        "clock": _clock,
        "database": _database,
        "disk": _full_disk,
        "weather": _turn,
    }
