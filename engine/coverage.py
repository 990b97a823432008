"""What of a table its tests exercise: routes and predicates that no test sees both hold and fail.

Enter: the routes of a table and the studies of its tests. Leave: for each route whether a test fires it
and whether one does not, and the same for each predicate that stands alone (a *leaf*), by position.
Pure. A leaf counts where a study reaches it: what stands before it in its mapping held. So a leaf that
has been seen to fail is one that decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.facts import Scope, StudyFacts
from engine.model import Study
from engine.predicate import All, AnyOf, Fact, Instance, Not, Predicate, Series
from engine.route import Route, RouteTable, decide


@dataclass(slots=True)
class Leaf:
    """One predicate that stands alone."""

    position: str
    predicate: str
    held: bool = False
    failed: bool = False
    can_fail: bool = True  # a site of a table with one site cannot

    @property
    def unseen(self) -> tuple[str, ...]:
        """What no test has shown of it."""
        return tuple(
            word
            for word, seen in (("holds", self.held), ("fails", self.failed or not self.can_fail))
            if not seen
        )


@dataclass(slots=True)
class RouteCoverage:
    """What the tests show of one route."""

    route: str
    position: str
    fired: bool = False
    missed: bool = False
    can_miss: bool = True
    leaves: list[Leaf] = field(default_factory=list)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What no test has shown of it."""
        return tuple(
            word
            for word, seen in (("fires", self.fired), ("does not fire", self.missed or not self.can_miss))
            if not seen
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the tests show of a table."""

    routes: tuple[RouteCoverage, ...]

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Of all routes."""
        return tuple(leaf for route in self.routes for leaf in route.leaves)

    @property
    def percent(self) -> float:
        """Of all that tests could show, how much they do; never rounded up to 100."""
        every = sum(1 + int(route.can_miss) for route in self.routes)
        every += sum(1 + int(leaf.can_fail) for leaf in self.leaves)
        unseen = sum(len(route.unseen) for route in self.routes)
        unseen += sum(len(leaf.unseen) for leaf in self.leaves)
        return 100.0 if not every else (every - unseen) * 1000 // every / 10


def cover(table: RouteTable, studies: Iterable[Study], names: Mapping[str, Collection[str]]) -> Coverage:
    """Decide every study and watch which predicates it asks.

    Args:
        table: its routes.
        studies: those of its tests.
        names: of the facts `site` and `inbound`, every value there can be.
    """
    watched = [_Watched(route, names) for route in table.routes]
    ordinary = {one.route.name for one in watched if not one.route.otherwise and not one.route.shadow}
    for study in studies:
        facts = StudyFacts(study)
        decision = decide(study, table)
        hits = {hit.route for hit in decision.hits}
        taken = bool(hits & ordinary)
        for one in watched:
            one.coverage.fired |= one.route.name in hits
            one.coverage.missed |= one.route.name not in hits
            if not (one.route.otherwise and taken):
                one.ask(facts)
    return Coverage(tuple(one.coverage for one in watched))


class _Watched:
    """One route, and what has been seen of it."""

    def __init__(self, route: Route, names: Mapping[str, Collection[str]]) -> None:
        self.route = route
        self._names = names
        self._leaves: dict[int, Leaf] = {}
        self.coverage = RouteCoverage(route.name, route.position)
        self._from: Leaf | None = None
        if route.inbound is not None:
            others = set(names.get("inbound", ())) - set(route.inbound)
            wanted = f"from {', '.join(route.inbound)}"
            self._from = Leaf(route.position, wanted, can_fail=bool(others))
            self.coverage.leaves.append(self._from)
        for tree in (route.match, route.select):
            for leaf in _leaves_of(tree) if tree is not None else ():
                position: str = getattr(leaf, "position", route.position)
                self._leaves[id(leaf)] = Leaf(position, str(leaf), can_fail=self._can_fail(leaf))
        self.coverage.leaves.extend(self._leaves.values())
        fallible = any(leaf.can_fail for leaf in self.coverage.leaves)
        self.coverage.can_miss = fallible or route.otherwise

    def _can_fail(self, leaf: Predicate) -> bool:
        if not isinstance(leaf, Fact) or leaf.name not in self._names:
            return True
        return not all(leaf.test.holds((name,)) for name in self._names[leaf.name])

    def ask(self, facts: StudyFacts) -> None:
        """Ask as a decision does, leaf by leaf."""
        if self._from is not None:
            assert self.route.inbound is not None
            came = facts.study.inbound in self.route.inbound
            self._from.held |= came
            self._from.failed |= not came
            if not came:
                return
        if self._holds(self.route.match, facts, facts.whole) and self.route.select is not None:
            for scope in facts.series.values():
                self._holds(self.route.select.part, facts, scope)

    def _holds(self, asked: Predicate, facts: StudyFacts, scope: Scope) -> bool:
        """`asked.miss(…) is None`, remembering every leaf on the way."""
        if isinstance(asked, All):
            return all(self._holds(part, facts, scope) for part in asked.parts)
        if isinstance(asked, AnyOf):
            return any(self._holds(part, facts, scope) for part in asked.parts)
        if isinstance(asked, Not):
            return not self._holds(asked.part, facts, scope)
        if isinstance(asked, Series):
            return any(self._holds(asked.part, facts, one) for one in facts.series.values())
        if isinstance(asked, Instance):
            return any(self._holds(asked.part, facts, one) for one in facts.each_instance(scope))
        held = asked.miss(facts, scope) is None
        leaf = self._leaves[id(asked)]
        leaf.held |= held
        leaf.failed |= not held
        return held


def _leaves_of(predicate: Predicate) -> Iterator[Predicate]:
    if isinstance(predicate, All | AnyOf):
        for part in predicate.parts:
            yield from _leaves_of(part)
    elif isinstance(predicate, Not | Series | Instance):
        yield from _leaves_of(predicate.part)
    else:
        yield predicate
