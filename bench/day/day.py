"""A day: an engine, its senders, who watches, and what is found when all have gone home.

Enter: how many senders for how long. Leave: an outcome. Before the day there is a spell like it, after which
the engine rests: threads and buffers that are made when they are first needed exist then, and what is there
more after the day has leaked. A pool may still grow by a few in ten minutes, an association may not leave
anything: SLACK lies between.
"""

from __future__ import annotations

import multiprocessing
import queue
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.day.senders import work
from bench.day.visit import Diary
from bench.day.watch import Sample, Watch
from bench.faults.judge import judge
from bench.faults.store import Store
from engine.config import load
from engine.store.database import locate
from tests.e2e.engine import Engine

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 2
SLACK = 36  # threads, descriptors; the intake's pool may grow to 32
RESTING = 60.0  # seconds in which what was dropped must have been given up


@dataclass
class Outcome:
    """What a day came to."""

    diary: Diary
    watch: Watch
    before: Sample  # at rest
    after: Sample
    lost: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    log: str = ""  # of the engine

    @property
    def leaks(self) -> list[str]:
        """What is there more after the day than before it."""
        found = [f"{self.after.connections} connections"] if self.after.connections else []
        if (more := self.after.threads - self.before.threads) > SLACK:
            found.append(f"{more} threads")
        if (more := self.after.descriptors - self.before.descriptors) > SLACK:
            found.append(f"{more} descriptors")
        return found

    @property
    def complaints(self) -> list[str]:
        """Everything that must not be; empty on a good day."""
        return [
            *(f"lost: {one}" for one in self.lost),
            *(f"half-written: {one}" for one in self.half_written),
            *(f"leaked: {one}" for one in self.leaks),
            *(f"failed: {one}" for one in self.diary.failed + self.watch.failed),
        ]

    def rows(self) -> dict[str, float]:
        """What is shown, by name."""
        diary, watch = self.diary, self.watch
        tenth = max(1, len(watch.samples) // 10)
        first, last = watch.samples[:tenth], watch.samples[-tenth:]
        return {
            "lost": len(self.lost),
            "half-written": len(self.half_written),
            "leaks": len(self.leaks),
            "failed": len(diary.failed) + len(watch.failed),
            "refused": diary.refused,
            "acknowledged": len(diary.acknowledged),
            "associations": diary.associations,
            "requests": diary.requests,
            "dropped": diary.dropped,
            "open at most": max(one.connections for one in watch.samples),
            "store p50 ms": percentile(diary.answered, 50) * 1000,
            "store p99 ms": percentile(diary.answered, 99) * 1000,
            "store slowest ms": max(diary.answered) * 1000,
            "echo p50 ms": percentile(watch.echoed, 50) * 1000,
            "echo p99 ms": percentile(watch.echoed, 99) * 1000,
            "associate p50 ms": percentile(watch.associated, 50) * 1000,
            "associate p99 ms": percentile(watch.associated, 99) * 1000,
            "rss MB, first tenth": statistics.median(one.rss for one in first),
            "rss MB, last tenth": statistics.median(one.rss for one in last),
            "rss MB, highest": max(one.rss for one in watch.samples),
            "rss MB, at rest before": self.before.rss,
            "rss MB, at rest after": self.after.rss,
            "fds, at rest before": self.before.descriptors,
            "fds, at rest after": self.after.descriptors,
            "threads, at rest before": self.before.threads,
            "threads, at rest after": self.after.threads,
        }


def percentile(values: list[float], percent: int) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def day(folder: Path, senders: int, seconds: float, seed: int, free_port: Callable[[], int]) -> Outcome:
    """One day, with its engine in a folder."""
    http_port, dicom_port = free_port(), free_port()
    table = _table(dicom_port, min(1000, 2 * senders + 16))
    engine = Engine(folder, http_port, dicom_port, table, engine={"log": "json"}).start()
    try:
        watch = Watch(engine.pid, dicom_port, http_port, engine.data)
        store = Store(locate(load(engine.table, surroundings=False).engine), engine.data)
        warm = spell(engine, senders, max(5.0, seconds / 10), seed, 0)
        before = rest(watch)
        with watch.watching():
            diary = spell(engine, senders, seconds, seed + 1, PROCESSES)
        after = rest(watch)
    finally:
        engine.stop()
    diary.acknowledged += warm.acknowledged
    diary.failed += warm.failed
    kept = store.kept()
    verdict = judge(diary.acknowledged, [], [], kept)
    outcome = Outcome(diary, watch, before, after, [str(one) for one in verdict.lost])
    outcome.half_written = [f"{after.landing} files in the landing"] if after.landing else []
    if without_row := len(engine.instance_files()) - len(kept.intact):
        outcome.half_written.append(f"{without_row} files more than rows")
    outcome.watch.failed += engine.defects()
    outcome.log = engine.log.read_text(errors="replace")
    return outcome


def spell(engine: Engine, senders: int, seconds: float, seed: int, first: int) -> Diary:
    """All senders for so many seconds; processes are numbered from ``first``, so that no UID comes twice."""
    said = SPAWN.Queue()
    until = time.monotonic() + seconds + 3  # until all processes are up
    processes = [
        SPAWN.Process(
            target=work,
            args=(engine.dicom_port, engine.http_port, number, senders // PROCESSES, seed, until, said),
            daemon=True,
        )
        for number in range(first, first + PROCESSES)
    ]
    for process in processes:
        process.start()
    diaries: list[Diary] = []
    while len(diaries) < PROCESSES:
        try:
            diaries.append(said.get(timeout=1))
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise RuntimeError("a process of senders failed; what it said is above") from None
    for process in processes:
        process.join(60)
    first_diary, *others = diaries
    for other in others:
        first_diary.acknowledged += other.acknowledged
        first_diary.answered += other.answered
        first_diary.failed += other.failed
        for count in ("associations", "requests", "dropped", "refused"):
            setattr(first_diary, count, getattr(first_diary, count) + getattr(other, count))
    return first_diary


def rest(watch: Watch) -> Sample:
    """The engine once its last peer has gone: nothing is open any more, nothing on its way in."""
    deadline = time.monotonic() + RESTING
    while (sample := watch.now()).connections or sample.landing:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(2)  # what served them ends
    return watch.now()


def _table(dicom_port: int, associations: int) -> dict[str, object]:
    return {
        "assembly": {"stable_after": "10s"},
        "sites": {"bench": {"name": "Bench", "ae_titles": ["BENCH"], "addresses": ["127.0.0.1"]}},
        "inbound": {
            "pacs": {
                "type": "c_store",
                "listen": f"127.0.0.1:{dicom_port}",
                "ae_title": "PONS",
                "max_associations": associations,
            },
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": "a day", "match": {"site": "bench"}, "hold": "counted"}],
    }
