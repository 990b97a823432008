"""What an engine costs while it works, and how long a C-ECHO takes at it.

Enter: its process and ports. Leave: a sample a second of memory, descriptors, threads, connections and what
lies in the landing; and for each probe, on an association of its own, the seconds to its acceptance and
from the C-ECHO to its answer (PS3.7 9.1.5).
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.day.visit import RELEASE
from bench.intake import sender
from bench.intake.objects import Kind

VERIFICATION = Kind("echo", "1.2.840.10008.1.1", 0)
EVERY, PROBE_EVERY = 1.0, 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    at: float
    rss: float  # MB
    descriptors: int
    threads: int
    connections: int  # with peers
    landing: int  # files


def look(pid: int, ports: set[int], data: Path) -> Sample:
    """All processes of an engine together; one that ends meanwhile has nothing any more."""
    rss, descriptors, threads, connections = 0, 0, 0, 0
    first = psutil.Process(pid)
    for process in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            rss += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
            open_now = process.net_connections("tcp")
            connections += sum(bool(one.raddr) and one.laddr.port in ports for one in open_now)
    landing = sum(path.is_file() for path in (data / "landing").rglob("*"))
    return Sample(time.monotonic(), rss / (1 << 20), descriptors, threads, connections, landing)


@dataclass
class Watch:
    """Samples and probes, until it is told to end."""

    pid: int
    dicom_port: int
    http_port: int
    data: Path
    samples: list[Sample] = field(default_factory=list)
    associated: list[float] = field(default_factory=list)  # seconds
    echoed: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def now(self) -> Sample:
        """One look."""
        return look(self.pid, {self.dicom_port, self.http_port}, self.data)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While entered."""
        over = threading.Event()
        threads = [threading.Thread(target=one, args=(over,)) for one in (self._sample, self._probe)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _sample(self, over: threading.Event) -> None:
        while not over.wait(EVERY):
            self.samples.append(self.now())

    def _probe(self, over: threading.Event) -> None:
        while not over.wait(PROBE_EVERY):
            try:
                associated, echoed = probe(self.dicom_port)
            except (RuntimeError, OSError) as error:
                self.failed.append(f"C-ECHO: {error}")
                continue
            self.associated.append(associated)
            self.echoed.append(echoed)


def probe(port: int) -> tuple[float, float]:
    """One association with one C-ECHO."""
    began = time.monotonic()
    connection, longest = sender.associate(port, "PONS", VERIFICATION)
    with connection:
        accepted = time.monotonic()
        connection.sendall(b"".join(sender.fragments(memoryview(ECHO), longest, 1)))
        if (status := sender.answer(connection)) != 0:
            raise RuntimeError(f"answered with {status:04X}")
        answered = time.monotonic()
        connection.sendall(RELEASE)
        sender.exactly(connection, 10)
    return accepted - began, answered - accepted


def _echo() -> bytes:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    uid = VERIFICATION.sop_class_uid.encode() + b"\0"
    body = struct.pack(f"<HHL{len(uid)}s", 0, 0x0002, len(uid), uid)
    for element, value in ((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101)):
        body += struct.pack("<HHLH", 0, element, 2, value)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


ECHO = _echo()
