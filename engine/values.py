"""What the values of an attribute or fact must be.

Enter: the values that a scope has, as text. Leaves: whether they pass. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from engine.pattern import Pattern


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
