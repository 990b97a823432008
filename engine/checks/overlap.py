"""Routes that leave nothing for others: the same route twice, an `otherwise` that is never reached.

Enters: a reading and its sound routes. Leave: warnings; every matching route fires, so none of this keeps
the engine from running as written.
"""

from __future__ import annotations

from collections.abc import Hashable

from engine.checks.narrowing import Names, asks_only_facts
from engine.checks.standing import Routes
from engine.finding import shown
from engine.reading import Reading
from engine.route import Route

_PLACES: Names = frozenset({"site", "inbound"})


def check_overlap(reading: Reading, routes: Routes) -> None:
    """No route does what another does already, and what is otherwise has something left."""
    _check_identical(reading, routes)
    _check_otherwise(reading, routes)


def _check_identical(reading: Reading, routes: Routes) -> None:
    seen: dict[Hashable, Route] = {}
    for one in routes.sound:
        first = seen.setdefault(_essence(one.route), one.route)
        if first is not one.route:
            message = f"does the same as route {shown(first.name)} at {first.position}; remove one of them"
            reading.warn(one.location, message, "identical-route")


def _essence(route: Route) -> Hashable:
    """All of a route but its name and the places where it is written."""
    return (
        route.inbound and frozenset(route.inbound),
        str(route.match),
        str(route.select),
        repr(route.transform),
        route.process,
        repr(route.deliver),
        route.shadow,
        route.hold,
        route.otherwise,
    )


def _check_otherwise(reading: Reading, routes: Routes) -> None:
    last = [one for one in routes.sound if one.route.otherwise]
    if not last or not routes.inbound or not routes.is_whole:
        return
    taken: dict[str, set[str]] = {name: set() for name in routes.inbound}
    takers: dict[str, None] = {}
    for one in routes.live():
        if one.route.select is None and asks_only_facts(one.route.match, _PLACES):
            takers[one.route.name] = None
            for name in one.inbound:
                taken[name] |= one.sites
    for one in last:
        if one.inbound and one.sites and all(taken[name] >= one.sites for name in one.inbound):
            names = ", ".join(map(shown, list(takers)[:3])) + (" and others" if len(takers) > 3 else "")
            message = f"never fires: {names} take{'s' if len(takers) == 1 else ''} every study that it could"
            reading.warn(one.location, message, "shadowed-otherwise")
