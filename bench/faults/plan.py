"""Which fault comes when: everything follows from a seed.

Enter: a seed, how long, which nodes and receivers there are, what the machine allows. Leave: faults in
order of time. Three kinds of trouble go on beside each other: one node at a time, what all nodes stand on,
and each receiver's weather.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bench.faults.weather import Weather

HOUR = 3600.0
NODE_FAULTS = ("kill", "freeze", "restart", "clock")
BEGIN = 3.0  # seconds in which something gets under way


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: after ``at`` seconds, for ``lasts`` seconds."""

    at: float
    lasts: float
    kind: str  # kill | freeze | restart | clock | database | disk | weather
    target: str = ""  # a node or a receiver
    setting: str = ""  # which weather, or by how many seconds the clock is off

    def __str__(self) -> str:
        words = [f"{self.at:6.1f} s", self.kind, self.target, self.setting]
        return " ".join(word for word in words if word) + (f" for {self.lasts:.1f} s" if self.lasts else "")


def plan(
    seed: int,
    seconds: float,
    *,
    nodes: Sequence[str],
    sinks: Mapping[str, Sequence[Weather]],
    lease: float,
    database: bool,
    disk: bool,
) -> list[Fault]:
    """The faults of one run, the first first; each kind comes at least once when there is time."""
    random = Random(seed)
    faults = _of_nodes(random, seconds, nodes, lease)
    stands_on = [kind for kind, there in (("database", database), ("disk", disk)) if there]
    if stands_on:
        faults += _of_what_all_stand_on(random, seconds, stands_on)
    for name, weathers in sinks.items():
        faults += _of_a_sink(random, seconds, name, weathers)
    return sorted(faults, key=lambda one: one.at)


def _rounds(random: Random, kinds: Sequence[str]) -> list[str]:
    """A shuffled round of all kinds."""
    return random.sample(list(kinds), k=len(kinds))


def _of_nodes(random: Random, seconds: float, nodes: Sequence[str], lease: float) -> list[Fault]:
    faults: list[Fault] = []
    at, due = BEGIN + random.uniform(0, 2), _rounds(random, NODE_FAULTS)
    while at < seconds:
        kind = due.pop()
        due = due or _rounds(random, NODE_FAULTS)
        lasts = lease + random.uniform(1, 3) if kind == "freeze" else 0.0
        setting = str(random.choice((-HOUR, 0.0, HOUR))) if kind == "clock" else ""
        faults.append(Fault(at, lasts, kind, random.choice(list(nodes)), setting))
        at += lasts + random.uniform(4, 7)
    return faults


def _of_what_all_stand_on(random: Random, seconds: float, kinds: Sequence[str]) -> list[Fault]:
    faults: list[Fault] = []
    at, due = BEGIN + random.uniform(3, 8), _rounds(random, kinds)
    while at < seconds:
        kind = due.pop()
        due = due or _rounds(random, kinds)
        lasts = random.uniform(0.5, 2) if kind == "database" else random.uniform(3, 5)
        faults.append(Fault(at, lasts, kind))
        at += lasts + random.uniform(8, 14)
    return faults


def _of_a_sink(random: Random, seconds: float, name: str, weathers: Sequence[Weather]) -> list[Fault]:
    faults: list[Fault] = []
    at, due = BEGIN + random.uniform(0, 3), _rounds(random, weathers)
    while at < seconds:
        weather = due.pop()
        due = due or _rounds(random, weathers)
        lasts = random.uniform(1, 4)
        faults.append(Fault(at, lasts, "weather", name, weather))
        at += lasts + random.uniform(2, 5)
    return faults
