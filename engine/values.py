"""What the values of an attribute or fact must be.

Enter: the values that a scope has, as text. Leaves: whether they pass. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from engine.pattern import Pattern

_AGE = re.compile(r"([0-9]{3})([DWMY])")
_A_YEAR = {"D": Decimal("365.25"), "W": Decimal("365.25") / 7, "M": Decimal(12), "Y": Decimal(1)}


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
    """A value as a finite number, an age (PS3.5 6.2, AS) in years; None when it is neither."""
    age = _AGE.fullmatch(value)
    if age:
        return Decimal(age[1]) / _A_YEAR[age[2]]
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# ── as stored ───────────────────────────────────────────────────────────────────────────────────


def bounds_to_json(bounds: Bounds) -> list[str | None]:
    """Both ends as text, which keeps every digit."""
    return [None if end is None else str(end) for end in (bounds.low, bounds.high)]


def bounds_from_json(data: Sequence[str | None]) -> Bounds:
    """The bounds that `bounds_to_json` wrote."""
    low, high = (None if end is None else Decimal(end) for end in data)
    return Bounds(low, high)


def test_to_json(test: Test) -> dict[str, Any]:
    """A test as plain data; what is empty is left out."""
    data: dict[str, Any] = {}
    if test.texts is not None:
        data["texts"] = sorted(test.texts)
    if test.numbers:
        data["numbers"] = sorted(map(str, test.numbers))
    if test.pattern is not None:
        data["pattern"] = test.pattern.text
    if test.bounds:
        data["bounds"] = [bounds_to_json(one) for one in test.bounds]
    if test.exists is not None:
        data["exists"] = test.exists
    if test.forbidden:
        data["forbidden"] = [test_to_json(one) for one in test.forbidden]
    return data


def test_from_json(data: Mapping[str, Any]) -> Test:
    """The test that `test_to_json` wrote."""
    return Test(
        texts=frozenset(data["texts"]) if "texts" in data else None,
        numbers=frozenset(map(Decimal, data.get("numbers", ()))),
        pattern=Pattern(data["pattern"]) if "pattern" in data else None,
        bounds=tuple(map(bounds_from_json, data.get("bounds", ()))),
        exists=data.get("exists"),
        forbidden=tuple(map(test_from_json, data.get("forbidden", ()))),
    )
