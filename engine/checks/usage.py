"""What a table declares and no route uses.

Enters: a reading and its routes. Leave: warnings. Nothing is said while the table has errors: what a broken
route would use is not known, and a name that is misspelt in a route is told there.
"""

from __future__ import annotations

from engine.checks.standing import Routes
from engine.reading import Reading

MAX_TOLD = 20  # of one kind; a table in the making would drown in the rest


def check_usage(reading: Reading, routes: Routes) -> None:
    """Every destination and processor is used, every site and way in leads somewhere."""
    if not routes.is_whole or not routes.sound:
        return
    sent = {sending.to for one in routes.sound for sending in one.route.deliver}
    _tell(
        reading,
        "outbound",
        [name for name in reading.outbound if name not in sent],
        _NO_ROUTE,
        "unused-destination",
    )
    run = {one.route.process for one in routes.sound}
    _tell(
        reading,
        "processors",
        [name for name in reading.processors if name not in run],
        _NO_RUN,
        "unused-processor",
    )
    listened = frozenset[str]().union(*(one.inbound for one in routes.sound if not one.route.shadow))
    _tell(
        reading,
        "inbound",
        [name for name in reading.inbound if name not in listened],
        _HELD,
        "unrouted-inbound",
    )
    taken = frozenset[str]().union(*(one.sites for one in routes.sound if not one.route.shadow))
    _tell(reading, "sites", [name for name in reading.sites if name not in taken], _HELD, "unrouted-site")
    if any(True for _ in routes.live()):
        ordinary = frozenset[str]().union(*(one.sites for one in routes.live()))
        left = [name for name in reading.sites if name in taken and name not in ordinary]
        _tell(reading, "sites", left, _OTHERWISE, "unrouted-site")


_NO_ROUTE = "no route delivers to it; name it under `deliver` or remove it"
_NO_RUN = "no route processes with it; name it under `process` or remove it"
_HELD = "no route takes what comes from it, so every study is held"
_OTHERWISE = "only `otherwise` takes what comes from it; give it a route"


def _tell(reading: Reading, section: str, names: list[str], message: str, code: str) -> None:
    for name in names[:MAX_TOLD]:
        reading.warn_of_key((section, name), message, code)
    if len(names) > MAX_TOLD:
        more = f"{len(names) - MAX_TOLD} more: {message}"
        reading.warn((section,), more, code)
