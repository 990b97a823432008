"""Which uploads are complete: what lies in a site's `/input` in, the names that may be taken out.

An entry of `/input` is complete once it was renamed into place, or a file `<name>.done` stands beside it, or
nothing of it has changed for `quiet` and nobody has it open. A file that is open for writing has a mark on
disk until its client closes it. One whose connection was cut, or the engine killed, keeps its mark: it waits
for the client to come back and go on, and is given up as cut off only after `resume_within`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from channels.inbound.sftp_root import Parts, Root, measure

UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".uploading")
MARK = ".done"


def is_unfinished(name: str) -> bool:
    """Whether a name says that its file gets another one when it is complete."""
    return name.startswith(".") or name.lower().endswith(UNFINISHED)


@dataclass(frozen=True, slots=True)
class Complete:
    """An upload that may be taken, or that is given up."""

    name: str
    how: Literal["whole", "cut off"]


class Uploads:
    """What is known of the uploads of one site; `look` is called again and again, in one thread at a time."""

    def __init__(
        self,
        root: Root,
        quiet: float,
        resume_within: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._quiet = quiet
        self._resume_within = resume_within
        self._monotonic = monotonic
        self._wall = wall
        self._open: Counter[Parts] = Counter()
        self._placed: set[str] = set()
        self._seen: dict[str, tuple[tuple[int, int, int], float]] = {}

    # ── told by sessions ──

    def opened(self, parts: Parts) -> bool:
        """A client is about to write this file; returns whether it was left unfinished before."""
        mark = self._root.open_marks / _mark(parts)
        was_cut_off = mark.exists()
        self._open[parts] += 1
        self._placed.discard(parts[1])
        mark.write_bytes(os.fsencode("/".join(parts)))
        return was_cut_off

    def closed(self, parts: Parts, *, by_client: bool) -> None:
        """It is no longer written: the client said so, or is gone."""
        self._open[parts] -= 1
        if self._open[parts] <= 0:
            del self._open[parts]
            if by_client:
                self.forget(parts)

    def forget(self, parts: Parts) -> None:
        """It is whole, or there no longer."""
        self._root.open_marks.joinpath(_mark(parts)).unlink(missing_ok=True)

    def placed(self, old: Parts, new: Parts) -> None:
        """A client has renamed something in `/input`."""
        self.forget(old)
        if len(new) == 2 and old != new:
            self._placed.add(new[1])

    # ── asked by the taker ──

    def look(self) -> list[Complete]:
        """Those that are complete at this moment."""
        entries = self._root.entries()
        here, now = set(entries), self._monotonic()
        self._seen = {name: seen for name, seen in self._seen.items() if name in here}
        self._placed &= here
        marks = self._marks()
        found = []
        for name in entries:
            if is_unfinished(name) or self._is_mark(name, here):
                continue
            ages = [age for parts, age in marks if parts[:2] == ("input", name)]
            if self.is_open(name):
                self._seen.pop(name, None)
            elif ages:  # cut off, or open in another engine
                if min(ages) > self._resume_within:
                    found.append(Complete(name, "cut off"))
            elif name in self._placed or name + MARK in here or self._is_quiet(name, now):
                found.append(Complete(name, "whole"))
        return found

    def taken(self, name: str) -> None:
        """It has left `/input`: marks and memory of it go."""
        for parts, _ in self._marks():
            if parts[1] == name:
                self.forget(parts)
        self._placed.discard(name)
        self._seen.pop(name, None)

    def is_open(self, name: str) -> bool:
        """Whether somebody writes to it at this moment."""
        return any(parts[1] == name for parts in list(self._open))  # other threads look too

    def is_writing(self, parts: Parts) -> bool:
        """Whether somebody writes to this file, or to one in this folder."""
        return any(one[: len(parts)] == parts for one in list(self._open))

    def _is_quiet(self, name: str, now: float) -> bool:
        facts = measure(self._root.input / name)
        before = self._seen.get(name)
        if before is None or before[0] != facts:
            self._seen[name] = facts, now
            return False
        return now - before[1] >= self._quiet

    def _is_mark(self, name: str, here: set[str]) -> bool:
        """`<name>.done` is a mark where it is empty or stands beside its upload."""
        if not name.endswith(MARK):
            return False
        return name.removesuffix(MARK) in here or measure(self._root.input / name)[0] == 0

    def _marks(self) -> list[tuple[Parts, float]]:
        """Files that are open, or were when their client was cut off, and how long ago they were opened."""
        found = []
        for entry in os.scandir(self._root.open_marks):
            try:
                with open(entry.path, "rb") as mark:  # noqa: PTH123  # a name of bytes stays one
                    parts = tuple(os.fsdecode(mark.read()).split("/"))
                    age = self._wall() - os.fstat(mark.fileno()).st_mtime
            except FileNotFoundError:
                continue
            if len(parts) > 1:
                found.append((parts, age))
        return found


def _mark(parts: Parts) -> str:
    return hashlib.sha256(os.fsencode("/".join(parts))).hexdigest()[:32]
