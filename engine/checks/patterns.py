"""Regular expressions whose cost would be felt.

Enters: the sound routes. Leave: warnings. Every pattern takes time in proportion to the text
(`engine.pattern`), at most as many steps a character as it has states: it is these that are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.checks.standing import Routes, tell
from engine.predicate import All, AnyOf, Attribute, Fact, Instance, Not, Predicate, Series
from engine.reading import Reading
from engine.values import Test

MANY = 250  # states; over a text of 64 characters, some milliseconds at worst where a decision has one


def check_patterns(reading: Reading, routes: Routes) -> None:
    """No pattern is so large that a decision would wait for it."""
    for one in routes.sound:
        for asked in _asked(one.route.match):
            for states in _states(asked.test):
                if states > MANY:
                    message = (
                        f"its pattern has {states} states, and each character of a text may be tried against "
                        "all of them; use smaller repeat counts"
                    )
                    where = (*one.location, "match", asked.name)
                    tell(reading, where, asked.position, message, "costly-pattern", "warning")


def _asked(predicate: Predicate) -> Iterator[Attribute | Fact]:
    if isinstance(predicate, Attribute | Fact):
        yield predicate
    elif isinstance(predicate, All | AnyOf):
        for part in predicate.parts:
            yield from _asked(part)
    elif isinstance(predicate, Not | Series | Instance):
        yield from _asked(predicate.part)


def _states(test: Test) -> Iterator[int]:
    if test.pattern is not None:
        yield test.pattern.states
    for one in test.forbidden:
        yield from _states(one)
