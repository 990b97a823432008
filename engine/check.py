"""What is wrong with a table beyond its grammar: names, sites, ports, order, and this machine.

Enters: a reading, each block of which has validated by itself. Leave: more findings in it. The rule
is that whatever a start of the engine would refuse is found here, with its line and column.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.channel import InboundContext, OutboundContext, ProcessorContext
from engine.directory import Directory, networks_of, parse_address
from engine.finding import Location, did_you_mean, shown
from engine.model import Site
from engine.predicate import demands
from engine.reading import Reading
from engine.route import ANYTHING, Route
from engine.settings import Secret, Settings
from engine.table import Declared
from engine.transform_check import complaints_of_step
from engine.tunnel_check import check_register, check_tunnels

_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # recognised here, never bound


def check(reading: Reading, *, surroundings: bool = True) -> None:
    """Add every finding about how the parts fit together, and how they fit this machine."""
    if not reading.document.data:
        return
    _check_sites(reading)
    _check_listeners(reading)
    _check_mounted(reading)
    _check_reports(reading)
    for name, declared in reading.outbound.items():
        if _check_known(reading, "sites", declared.settings.site, ("outbound", name, "site"), "site"):
            _check_commitment(reading, name, declared.settings)
    check_tunnels(reading)
    _check_route_order(reading)
    for index, route in reading.routes.items():
        _check_route(reading, ("routes", index), route)
    if surroundings:
        _check_surroundings(reading)
        check_register(reading)


def _check_known(reading: Reading, section: str, name: str, location: Location, word: str) -> bool:
    known = reading.names(section)
    if name in known:
        return True
    hint = did_you_mean(name, known) if known else f"; the table declares none under {section}"
    reading.complain(location, f"no {word} {shown(name)}{hint}")
    return False


# ── sites ───────────────────────────────────────────────────────────────────────────────────────


def _check_sites(reading: Reading) -> None:
    """No two sites may be mistaken for each other."""
    sites = list(reading.sites.values())
    for one, other in _overlapping(sites):
        titles = sorted(set(one.ae_titles) & set(other.ae_titles))
        location: Location = ("sites", other.key)
        if titles:
            reading.complain_of_key(
                location,
                f"shares address and AE title {titles[0]} with site {one.key}; a study could not be "
                "told to be from either: give each its own address or AE title",
            )
        else:
            reading.warn(
                location,
                f"shares an address with site {one.key}; only a calling AE title tells them apart, "
                "so HTTP from there is refused",
            )
    for site in sites:
        if any(network.prefixlen == 0 for network in networks_of(site)):
            reading.warn(("sites", site.key, "addresses"), "takes in every address there is")


def _overlapping(sites: list[Site]) -> Iterator[tuple[Site, Site]]:
    """Pairs of sites that share an address; quick for thousands of sites with single addresses."""
    ranges = sorted(
        (network.version, int(network.network_address), int(network.broadcast_address), position)
        for position, site in enumerate(sites)
        for network in networks_of(site)
    )
    seen: set[tuple[int, int]] = set()
    open_ranges: list[tuple[int, int, int]] = []  # version, last address, site
    for version, first, last, position in ranges:
        open_ranges = [one for one in open_ranges if one[0] == version and one[1] >= first]
        for _, _, other in open_ranges:
            pair = (min(other, position), max(other, position))
            if other != position and pair not in seen:
                seen.add(pair)
                yield sites[pair[0]], sites[pair[1]]
        open_ranges.append((version, last, position))


# ── listeners ───────────────────────────────────────────────────────────────────────────────────


def _check_listeners(reading: Reading) -> None:
    listeners: list[tuple[str, str, Location, str]] = []
    host, _, port = reading.engine.http.rpartition(":")
    listeners.append((host, port, ("engine", "http"), "engine.http"))
    for name, declared in reading.inbound.items():
        listen = getattr(declared.settings, "listen", None)
        if isinstance(listen, str) and ":" in listen:
            host, _, port = listen.rpartition(":")
            listeners.append((host, port, ("inbound", name, "listen"), f"inbound.{name}"))
    for host, _, location, _ in listeners:
        if host.strip("[]") in _EVERYWHERE:
            reading.warn(
                location,
                "listens on every address of this machine; name the tunnel's address or a loopback one",
            )
    for (host, port, _, holder), (other, same, location, _) in itertools.combinations(listeners, 2):
        if port == same and port != "0" and _collide(host.strip("[]"), other.strip("[]")):
            reading.complain(location, f"port {port} is taken by {holder}; choose another one")


def _check_mounted(reading: Reading) -> None:
    """Of two services under one path, the second would never be asked."""
    holders: dict[str, str] = {}
    for name, declared in reading.inbound.items():
        path = getattr(declared.settings, "path", None)
        if not isinstance(path, str):
            continue
        if path in holders:
            reading.complain(
                ("inbound", name, "path"), f"{path} is taken by inbound.{holders[path]}; choose another one"
            )
        holders.setdefault(path, name)


def _check_reports(reading: Reading) -> None:
    """Who is called back with storage commitment reports is known, and each only once."""
    for name, declared in reading.inbound.items():
        seen: set[tuple[str, str]] = set()
        report_to = getattr(getattr(declared.settings, "commitment", None), "report_to", ())
        for index, to in enumerate(report_to):
            here: Location = ("inbound", name, "commitment", "report_to", index)
            if not _check_known(reading, "sites", to.site, (*here, "site"), "site"):
                continue
            site = reading.sites.get(to.site)
            if site is not None and to.ae_title not in site.ae_titles:
                hint = did_you_mean(to.ae_title, site.ae_titles)
                message = f"site {to.site} has no AE title {shown(to.ae_title)}{hint}"
                reading.complain((*here, "ae_title"), message)
            elif (to.site, to.ae_title) in seen:
                message = f"{to.ae_title} of {to.site} is there already; it can be called at one address only"
                reading.complain((*here, "ae_title"), message)
            seen.add((to.site, to.ae_title))


def _collide(one: str, other: str) -> bool:
    if one in _EVERYWHERE or other in _EVERYWHERE:
        return True
    first, second = parse_address(one), parse_address(other)
    return one == other or (first is not None and first == second)


def _check_commitment(reading: Reading, name: str, settings: Any) -> None:
    """A peer's report on an association of its own (PS3.4 J.3.3) must find a listener that takes it."""
    if not getattr(settings, "storage_commitment", False):
        return
    site = reading.sites.get(settings.site)
    listeners = [one.settings for one in reading.inbound.values() if one.type.name == "c_store"]
    ours = {getattr(one, "ae_title", None) for one in listeners}
    if not listeners:
        missing = "no c_store listener takes it: declare one under inbound"
    elif settings.calling_ae_title not in ours:
        missing = f"no c_store listener has the AE title {settings.calling_ae_title} that it is asked from"
    elif site is not None and settings.ae_title not in site.ae_titles:
        missing = f"{settings.ae_title} is not among the ae_titles of site {site.key}, so it is turned away"
    else:
        return
    reading.warn(
        ("outbound", name, "storage_commitment"),
        f"where the peer reports on an association of its own, {missing}; only a report on the association "
        "that asked would be heard",
    )


# ── routes ──────────────────────────────────────────────────────────────────────────────────────


def _check_route_order(reading: Reading) -> None:
    """Names are unique, and what is otherwise comes last."""
    seen: dict[str, str] = {}
    last_otherwise = ""
    for index, route in sorted(reading.routes.items()):
        if route.name in seen:
            message = f"route {shown(route.name)} is there already at {seen[route.name]}; rename one"
            reading.complain(("routes", index, "name"), message)
        seen.setdefault(route.name, route.position)
        if route.otherwise:
            last_otherwise = route.name
        elif last_otherwise:
            message = f"comes after the otherwise route {shown(last_otherwise)}; move it before that"
            reading.complain(("routes", index), message)


def _check_route(reading: Reading, location: Location, route: Route) -> None:
    if route.match == ANYTHING and route.inbound is None and not route.otherwise:
        reading.complain(location, "takes every study there is; give it match, from, or otherwise: true")
    if demands(route.match).get("site") == frozenset():
        reading.complain((*location, "match"), "asks for two sites at once, so it never holds")
    if route.process is None and not route.deliver and route.hold is None:
        reading.complain(location, "does nothing; give it process, deliver or hold")
    if route.hold is not None and (route.process is not None or route.deliver):
        reading.complain(
            (*location, "hold"), "a route that holds neither processes nor delivers; split it in two"
        )
    if route.process is not None:
        _check_known(reading, "processors", route.process, (*location, "process"), "processor")
        if not route.deliver and not route.shadow:
            reading.warn((*location, "process"), "its results go nowhere; give the route deliver")
    elif route.select is not None:
        reading.complain_of_key(
            (*location, "select"), "selects series for a processor, but there is no process"
        )
    for index, name in enumerate(route.inbound or ()):
        _check_known(reading, "inbound", name, (*location, "from", index), "inbound channel")
    for index, step in enumerate(route.transform):
        for inner, message in complaints_of_step(step):
            reading.complain((*location, "transform", index, *inner), message)
    if route.transform and route.process is None and not route.deliver:
        reading.complain((*location, "transform"), "nothing goes onward that it could edit")
    _check_deliver(reading, location, route)


def _check_deliver(reading: Reading, location: Location, route: Route) -> None:
    names = [sending.to for sending in route.deliver]
    sites = demands(route.match).get("site")
    for index, sending in enumerate(route.deliver):
        here = (*location, "deliver", index)
        if not _check_known(reading, "outbound", sending.to, (*here, "to"), "destination"):
            continue
        if names.index(sending.to) < index:
            reading.complain(here, f"{sending.to} is there already; a destination gets a result once")
        for place, name in enumerate(sending.after):
            if name not in names:
                hint = did_you_mean(name, names)
                message = f"{shown(name)} is not among the destinations of this route{hint}"
                reading.complain((*here, "after", place), message)
        declared = reading.outbound.get(sending.to)
        if declared is not None:
            _check_destination(reading, here, route, declared, bool(sending.when_status))
            _check_crossing(reading, here, declared.settings.site, sending.to, sites)
    cycle = _cycle({sending.to: sending.after for sending in route.deliver})
    if cycle:
        reading.complain((*location, "deliver"), f"{' waits for '.join(cycle)}, so none would ever be sent")


def _check_destination(
    reading: Reading, location: Location, route: Route, declared: Declared[Any], when: bool
) -> None:
    carries = declared.type.carries
    if carries == "result" and route.process is None:
        message = f"{declared.name} ({declared.type.name}) carries results, but the route has no process"
        reading.complain((*location, "to"), message)
    if carries == "study" and when:
        message = f"{declared.name} ({declared.type.name}) carries studies, which have no status"
        reading.complain((*location, "when"), message)


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
        )
    elif (sites is None and len(reading.sites) > 1) or (sites is not None and len(sites) > 1):
        reading.warn(
            (*location, "to"),
            f"{name} belongs to site {theirs}, and what the route takes from other sites is not sent there; "
            f"match site: {theirs}",
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


# ── this machine ────────────────────────────────────────────────────────────────────────────────


def _check_surroundings(reading: Reading) -> None:
    """Secrets, files and commands are there, and every declared part can be built."""
    directory = Directory(reading.sites)
    for name, inbound in reading.inbound.items():
        lent = InboundContext(name, directory, reading.engine.max_instance)
        _try_to_build(reading, ("inbound", name), inbound, lent)
    for name, processor in reading.processors.items():
        _try_to_build(reading, ("processors", name), processor, ProcessorContext(name, reading.document.base))
    for name, outbound in reading.outbound.items():
        site = reading.sites.get(outbound.settings.site)
        if site is not None:
            context = OutboundContext(name, site, reading.engine.ae_title)
            _try_to_build(reading, ("outbound", name), outbound, context)


def _try_to_build(reading: Reading, location: Location, declared: Declared[Any], context: object) -> None:
    """A dry run of the start: what a part cannot be built from is a finding."""
    before = len(reading.findings)
    for inner, message in missing_of(declared.settings, reading.document.base):
        reading.complain((*location, *inner), message)
    if len(reading.findings) > before:
        return
    try:
        declared.type.build(declared.settings, context)
    except Exception as error:  # a part may refuse its settings in any way; the operator gets one line
        cause = (str(error) or type(error).__name__).splitlines()[0]
        reading.complain(location, f"cannot be built: {cause}")


def missing_of(settings: Settings, base: Path) -> Iterator[tuple[Location, str]]:
    """What settings name that this machine does not have: secrets, files, commands."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for inner, message in _missing(value):
            yield (name, *inner), message
        if name == "command" and isinstance(value, tuple | list) and value:
            program = str(value[0])
            found = shutil.which(str(base / program) if "/" in program else program)
            if found is None:
                yield (name, 0), f"no program {shown(program)} on this machine; install it or give its path"


def _missing(value: Any) -> Iterator[tuple[Location, str]]:
    if isinstance(value, Secret):
        try:
            value.reveal()
        except LookupError as error:
            remedy = (
                "set it where the engine runs"
                if value.env is not None
                else "create it, readable for the engine"
            )
            yield ("env" if value.env is not None else "file",), f"{error}; {remedy}"
        except ValueError:
            yield ("file",), f"secret file {value.file} is not text"
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            for inner, message in _missing(getattr(value, name)):
                yield (name, *inner), message
    elif isinstance(value, Path):
        if not value.exists():
            yield (), f"no file {shown(value.name)} in {value.parent}"
    elif isinstance(value, tuple | list):
        for index, one in enumerate(value):
            for inner, message in _missing(one):
                yield (index, *inner), message
