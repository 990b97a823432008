"""What is wrong with a table beyond its grammar: names, sites, ports, order, and this machine.

Enters: a reading, each block of which has validated by itself. Leave: more findings in it. The rule
is that whatever a start of the engine would refuse is found here, with its line and column.
"""

from __future__ import annotations

from engine.checks.commitment import check_commitment, check_reports
from engine.checks.destinations import check_destinations
from engine.checks.limits import check_limits
from engine.checks.listeners import check_listeners, check_mounted
from engine.checks.literals import check_literals
from engine.checks.machine import check_machine
from engine.checks.names import is_known
from engine.checks.oauth import check_oauth, check_oauth_keys
from engine.checks.overlap import check_overlap
from engine.checks.patterns import check_patterns
from engine.checks.people import check_people
from engine.checks.reach import check_reach
from engine.checks.routes import check_order, check_route
from engine.checks.sites import check_sites
from engine.checks.standing import Routes
from engine.checks.surroundings import check_surroundings
from engine.checks.transforms import check_first_counts, check_transform_secrets
from engine.checks.usage import check_usage
from engine.checks.workers import check_cores, check_workers
from engine.reading import Reading
from engine.tunnel_check import check_register, check_tunnels


def check(reading: Reading, *, surroundings: bool = True) -> None:
    """Add every finding about how the parts fit together, and how they fit this machine."""
    if not reading.document.data:
        return
    check_sites(reading)
    check_listeners(reading)
    check_mounted(reading)
    check_limits(reading)
    check_workers(reading)
    check_reports(reading)
    for name, declared in reading.outbound.items():
        if is_known(reading, "sites", declared.settings.site, ("outbound", name, "site")):
            check_commitment(reading, name, declared.settings)
    check_destinations(reading)
    check_tunnels(reading)
    check_oauth(reading)
    check_order(reading)
    sites = frozenset(reading.names("sites"))
    for index, route in reading.routes.items():
        check_route(reading, ("routes", index), route, sites)
    check_first_counts(reading)
    routes = Routes(reading)
    check_reach(reading, routes)
    check_patterns(reading, routes)
    check_overlap(reading, routes)
    check_usage(reading, routes)
    check_literals(reading)
    if surroundings:
        check_machine(reading)
        check_cores(reading)
        check_surroundings(reading)
        check_oauth_keys(reading)
        check_people(reading)
        check_transform_secrets(reading)
        check_register(reading)
