"""Where a route sends: destinations that are there, in an order that ends, and never across sites.

Enters: one route of a reading. Leave: findings about the entries of its `deliver:`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.checks.names import is_known
from engine.checks.narrowing import Names, narrowed
from engine.finding import Location, did_you_mean, shown
from engine.reading import Reading
from engine.route import Route
from engine.table import Declared


def check_deliver(reading: Reading, location: Location, route: Route, all_sites: Names) -> None:
    """Every destination is there, takes what it is sent, and is waited for by none that it waits for."""
    names = [sending.to for sending in route.deliver]
    found = narrowed(route.match, "site", all_sites)
    sites = None if found is all_sites else found
    for index, sending in enumerate(route.deliver):
        here = (*location, "deliver", index)
        if not is_known(reading, "outbound", sending.to, (*here, "to")):
            continue
        if names.index(sending.to) < index:
            message = f"{sending.to} is there already; a destination gets a result once"
            reading.complain(here, message, "duplicate-destination")
        for place, name in enumerate(sending.after):
            if name not in names:
                hint = did_you_mean(name, names)
                message = f"{shown(name)} is not among the destinations of this route{hint}"
                reading.complain((*here, "after", place), message, "bad-after")
        declared = reading.outbound.get(sending.to)
        if declared is not None:
            _check_destination(reading, here, route, declared, bool(sending.when))
            _check_crossing(reading, here, declared.settings.site, sending.to, sites)
    cycle = _cycle({sending.to: sending.after for sending in route.deliver})
    if cycle:
        message = f"{' waits for '.join(cycle)}, so none would ever be sent"
        reading.complain((*location, "deliver"), message, "waits-in-a-ring")


def _check_destination(
    reading: Reading, location: Location, route: Route, declared: Declared[Any], when: bool
) -> None:
    carries = declared.type.carries
    if carries == "result" and route.process is None:
        message = f"{declared.name} ({declared.type.name}) carries results, but the route has no process"
        reading.complain((*location, "to"), message, "no-result")
    if carries == "study" and when:
        message = f"{declared.name} ({declared.type.name}) carries studies, which have no status"
        reading.complain((*location, "when"), message, "no-status")


def _check_crossing(
    reading: Reading, location: Location, theirs: str, name: str, sites: frozenset[str] | None
) -> None:
    """A result never goes to a destination of another site."""
    if sites is not None and not sites:
        return  # no study is of two sites at once, and that is told already
    if sites is not None and theirs not in sites:
        reading.complain(
            (*location, "to"),
            f"{name} belongs to site {theirs}, but the route takes studies of {', '.join(sorted(sites))}; "
            "nothing is ever delivered across sites",
            "across-sites",
        )
    elif (sites is None and len(reading.sites) > 1) or (sites is not None and len(sites) > 1):
        reading.warn(
            (*location, "to"),
            f"{name} belongs to site {theirs}, and what the route takes from other sites is not sent there; "
            f"match site: {theirs}",
            "other-sites-left-out",
        )


def _cycle(waits: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A ring of destinations that wait for each other, or nothing."""
    done: set[str] = set()

    def follow(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done or name not in waits:
            return []
        for other in waits[name]:
            found = follow(other, [*trail, name])
            if found:
                return found
        done.add(name)
        return []

    return next((ring for name in waits if (ring := follow(name, []))), [])
