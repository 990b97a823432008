"""What a table is to its routes: the names their studies can come with, and which routes are sound.

Enters: a reading. Leaves: for each sound route the sites and ways in that its studies can be of; worked
out once for all checks that ask. A route with an error is left out: what it would take is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from engine.checks.narrowing import Names, narrowed
from engine.finding import Finding, Location, Mark, Severity
from engine.reading import Reading
from engine.route import Route

_ROUTE = re.compile(r"routes\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Standing:
    """One sound route, and where its studies can come from."""

    index: int
    route: Route
    sites: Names
    inbound: Names

    @property
    def location(self) -> Location:
        """Of the route."""
        return ("routes", self.index)


class Routes:
    """The sound routes of a reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.sites: Names = frozenset(reading.names("sites"))
        self.inbound: Names = frozenset(reading.names("inbound"))
        broken = {
            int(match[1])
            for finding in reading.findings
            if finding.severity == "error" and (match := _ROUTE.match(finding.path))
        }
        self.sound = tuple(
            self._standing(index, route)
            for index, route in sorted(reading.routes.items())
            if index not in broken
        )

    @cached_property
    def is_whole(self) -> bool:
        """Whether nothing in the table is wrong, so that what is missing from it is really missing."""
        return not any(finding.severity == "error" for finding in self._reading.findings)

    def live(self) -> Iterator[Standing]:
        """Routes that take a study from the `otherwise` routes when they fire."""
        return (one for one in self.sound if not one.route.shadow and not one.route.otherwise)

    def _standing(self, index: int, route: Route) -> Standing:
        inbound = self.inbound if route.inbound is None else self.inbound & frozenset(route.inbound)
        return Standing(
            index, route, narrowed(route.match, "site", self.sites), narrowed(route.match, "inbound", inbound)
        )


def tell(
    reading: Reading, location: Location, position: str, message: str, code: str, severity: Severity = "error"
) -> None:
    """Record a finding at the position of a predicate; without one, at the location."""
    if not position:
        mark = reading.document.value_at(location)
    else:
        file, line, column = position.rsplit(":", 2)
        mark = Mark(file, int(line), int(column))
    reading.findings.append(Finding.at(mark, location, message, severity, code))
