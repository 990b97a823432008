"""What is under way and meets another table: pure.

Enter: a difference, both tables, counts of what is not over. Leave: what each change means for it, and
whether it must not be made just so: because deliveries would wait for nobody, or would reach another site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.plan import Difference
from engine.store.lanes import OPEN
from engine.store.under_way import DEAD, UnderWay
from engine.table import Table


class Stop(StrEnum):
    """Why a change is not made just so."""

    NO = ""
    STRANDS = "strands"  # something under way would come to nothing: only with --force
    ASTRAY = "astray"  # something would reach another site: never


@dataclass(frozen=True, slots=True)
class Touched:
    """One thing under way: what there is of it, and what becomes of it."""

    section: str
    name: str
    counts: tuple[tuple[str, int], ...]  # state -> how many
    becomes: str
    stop: Stop = Stop.NO

    @property
    def counted(self) -> str:
        """`3 queued, 1 dead`."""
        return ", ".join(f"{count} {state}" for state, count in self.counts)


def touched(found: Difference, after: Table, now: UnderWay) -> list[Touched]:
    """What is under way and would notice."""
    return [
        *_destinations(found, after, now),
        *_processors(found, now),
        *_ways_in(found, now),
        *_sites(found, now),
        *_routes(found, now),
    ]


def _destinations(found: Difference, after: Table, now: UnderWay) -> Iterator[Touched]:
    for name in found.names("outbound", "-"):
        counts = _counts(now.deliveries, name)
        waiting = tuple((state, n) for state, n in counts if state in OPEN)
        if waiting:
            becomes = "nobody delivers them until a table has it again"
            yield Touched("outbound", name, counts, becomes, Stop.STRANDS)
        elif counts:
            becomes = "they can be sent elsewhere only: pons replay --from deliver --to"
            yield Touched("outbound", name, counts, becomes)
        if now.runs_for[name]:
            becomes = "their studies will be held: nothing is sent there any more"
            runs = (("runs with results for it", now.runs_for[name]),)
            yield Touched("outbound", name, runs, becomes, Stop.STRANDS)
    for name in found.names("outbound", "~"):
        owner = after.outbound[name].settings.site
        others = Counter(
            {
                (state,): n
                for (to, site, state), n in now.deliveries.items()
                if to == name and site != owner and state in OPEN
            }
        )
        if others:
            becomes = f"they are of another site than {owner} and must not go there; give it another name"
            counts = tuple((state, n) for (state,), n in sorted(others.items()))
            yield Touched("outbound", name, counts, becomes, Stop.ASTRAY)
            continue
        counts = tuple((state, n) for state, n in _counts(now.deliveries, name) if state in OPEN)
        if counts:
            becomes = "they go by the new settings; an attempt under way ends by the old ones"
            yield Touched("outbound", name, counts, becomes)


def _processors(found: Difference, now: UnderWay) -> Iterator[Touched]:
    for name in found.names("processors", "-"):
        counts = _counts(now.runs, name)
        if counts:
            yield Touched("processors", name, counts, "they will end as failed", Stop.STRANDS)
    for name in found.names("processors", "~"):
        counts = _counts(now.runs, name)
        if counts:
            becomes = "what is queued runs by the new settings; what runs ends by the old ones"
            yield Touched("processors", name, counts, becomes)


def _ways_in(found: Difference, now: UnderWay) -> Iterator[Touched]:
    for name in found.names("inbound", "-"):
        open_studies = sum(n for (inbound, _), n in now.receiving.items() if inbound == name)
        counts = (("studies still coming in", open_studies),) if open_studies else ()
        yield Touched("inbound", name, counts, "it takes nothing new; associations that are open finish")


def _sites(found: Difference, now: UnderWay) -> Iterator[Touched]:
    for name in found.names("sites", "-"):
        open_studies = sum(n for (_, site), n in now.receiving.items() if site == name)
        counts = (("studies still coming in", open_studies),) if open_studies else ()
        yield Touched("sites", name, counts, "nothing more is taken from it; what came of it stays")


def _routes(found: Difference, now: UnderWay) -> Iterator[Touched]:
    for name in found.names("routes", "-"):
        if now.holds[name]:
            becomes = "they stay held until a person answers"
            yield Touched("routes", name, (("held", now.holds[name]),), becomes)


def _counts(counter: Mapping[Any, int], name: str) -> tuple[tuple[str, int], ...]:
    """Counts by state, of what is of one name; what is under way before what is dead."""
    states: Counter[str] = Counter()
    for key, count in counter.items():
        if key[0] == name:
            states[key[-1]] += count
    return tuple(sorted(states.items(), key=lambda one: (one[0] == DEAD, one[0])))
