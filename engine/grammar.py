"""Read the `match:` and `select:` of a route into predicates.

Enter: plain data from the table and a way to ask for positions. Leave: a predicate tree and, for
everything that is not of the grammar (docs/routing.md), a complaint with its location.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Literal

from engine.attribute import BULK, NUMERIC, ORDERED, UNKNOWN, Named, doubts, resolve
from engine.facts import CONTEXT_FACTS
from engine.finding import Complain, Location, Mark, did_you_mean, shown
from engine.pattern import Pattern
from engine.predicate import (
    All,
    AnyOf,
    Attribute,
    Fact,
    Instance,
    Instances,
    Not,
    Predicate,
    Series,
    Time,
)
from engine.values import Bounds, Test

Level = Literal["study", "series", "instance"]

STRUCTURE: dict[Level, tuple[str, ...]] = {
    "study": ("all", "any", "not", "series", "instance", "instances", "time", *CONTEXT_FACTS),
    "series": ("all", "any", "not", "instance", "instances"),
    "instance": ("all", "any", "not"),
}
"""The words that are no DICOM attribute, at each level."""

OPERATORS = ("equals", "in", "matches", "exists", "between", "at_least", "at_most", "not")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_FACT = Named("", "LO")


class MatchReader:
    """Reads predicates of one table."""

    def __init__(
        self,
        key_at: Callable[[Location], Mark],
        complain: Complain,
        complain_of_key: Complain,
        known: Mapping[str, Collection[str]] | None = None,
        warn_of_key: Complain = lambda *_: None,
    ) -> None:
        """``known`` gives the names that a fact's values must be among."""
        self._warn_of_key = warn_of_key
        self._key_at = key_at
        self._complain = self.complain = complain
        self._complain_of_key = complain_of_key
        self._known = known or {}

    def match(self, data: Any, location: Location, level: Level = "study") -> All:
        """A mapping of predicates; what cannot be read is complained of and left out."""
        if not isinstance(data, dict):
            self._complain(location, "must be a mapping of predicates, for example {Modality: MR}")
            return All()
        parts = [self._part(name, value, (*location, name), level) for name, value in data.items()]
        return All(tuple(part for part in parts if part is not None))

    def select(self, data: Any, location: Location) -> Series | None:
        """The predicates of a `select:`, which name series."""
        if isinstance(data, dict) and list(data) == ["series"]:
            data, location = data["series"], (*location, "series")
        return self._series(data, location)

    def value(self, data: Any, location: Location, named: Named) -> Test | None:
        """What the values of one attribute or field must be; None after a complaint."""
        return self._test(data, location, named)

    def _series(self, data: Any, location: Location) -> Series | None:
        inner = self.match(data, location, "series")
        if isinstance(data, dict) and not data:
            self._complain(location, "names no series; give it a predicate, for example {Modality: MR}")
        return Series(self._position(location), inner)

    def _position(self, location: Location) -> str:
        return str(self._key_at(location))

    def _part(self, name: str, value: Any, location: Location, level: Level) -> Predicate | None:
        if name not in STRUCTURE[level]:
            if name in STRUCTURE["study"]:
                self._complain_of_key(
                    location, f"{shown(name)} is asked of the study, not of {_a(level)}; move it out"
                )
                return None
            return self._attribute(name, value, location, level)
        position = self._position(location)
        if name in ("all", "any"):
            return self._list(name, value, location, level)
        if name == "not":
            return Not(position, self._not_empty(value, location, level))
        if name == "series":
            return self._series(value, location)
        if name == "instance":
            return Instance(position, self._not_empty(value, location, "instance"))
        if name == "instances":
            return self._instances(value, location)
        if name == "time":
            return self._time(value, location)
        test = self._test(value, location, _FACT)
        if test is None:
            return None
        known = self._known.get(name)
        for text in sorted(test.texts or ()) if known is not None else ():
            if text not in (known or ()):
                hint = did_you_mean(text, known or ())
                self._complain(location, f"no {name} {shown(text)}{hint}", f"unknown-{name}")
        return Fact(position, name, test)

    def _not_empty(self, value: Any, location: Location, level: Level) -> All:
        if value == {}:
            self._complain(location, "is empty; give it a predicate, for example {Modality: MR}")
        return self.match(value, location, level)

    def _list(self, name: str, value: Any, location: Location, level: Level) -> Predicate | None:
        if not isinstance(value, list) or not value:
            self._complain(location, "must be a list of mappings, for example [{Modality: MR}]")
            return None
        parts = tuple(self._not_empty(one, (*location, index), level) for index, one in enumerate(value))
        return All(parts) if name == "all" else AnyOf(self._position(location), parts)

    def _attribute(self, name: str, value: Any, location: Location, level: Level) -> Predicate | None:
        try:
            named = resolve(name)
        except ValueError as error:
            hint = "" if ";" in str(error) else did_you_mean(name, STRUCTURE[level], listing=False)
            self._complain_of_key(location, f"{error}{hint}", "unknown-attribute")
            return None
        for doubt in doubts(name):
            self._warn_of_key(location, doubt, "private-block")
        test = self._test(value, location, named)
        if test is None:
            return None
        if named.vr in (*BULK, "SQ") and test != Test(exists=test.exists):
            what = (
                "a sequence; ask for an attribute in it" if named.vr == "SQ" else "bulk data; ask for nothing"
            )
            self._complain(location, f"{name} is {what}, or {{exists: true}}")
            return None
        return Attribute(self._position(location), named.name, test)

    def _instances(self, value: Any, location: Location) -> Predicate | None:
        bounds = self.count(value, location)
        return Instances(self._position(location), bounds) if bounds is not None else None

    def count(self, value: Any, location: Location) -> Bounds | None:
        """How many there must be; None after a complaint."""
        if not isinstance(value, dict):
            value = {"equals": value}
        bounds = []
        for operator, wanted in value.items():
            inner = (*location, operator)
            if operator not in ("equals", "at_least", "at_most", "between"):
                known = ("equals", "at_least", "at_most", "between")
                self._complain_of_key(inner, f"no test {shown(operator)}{did_you_mean(operator, known)}")
            else:
                bounds.append(self._bounds(operator, wanted, inner))
        given = [one for one in bounds if one is not None]
        if not value:
            self._complain(location, "is empty; give it a count, for example {at_least: 60}")
        if not given:
            return None
        lows = [one.low for one in given if one.low is not None]
        highs = [one.high for one in given if one.high is not None]
        both = Bounds(max(lows, default=None), min(highs, default=None))
        if both.low is not None and both.high is not None and both.low > both.high:
            self._complain(location, "no count is in this range", "never-matches")
        return both

    def _time(self, value: Any, location: Location) -> Predicate | None:
        ends = value.get("between") if isinstance(value, dict) and list(value) == ["between"] else None
        if not isinstance(ends, list) or len(ends) != 2:
            self._complain(location, 'must be {between: ["22:00", "06:00"]}, in the site\'s local time')
            return None
        minutes = []
        for index, end in enumerate(ends):
            match = _CLOCK.fullmatch(str(end))
            if match is None:
                self._complain((*location, "between", index), 'must be a time of day such as "06:30"')
                return None
            minutes.append(int(match[1]) * 60 + int(match[2]))
        if minutes[0] == minutes[1]:
            message = "starts and ends at the same minute, so it never holds"
            self._complain((*location, "between"), message, "never-matches")
        return Time(self._position(location), minutes[0], minutes[1])

    # ── tests of values ────────────────────────────────────────────────────────────────────────

    def _test(self, value: Any, location: Location, named: Named) -> Test | None:
        plain = not isinstance(value, dict)
        if isinstance(value, list):
            self._complain(location, "is a list; write {in: [...]} for any one of several values")
            return None
        if plain:
            value = {"equals": value}
        elif not value:
            self._complain(location, f"is empty; write a value or one of {', '.join(OPERATORS)}")
            return None
        wanted: dict[str, Any] = {"bounds": [], "forbidden": []}
        for operator, operand in value.items():
            inner = location if plain else (*location, operator)
            if operator not in OPERATORS:
                hint = did_you_mean(operator, OPERATORS)
                self._complain_of_key((*location, operator), f"no test {shown(operator)}{hint}")
                return None
            if not self._operate(operator, operand, inner, named, wanted):
                return None
        return Test(
            texts=wanted.get("texts"),
            numbers=wanted.get("numbers", frozenset()),
            pattern=wanted.get("pattern"),
            bounds=tuple(wanted["bounds"]),
            exists=wanted.get("exists"),
            forbidden=tuple(wanted["forbidden"]),
        )

    def _operate(
        self, operator: str, operand: Any, location: Location, named: Named, wanted: dict[str, Any]
    ) -> bool:
        """Add one operator to a test; False when it cannot be read."""
        if operator in ("equals", "in"):
            return self._among(operator, operand, location, named, wanted)
        if operator == "exists":
            if not isinstance(operand, bool):
                self._complain(location, "must be true or false")
                return False
            wanted["exists"] = operand
            return True
        if operator == "matches":
            return self._matches(operand, location, wanted)
        if operator == "not":
            test = self._test(operand, location, named)
            if test is not None:
                wanted["forbidden"].append(test)
            return test is not None
        if named is _FACT or named.vr not in (*ORDERED, UNKNOWN):
            holder = "a fact of the arrival" if named is _FACT else named.name
            self._complain(location, f"{holder} is text, and {operator} compares numbers")
            return False
        bounds = self._bounds(operator, operand, location)
        if bounds is not None:
            wanted["bounds"].append(bounds)
        return bounds is not None

    def _among(
        self, operator: str, operand: Any, location: Location, named: Named, wanted: dict[str, Any]
    ) -> bool:
        if operator == "in" and (not isinstance(operand, list) or not operand):
            self._complain(location, "must be a list of values, for example [MR, CT]")
            return False
        if "texts" in wanted:
            self._complain(location, "use either equals or in, not both")
            return False
        texts, numbers = set(), set()
        for index, one in enumerate(operand if operator == "in" else [operand]):
            where = (*location, index) if operator == "in" else location
            complaint = _complaint_of_value(one, named)
            if complaint:
                self._complain(where, complaint)
                return False
            texts.add(str(one).strip())
            if isinstance(one, int | float) and named.vr in (*NUMERIC, UNKNOWN):
                numbers.add(Decimal(str(one)))
        wanted["texts"], wanted["numbers"] = frozenset(texts), frozenset(numbers)
        return True

    def _matches(self, operand: Any, location: Location, wanted: dict[str, Any]) -> bool:
        if not isinstance(operand, str) or not operand:
            self._complain(location, 'must be a regular expression in quotes, for example "(?i)dti"')
            return False
        try:
            wanted["pattern"] = Pattern(operand)
        except ValueError as error:
            self._complain(location, str(error), "bad-pattern")
            return False
        return True

    def _bounds(self, operator: str, operand: Any, location: Location) -> Bounds | None:
        ends = operand if operator == "between" else [operand]
        if not isinstance(ends, list) or (operator == "between" and len(ends) != 2):
            self._complain(location, "must be two numbers, for example [55, 104]")
            return None
        numbers = [_number(end) for end in ends]
        if any(number is None for number in numbers):
            self._complain(location, "must be a number" if operator != "between" else "must be two numbers")
            return None
        low = numbers[0] if operator != "at_most" else None
        high = numbers[-1] if operator != "at_least" else None
        if low is not None and high is not None and low > high:
            self._complain(location, f"its ends are the wrong way round; write [{high}, {low}]")
            return None
        return Bounds(low, high)


def _complaint_of_value(value: Any, named: Named) -> str:
    """Why a value cannot be compared with an attribute's, or the empty string."""
    if value is None:
        return "has no value; write {exists: false} for an attribute that is absent or empty"
    if isinstance(value, bool):
        return f'is true or false, which no attribute is; write "{str(value).lower()}" in quotes'
    if isinstance(value, dict | list):
        return "must be a single value"
    if isinstance(value, float) and named.vr not in (*NUMERIC, UNKNOWN):
        return f"{named.name or 'this'} is text; put the value in quotes"
    if isinstance(value, str) and not value.strip():
        return "is empty; write {exists: false} for an attribute that is absent or empty"
    return ""


def _number(value: Any) -> Decimal | None:
    """A number, or text of digits such as a date."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,14}(\.[0-9]{1,6})?", value):
        return None
    return Decimal(str(value))


def _a(level: Level) -> str:
    return "an instance" if level == "instance" else f"one {level}"
