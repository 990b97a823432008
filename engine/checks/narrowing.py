"""Which sites, ways in and AE titles a route can have its studies from.

Enters: a predicate and the names that the table declares. Leave: those for which the predicate may hold.
Never narrower than the truth. Pure, and linear in the predicate but for patterns, which are asked of every
name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from engine.predicate import All, AnyOf, Fact, Not, Predicate
from engine.values import Test

Names = frozenset[str]


def facts_of(predicate: Predicate) -> Iterator[Fact]:
    """Every question of the arrival in a predicate."""
    if isinstance(predicate, Fact):
        yield predicate
    elif isinstance(predicate, All | AnyOf):
        for part in predicate.parts:
            yield from facts_of(part)
    elif isinstance(predicate, Not):
        yield from facts_of(predicate.part)


def narrowed(predicate: Predicate, fact: str, names: Names) -> Names:
    """The names for which a predicate may hold; ``names`` itself where it does not ask for the fact.

    The empty name stands for a fact that the arrival does not have.
    """
    if isinstance(predicate, Fact):
        return _passing(predicate.test, names) if predicate.name == fact else names
    if isinstance(predicate, All):
        kept = names
        for part in predicate.parts:
            found = narrowed(part, fact, names)
            if found is not names:
                kept = found if kept is names else kept & found
        return kept
    if isinstance(predicate, AnyOf):
        either: Names = frozenset()
        for part in predicate.parts:
            found = narrowed(part, fact, names)
            if found is names:
                return names
            either |= found
        return either
    if isinstance(predicate, Not) and _asks_only(predicate.part, fact):
        return names - narrowed(predicate.part, fact, names)
    return names


def _asks_only(predicate: Predicate, fact: str) -> bool:
    """Whether nothing but one fact decides a predicate, so that its denial is exact."""
    if isinstance(predicate, Fact):
        return predicate.name == fact
    if isinstance(predicate, All | AnyOf):
        return bool(predicate.parts) and all(_asks_only(part, fact) for part in predicate.parts)
    return isinstance(predicate, Not) and _asks_only(predicate.part, fact)


def asks_only_facts(predicate: Predicate, facts: Names) -> bool:
    """Whether a predicate asks of a study nothing but some facts of its arrival, and all of them at once."""
    if isinstance(predicate, Fact):
        return predicate.name in facts
    return isinstance(predicate, All) and all(asks_only_facts(part, facts) for part in predicate.parts)


def _passing(test: Test, names: Names) -> Names:
    plain = not test.forbidden and not test.bounds and test.pattern is None and test.exists is None
    if plain and test.texts is not None and not test.numbers:
        return test.texts & names
    return _asked_of_each(test, names)


@lru_cache(maxsize=1024)
def _asked_of_each(test: Test, names: Names) -> Names:
    return frozenset(name for name in names if test.holds((name,) if name else ()))
