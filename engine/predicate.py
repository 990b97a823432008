"""The questions a route asks of a study.

A tree of predicates; each answers `miss`: None when it holds, else what was wanted and what was
found. Pure. Meaning, exactly:

- An attribute predicate holds in a scope (study, series, instance) when any instance of the scope
  has a value that passes the test; of several values any one may. Its `not` holds when none does.
- `series` holds when one series passes all that is in it, `instance` when one single instance does.
- A mapping of several predicates holds when each does; `all`, `any`, `not` combine mappings.

What a predicate asks is written in the table; how it is read from there is `engine.grammar`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from engine.facts import CONTEXT_FACTS, Scope, StudyFacts
from engine.values import Bounds, Test

MAX_FOUND = 5  # values that a reason repeats


@dataclass(slots=True)
class Miss:
    """Why a predicate does not hold; put into words only when somebody asks."""

    position: str
    wanted: object  # the predicate
    found: object  # the values there were, or a word for them
    passed: int = 0  # parts of a mapping that held before the one that did not
    one: str = ""  # "series" or "instance" when one of several had to pass
    among: int = 0  # how many there were of these

    def __str__(self) -> str:
        return f"{self.position}: wanted {self.wanted_in_words}, found {self.found_in_words}"

    @property
    def wanted_in_words(self) -> str:
        """What was wanted."""
        return f"one {self.one} with {self.wanted}" if self.one else str(self.wanted)

    @property
    def found_in_words(self) -> str:
        """What was found, few values of it."""
        found = _listed(self.found) if isinstance(self.found, tuple) else str(self.found)
        if self.among > 1:
            plural = self.one if self.one == "series" else f"{self.one}s"
            return f"{found} in the nearest of {self.among} {plural}"
        return found


class Predicate(Protocol):
    """A yes-or-no question of a study, or of a part of it."""

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        """None when the predicate holds in the scope."""
        ...

    def attributes(self) -> Iterator[str]:
        """Every attribute it reads."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Attribute:
    """A DICOM attribute: a keyword, a `(gggg,eeee)` tag, or a path through sequences."""

    position: str
    name: str
    test: Test

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        values = scope.values(self.name)
        if self.test.holds(values):
            return None
        return Miss(self.position, self, values)

    def attributes(self) -> Iterator[str]:
        yield self.name

    def __str__(self) -> str:
        return f"{self.name} {self.test}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of the arrival: site, inbound, calling or called AE title."""

    position: str
    name: str
    test: Test

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        value = facts.context[self.name]
        values = (value,) if value else ()
        return None if self.test.holds(values) else Miss(self.position, self, values)

    def attributes(self) -> Iterator[str]:
        return iter(())

    def __str__(self) -> str:
        return f"{self.name} {self.test}"


@dataclass(frozen=True, slots=True)
class Time:
    """The site's local time at which the last instance came, from ``start`` until before ``end``."""

    position: str
    start: int  # minutes past midnight
    end: int

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        minute = facts.minute
        if self.start <= self.end:
            inside = self.start <= minute < self.end
        else:
            inside = minute >= self.start or minute < self.end
        return None if inside else Miss(self.position, self, _clock(minute))

    def attributes(self) -> Iterator[str]:
        return iter(())

    def __str__(self) -> str:
        return f"time between {_clock(self.start)} and {_clock(self.end)}"


@dataclass(frozen=True, slots=True)
class Instances:
    """How many instances the scope has."""

    position: str
    bounds: Bounds

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        count = len(scope.instances)
        if self.bounds.holds(Decimal(count)):
            return None
        return Miss(self.position, self, count)

    def attributes(self) -> Iterator[str]:
        return iter(())

    def __str__(self) -> str:
        return f"instances {self.bounds}"


@dataclass(frozen=True, slots=True)
class All:
    """Each part holds; without parts it always does."""

    parts: tuple[Predicate, ...] = ()

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        for passed, part in enumerate(self.parts):
            miss = part.miss(facts, scope)
            if miss is not None:
                miss.passed = passed
                return miss
        return None

    def attributes(self) -> Iterator[str]:
        for part in self.parts:
            yield from part.attributes()

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts)) or "anything"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    position: str
    parts: tuple[Predicate, ...]

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        found = []
        for part in self.parts:
            miss = part.miss(facts, scope)
            if miss is None:
                return None
            found.append(miss.found_in_words)
        return Miss(self.position, self, "; ".join(dict.fromkeys(found)))

    def attributes(self) -> Iterator[str]:
        for part in self.parts:
            yield from part.attributes()

    def __str__(self) -> str:
        return "one of (" + "), (".join(map(str, self.parts)) + ")"


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    position: str
    part: Predicate

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        if self.part.miss(facts, scope) is not None:
            return None
        return Miss(self.position, self, "that it holds")

    def attributes(self) -> Iterator[str]:
        return self.part.attributes()

    def __str__(self) -> str:
        return f"not ({self.part})"


@dataclass(frozen=True, slots=True)
class Series:
    """One series of the study passes."""

    position: str
    part: Predicate

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        return _one_of(facts, iter(facts.series.values()), self.part, self.position, "series")

    def selected(self, facts: StudyFacts) -> tuple[str, ...]:
        """Series Instance UIDs of the series that pass."""
        return tuple(uid for uid, scope in facts.series.items() if self.part.miss(facts, scope) is None)

    def attributes(self) -> Iterator[str]:
        return self.part.attributes()

    def __str__(self) -> str:
        return f"a series with {self.part}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One single instance of the scope passes."""

    position: str
    part: Predicate

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        return _one_of(facts, facts.each_instance(scope), self.part, self.position, "instance")

    def attributes(self) -> Iterator[str]:
        return self.part.attributes()

    def __str__(self) -> str:
        return f"an instance with {self.part}"


def _one_of(
    facts: StudyFacts, scopes: Iterator[Scope], part: Predicate, position: str, word: str
) -> Miss | None:
    """None when one scope passes, else the miss of the scope that came furthest."""
    nearest: Miss | None = None
    count = 0
    for scope in scopes:
        count += 1
        miss = part.miss(facts, scope)
        if miss is None:
            return None
        if nearest is None or miss.passed > nearest.passed:
            nearest = miss
    if nearest is None:
        return Miss(position, part, f"no {word}", one=word)
    nearest.one, nearest.among = word, count
    return nearest


def _listed(values: tuple[str, ...]) -> str:
    if not values:
        return "no value"
    more = f" and {len(values) - MAX_FOUND} more" if len(values) > MAX_FOUND else ""
    return ", ".join(repr(value[:64]) for value in values[:MAX_FOUND]) + more


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


# ── what a predicate always demands, for the index ──────────────────────────────────────────────


def demands(predicate: Predicate) -> dict[str, frozenset[str]]:
    """Facts and attributes of which a study must have one of some values for the predicate to hold.

    Never narrower than the truth: a study that lacks such a value misses, one that has it may hold.
    """
    if isinstance(predicate, Fact | Attribute):
        test = predicate.test
        return {predicate.name: test.texts} if test.texts is not None and not test.numbers else {}
    if isinstance(predicate, Series | Instance):
        return demands(predicate.part)
    if isinstance(predicate, All):
        found: dict[str, frozenset[str]] = {}
        for part in predicate.parts:
            for name, values in demands(part).items():
                if name not in found:
                    found[name] = values
                elif (
                    name in CONTEXT_FACTS
                ):  # a study has one site; of an attribute it may have several values
                    found[name] &= values
        return found
    if isinstance(predicate, AnyOf) and predicate.parts:
        first, *others = map(demands, predicate.parts)
        return {
            name: values.union(*(other[name] for other in others))
            for name, values in first.items()
            if all(name in other for other in others)
        }
    return {}
