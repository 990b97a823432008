"""A route does something that can be done, under a name of its own.

Enters: a reading. Leave: findings about one route each. What a route asks of a study is looked at in
`engine.checks.reach`, where its results go in `engine.checks.deliver`.
"""

from __future__ import annotations

from engine.checks.deliver import check_deliver
from engine.checks.names import is_known
from engine.checks.narrowing import Names
from engine.checks.transforms import check_transforms
from engine.finding import Location, shown
from engine.reading import Reading
from engine.route import ANYTHING, Route


def check_order(reading: Reading) -> None:
    """Names are unique, and what is otherwise comes last."""
    seen: dict[str, str] = {}
    last_otherwise = ""
    for index, route in sorted(reading.routes.items()):
        if route.name in seen:
            message = f"route {shown(route.name)} is there already at {seen[route.name]}; rename one"
            reading.complain(("routes", index, "name"), message, "duplicate-name")
        seen.setdefault(route.name, route.position)
        if route.otherwise:
            last_otherwise = route.name
        elif last_otherwise:
            message = f"comes after the otherwise route {shown(last_otherwise)}; move it before that"
            reading.complain(("routes", index), message, "after-otherwise")


def check_route(reading: Reading, location: Location, route: Route, all_sites: Names) -> None:
    """One route does something, with names that there are."""
    if route.match == ANYTHING and route.inbound is None and not route.otherwise:
        message = "takes every study there is; give it match, from, or otherwise: true"
        reading.complain(location, message, "takes-everything")
    if route.process is None and not route.deliver and route.hold is None:
        reading.complain(location, "does nothing; give it process, deliver or hold", "does-nothing")
    if route.hold is not None and (route.process is not None or route.deliver):
        message = "a route that holds neither processes nor delivers; split it in two"
        reading.complain((*location, "hold"), message, "holds-and-acts")
    if route.process is not None:
        is_known(reading, "processors", route.process, (*location, "process"))
        if not route.deliver and not route.shadow:
            message = "its results go nowhere; give the route deliver"
            reading.warn((*location, "process"), message, "result-unused")
    elif route.select is not None:
        message = "selects series for a processor, but there is no process"
        reading.complain_of_key((*location, "select"), message, "select-unused")
    if route.schedule and route.process is None and not route.deliver:
        message = "nothing of this route starts later than it is decided; leave the schedule out"
        reading.complain_of_key((*location, "schedule"), message, "schedule-unused")
    for index, name in enumerate(route.inbound or ()):
        is_known(reading, "inbound", name, (*location, "from", index))
    check_transforms(reading, location, route)
    check_deliver(reading, location, route, all_sites)
