"""Whether one predicate holds wherever another does.

Enter: two predicates asked of the same scope. Leaves: True where the second follows from the first; False
where it does not, or where that cannot be seen. Pure.
"""

from __future__ import annotations

from engine.predicate import All, AnyOf, Attribute, Fact, Instance, Instances, Not, Predicate, Series, Time
from engine.values import Bounds, Test


def implies(first: Predicate, second: Predicate) -> bool:
    """Whether ``second`` holds of everything of which ``first`` holds."""
    if isinstance(second, All):
        return all(implies(first, part) for part in second.parts)
    if isinstance(first, AnyOf):
        return bool(first.parts) and all(implies(part, second) for part in first.parts)
    if isinstance(second, AnyOf) and any(implies(first, part) for part in second.parts):
        return True
    if isinstance(first, All):
        return any(implies(part, second) for part in first.parts)
    if isinstance(first, Fact | Attribute) and isinstance(second, Fact | Attribute):
        return first.name == second.name and _test_implies(first.test, second.test)
    if isinstance(first, Not) and isinstance(second, Not):
        return implies(second.part, first.part)
    if isinstance(first, Instances) and isinstance(second, Instances):
        return _within(first.bounds, second.bounds)
    if isinstance(first, Time) and isinstance(second, Time):
        return (first.start, first.end) == (second.start, second.end)
    if isinstance(first, Series | Instance):
        if type(first) is type(second):
            return implies(first.part, second.part)
        # One series or instance that has a value makes the study have it.
        return isinstance(second, Attribute) and is_monotone(second.test) and implies(first.part, second)
    return False


def is_monotone(test: Test) -> bool:
    """Whether further values never make a test fail."""
    return test.exists is not False and not test.forbidden


def _test_implies(first: Test, second: Test) -> bool:
    if first == second:
        return True
    if not is_monotone(second):
        return False
    if second.texts is None and second.pattern is None and not second.bounds:  # {exists: true}
        return (
            first.exists is True or first.texts is not None or first.pattern is not None or bool(first.bounds)
        )
    if first.texts is not None:
        if first.numbers and (second.pattern is not None or second.texts is not None):
            return (
                first.texts == second.texts and first.numbers == second.numbers and _same_rest(first, second)
            )
        return all(second.holds((text,)) for text in first.texts)
    if second.texts is not None:
        return False
    if second.pattern is not None and (first.pattern is None or first.pattern.text != second.pattern.text):
        return False
    return all(any(_within(mine, theirs) for mine in first.bounds) for theirs in second.bounds)


def _same_rest(first: Test, second: Test) -> bool:
    return second.pattern is None and all(
        any(_within(mine, theirs) for mine in first.bounds) for theirs in second.bounds
    )


def _within(inner: Bounds, outer: Bounds) -> bool:
    low = outer.low is None or (inner.low is not None and inner.low >= outer.low)
    return low and (outer.high is None or (inner.high is not None and inner.high <= outer.high))
