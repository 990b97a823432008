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
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, Protocol

from engine.facts import Scope, StudyFacts
from engine.pattern import Pattern

MAX_FOUND = 5  # values that a reason repeats


class Miss(NamedTuple):
    """Why a predicate does not hold."""

    position: str
    wanted: str
    found: str
    passed: int = 0  # parts of a mapping that held before the one that did not

    def __str__(self) -> str:
        return f"{self.position}: wanted {self.wanted}, found {self.found}"


class Predicate(Protocol):
    """A yes-or-no question of a study, or of a part of it."""

    def miss(self, facts: StudyFacts, scope: Scope) -> Miss | None:
        """None when the predicate holds in the scope."""
        ...

    def attributes(self) -> Iterator[str]:
        """Every attribute it reads."""
        ...

    def __str__(self) -> str: ...


# ── tests of one attribute's or fact's values ───────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of numbers, both ends inside; None is open."""

    low: Decimal | None
    high: Decimal | None

    def holds(self, number: Decimal) -> bool:
        """Whether the number lies inside."""
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)

    def __str__(self) -> str:
        if self.low is not None and self.low == self.high:
            return f"exactly {self.low}"
        if self.low is not None and self.high is not None:
            return f"between {self.low} and {self.high}"
        return f"at least {self.low}" if self.low is not None else f"at most {self.high}"


@dataclass(frozen=True, slots=True)
class Test:
    """What the values of an attribute must be; every part that is given must pass, for one value."""

    __test__ = False  # not a test case, whatever its name suggests to a test runner

    texts: frozenset[str] | None = None
    numbers: frozenset[Decimal] = frozenset()  # equal as numbers also counts
    pattern: Pattern | None = None
    bounds: tuple[Bounds, ...] = ()
    exists: bool | None = None
    forbidden: tuple[Test, ...] = ()  # no value may pass one of these

    def holds(self, values: tuple[str, ...]) -> bool:
        """Whether the values of a scope pass."""
        if self.exists is not None and bool(values) is not self.exists:
            return False
        if self._asks_a_value() and not any(self._passes(value) for value in values):
            return False
        return not any(test.holds(values) for test in self.forbidden)

    def _asks_a_value(self) -> bool:
        return self.texts is not None or self.pattern is not None or bool(self.bounds)

    def _passes(self, value: str) -> bool:
        if self.texts is not None and value not in self.texts:
            if not self.numbers:
                return False
            number = as_number(value)
            if number is None or number not in self.numbers:
                return False
        if self.pattern is not None and not self.pattern.search(value):
            return False
        if self.bounds:
            number = as_number(value)
            return number is not None and all(bounds.holds(number) for bounds in self.bounds)
        return True

    def __str__(self) -> str:
        parts = []
        if self.texts is not None:
            parts.append(" or ".join(sorted(self.texts)))
        if self.pattern is not None:
            parts.append(f"matching {self.pattern.text!r}")
        parts.extend(str(bounds) for bounds in self.bounds)
        if self.exists is not None:
            parts.append("a value" if self.exists else "no value")
        parts.extend(f"not {test}" for test in self.forbidden)
        return " and ".join(parts)


def as_number(value: str) -> Decimal | None:
    """A value as a finite number, or None."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# ── predicates ──────────────────────────────────────────────────────────────────────────────────


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
        return Miss(self.position, str(self), _listed(values))

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
        return None if self.test.holds(values) else Miss(self.position, str(self), _listed(values))

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
        return None if inside else Miss(self.position, str(self), _clock(minute))

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
        return Miss(self.position, str(self), str(count))

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
                return miss._replace(passed=passed)
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
            found.append(miss.found)
        return Miss(self.position, str(self), "; ".join(dict.fromkeys(found)))

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
        return Miss(self.position, str(self), "that it holds")

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
        return Miss(position, f"one {word} with {part}", f"no {word}")
    among = f" in the nearest of {count} {word}{'' if word == 'series' else 's'}" if count > 1 else ""
    return Miss(nearest.position, f"one {word} with {nearest.wanted}", f"{nearest.found}{among}")


def _listed(values: tuple[str, ...]) -> str:
    if not values:
        return "no value"
    more = f" and {len(values) - MAX_FOUND} more" if len(values) > MAX_FOUND else ""
    return ", ".join(repr(value[:64]) for value in values[:MAX_FOUND]) + more


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


# ── what a predicate always demands, for the index ──────────────────────────────────────────────


def pinned(predicate: Predicate, name: str) -> frozenset[str] | None:
    """The only values a context fact may have for the predicate to hold; None when any may do."""
    if isinstance(predicate, Fact):
        return predicate.test.texts if predicate.name == name else None
    if isinstance(predicate, All):
        found: frozenset[str] | None = None
        for part in predicate.parts:
            demanded = pinned(part, name)
            if demanded is not None:
                found = demanded if found is None else found & demanded
        return found
    if isinstance(predicate, AnyOf):
        each = [pinned(part, name) for part in predicate.parts]
        if any(demanded is None for demanded in each):
            return None
        return frozenset[str]().union(*(demanded for demanded in each if demanded is not None))
    return None
