"""Decide what happens to a stable study: (study facts, table) in, a decision with reasons out.

Pure. Every route whose predicates hold fires, in file order; an `otherwise` route fires only when
no other but shadow routes did. A table of thousands of routes is asked through an index, so that
only routes that could fire are looked at. The grammar is described in docs/routing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from engine.facts import StudyFacts
from engine.model import Study
from engine.predicate import All, Predicate, Series, demands
from engine.transform import for_copies_of
from engine.when import When, when_from_json, when_to_json
from engine.window import DailyWindow

EXPLAINED_IN_FULL = 200
"""Tables of up to so many routes are asked route by route, so that each tells its reason."""

ANYTHING = All()
"""Holds for every study."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One `deliver:` entry of a route that fired."""

    to: str  # key of the destination
    after: tuple[str, ...] = ()  # destinations that must have acknowledged the same result first
    when: tuple[When, ...] = ()  # one of these must hold of a result; empty: it has not failed
    transform: tuple[dict[str, Any], ...] = ()  # steps on what goes there: the study, or what a result says


@dataclass(frozen=True, slots=True)
class Failed:
    """The first predicate of a route that a study did not pass."""

    position: str  # "routes.yaml:31:11"
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """What one route said of one study, hit or miss, and why."""

    route: str
    position: str  # "routes.yaml:31:5"
    hit: bool
    why: str  # one sentence for people: stored and shown by `explain`, never logged
    shadow: bool = False
    process: str | None = None
    series: tuple[str, ...] = ()  # Series Instance UIDs that go to the processor
    transform: tuple[dict[str, Any], ...] = ()
    deliver: tuple[Sending, ...] = ()
    schedule: tuple[str, ...] = ()  # windows in which its runs and study deliveries start; empty: at once
    hold: str | None = None
    failed: Failed | None = None  # a miss by a predicate; decisions of earlier releases do not have it
    overrides: Mapping[str, str] = field(default_factory=dict)  # of a hit: metadata of the study's orders


@dataclass(frozen=True, slots=True)
class Decision:
    """The recorded outcome of matching one study revision against one version of the table."""

    table_version: str
    outcomes: tuple[RouteOutcome, ...]
    passed_over: int = 0  # routes of a large table that the index rules out
    overridden: Mapping[str, str] = field(default_factory=dict)  # attributes that an order's metadata said

    @property
    def hits(self) -> tuple[RouteOutcome, ...]:
        """The routes that fired, in file order."""
        return tuple(outcome for outcome in self.outcomes if outcome.hit)

    @property
    def verdict(self) -> Literal["routed", "held"]:
        """`held` when no route but shadows fired or every one that fired holds."""
        live = any(outcome.hold is None and not outcome.shadow for outcome in self.hits)
        return "routed" if live else "held"


@dataclass(frozen=True, slots=True)
class Route:
    """A named rule of the table: match, process, deliver."""

    name: str
    position: str
    inbound: tuple[str, ...] | None = None  # None: whatever way in
    match: Predicate = ANYTHING
    select: Series | None = None
    transform: tuple[dict[str, Any], ...] = ()
    process: str | None = None
    deliver: tuple[Sending, ...] = ()
    schedule: tuple[DailyWindow, ...] = ()
    shadow: bool = False
    hold: str | None = None
    otherwise: bool = False


class RouteTable(Protocol):
    """What deciding needs of a table."""

    @property
    def version(self) -> str:
        """Names the table's content."""
        ...

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes in file order."""
        ...

    @property
    def index(self) -> RouteIndex:
        """Made once per table."""
        ...


class RouteIndex:
    """Which routes a study could fire, by the value that tells each route best from the others.

    Most routes demand a site, an AE title, a modality. Each stands under the one of its demands
    that the fewest routes share; a study is asked for those values, not for every route.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._any: list[int] = []
        self._by_value: dict[str, dict[str, list[int]]] = {}
        demanded = [_demands(route) for route in routes]
        shared = Counter(
            (name, value) for one in demanded for name, values in one.items() for value in values
        )
        for order, one in enumerate(demanded):
            if not one:
                self._any.append(order)
                continue
            best = min(one, key=lambda name: sum(shared[name, value] for value in one[name]))
            for value in one[best]:
                self._by_value.setdefault(best, {}).setdefault(value, []).append(order)

    def candidates(self, facts: StudyFacts) -> tuple[Route, ...]:
        """In file order; every route that is left out would have missed."""
        orders = set(self._any)
        for name, by_value in self._by_value.items():
            fact = facts.context.get(name)
            for value in facts.whole.values(name) if fact is None else (fact,):
                orders.update(by_value.get(value, ()))
        return tuple(self._routes[order] for order in sorted(orders))


def _demands(route: Route) -> dict[str, frozenset[str]]:
    found = demands(route.match)
    if route.inbound is not None:
        found["inbound"] = found.get("inbound", frozenset(route.inbound)) & frozenset(route.inbound)
    return found


def decide(study: Study, table: RouteTable) -> Decision:
    """Match a stable study revision against a table."""
    facts = StudyFacts(study)
    in_full = len(table.routes) <= EXPLAINED_IN_FULL
    candidates = table.routes if in_full else table.index.candidates(facts)
    return decide_among(facts, candidates, table)


def decide_in_full(study: Study, table: RouteTable) -> Decision:
    """`decide`, but every route tells its reason however many there are."""
    return decide_among(StudyFacts(study), table.routes, table)


def decide_among(facts: StudyFacts, candidates: Sequence[Route], table: RouteTable) -> Decision:
    """Ask each candidate; the table's other routes are counted as passed over."""
    ordinary = {id(route): _ask(route, facts) for route in candidates if not route.otherwise}
    fired = [outcome.route for outcome in ordinary.values() if outcome.hit and not outcome.shadow]
    outcomes = tuple(
        _ask_otherwise(route, facts, fired) if route.otherwise else ordinary[id(route)]
        for route in candidates
    )
    return Decision(table.version, outcomes, len(table.routes) - len(candidates))


def _ask_otherwise(route: Route, facts: StudyFacts, fired: Sequence[str]) -> RouteOutcome:
    if fired:
        return RouteOutcome(
            route.name, route.position, False, f"another route fired: {fired[0]}", shadow=route.shadow
        )
    return _ask(route, facts)


def _ask(route: Route, facts: StudyFacts) -> RouteOutcome:
    series: tuple[str, ...] = ()
    failed: Failed | None = None
    if route.inbound is not None and facts.study.inbound not in route.inbound:
        failed = Failed(route.position, f"from {', '.join(route.inbound)}", facts.study.inbound)
    else:
        miss = route.match.miss(facts, facts.whole)
        if miss is not None:
            failed = Failed(miss.position, miss.wanted_in_words, miss.found_in_words)
        elif route.process is not None:
            series = route.select.selected(facts) if route.select else tuple(facts.series)
            if not series and route.select:
                failed = Failed(route.select.position, f"{route.select} to process", "none")
    if failed:
        why = f"{failed.position}: wanted {failed.wanted}, found {failed.found}"
        return RouteOutcome(route.name, route.position, False, why, shadow=route.shadow, failed=failed)
    return RouteOutcome(
        route.name,
        route.position,
        True,
        _why_it_fired(route, facts, len(series)),
        shadow=route.shadow,
        process=route.process,
        series=series,
        transform=route.transform,
        deliver=route.deliver,
        schedule=tuple(map(str, route.schedule)),
        hold=route.hold,
    )


def _why_it_fired(route: Route, facts: StudyFacts, selected: int) -> str:
    why = "no other route fired" if route.otherwise else "holds"
    if route.match != ANYTHING:
        why = f"{why}: {route.match}"
    if route.select:
        why = f"{why}; {selected} of {len(facts.series)} series selected"
    if route.schedule:
        why = f"{why}; goes on {' or '.join(map(str, route.schedule))}"
    return why


def runs_of(hits: Sequence[RouteOutcome]) -> list[list[RouteOutcome]]:
    """The runs that routes cause: those that ask the same of a processor share one."""
    shared: dict[str, list[RouteOutcome]] = {}
    for hit in hits:
        if hit.process is not None:
            seen = for_copies_of(hit.transform, "processor")
            key = f"{hit.process}|{hit.shadow}|{sorted(hit.series)}|{seen}|{hit.schedule}"
            shared.setdefault(key, []).append(hit)
    return list(shared.values())


def forwards_of(
    hits: Sequence[RouteOutcome], carries_study: Callable[[str], bool]
) -> list[tuple[RouteOutcome, Sending]]:
    """Where the study itself goes: to each destination once, as the first live route that names it says."""
    first: dict[str, tuple[RouteOutcome, Sending]] = {}
    for hit in hits:
        for sending in hit.deliver:
            if not hit.shadow and carries_study(sending.to):
                first.setdefault(sending.to, (hit, sending))
    return list(first.values())


def with_overrides(decision: Decision, overrides: Mapping[str, str]) -> Decision:
    """The decision on a study whose orders have metadata: it and what it causes remember them."""
    if not overrides:
        return decision
    outcomes = tuple(replace(one, overrides=overrides) if one.hit else one for one in decision.outcomes)
    return replace(decision, outcomes=outcomes, overridden=overrides)


# ── as stored ───────────────────────────────────────────────────────────────────────────────────


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """A decision as plain data for the store; what is empty is left out."""
    data = {
        "table_version": decision.table_version,
        "passed_over": decision.passed_over,
        "outcomes": [outcome_to_json(outcome) for outcome in decision.outcomes],
    }
    return data | ({"overridden": dict(decision.overridden)} if decision.overridden else {})


def decision_from_json(data: Mapping[str, Any]) -> Decision:
    """The decision that `decision_to_json` wrote."""
    return Decision(
        table_version=data["table_version"],
        outcomes=tuple(outcome_from_json(outcome) for outcome in data["outcomes"]),
        passed_over=data.get("passed_over", 0),
        overridden=data.get("overridden", {}),
    )


def outcome_to_json(outcome: RouteOutcome) -> dict[str, Any]:
    """One outcome as plain data; what is empty is left out."""
    data = {
        field.name: value
        for field in fields(outcome)
        if (value := getattr(outcome, field.name)) not in (None, (), {}) and field.name != "deliver"
    }
    if not outcome.shadow:
        del data["shadow"]
    if outcome.failed is not None:
        data["failed"] = asdict(outcome.failed)
    for name in ("series", "transform", "schedule"):
        if name in data:
            data[name] = list(data[name])
    if outcome.deliver:
        data["deliver"] = [_sending_to_json(one) for one in outcome.deliver]
    return data


def outcome_from_json(data: Mapping[str, Any]) -> RouteOutcome:
    """The outcome that `outcome_to_json` wrote."""
    return RouteOutcome(
        route=data["route"],
        position=data["position"],
        hit=data["hit"],
        why=data["why"],
        shadow=data.get("shadow", False),
        process=data.get("process"),
        series=tuple(data.get("series", ())),
        transform=tuple(data.get("transform", ())),
        deliver=tuple(map(_sending_from_json, data.get("deliver", ()))),
        schedule=tuple(data.get("schedule", ())),
        hold=data.get("hold"),
        failed=Failed(**data["failed"]) if "failed" in data else None,
        overrides=data.get("overrides", {}),
    )


def _sending_to_json(sending: Sending) -> dict[str, Any]:
    data: dict[str, Any] = {"to": sending.to}
    if sending.after:
        data["after"] = list(sending.after)
    if sending.when:
        data["when"] = when_to_json(sending.when)
    if sending.transform:
        data["transform"] = list(sending.transform)
    return data


def _sending_from_json(data: Mapping[str, Any]) -> Sending:
    when = when_from_json(data.get("when", ()))
    if "when_status" in data:  # decisions of earlier releases knew nothing else
        when = (When(status=tuple(data["when_status"])),)
    return Sending(data["to"], tuple(data.get("after", ())), when, tuple(data.get("transform", ())))
