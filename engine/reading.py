"""From a document to the parts of a table, section by section, collecting what is wrong.

A part that cannot be read is left out and the next one is read all the same, so that an operator
sees every finding at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.catalog import Catalog
from engine.channel import InboundType, OutboundType, ProcessorType
from engine.defaults import apply_defaults
from engine.document import MAPPINGS, SEQUENCES, Document
from engine.errors import ConfigurationError
from engine.finding import Finding, Location, did_you_mean, explain_errors, shown
from engine.grammar import MatchReader
from engine.model import Issuer, Site
from engine.oauth_section import OAuthSettings
from engine.orders_section import OrdersSettings
from engine.people_section import PeopleSettings
from engine.predicate import AnyOf, Predicate
from engine.route import ANYTHING, Route, Sending
from engine.route_sections import RouteSettings
from engine.sections import (
    NAME,
    Assembly,
    EngineSettings,
    Retention,
    SiteSettings,
    TableSettings,
    TestSettings,
    TunnelSettings,
)
from engine.settings import Settings
from engine.table import Declared
from engine.transform.map_file import with_entries
from engine.transform.settings import TransformSettings, as_step
from engine.when_grammar import WhenReader

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T", InboundType, OutboundType, ProcessorType)

_ALONE = ("engine", "defaults", "assembly", "retention", "tunnel", "orders", "oauth", "people")

UNREADABLE = AnyOf("", ())
"""Stands for a `match:` with errors: nothing further is known of what it takes."""


@dataclass
class Reading:
    """What could be read of a table; routes and tests by their place in the file."""

    document: Document
    findings: list[Finding]
    engine: EngineSettings = field(default_factory=EngineSettings)
    assembly: Assembly = field(default_factory=Assembly)
    retention: Retention = field(default_factory=Retention)
    tunnel: TunnelSettings | None = None
    orders: OrdersSettings = field(default_factory=OrdersSettings)
    oauth: OAuthSettings = field(default_factory=OAuthSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    sites: dict[str, Site] = field(default_factory=dict)
    inbound: dict[str, Declared[InboundType]] = field(default_factory=dict)
    processors: dict[str, Declared[ProcessorType]] = field(default_factory=dict)
    outbound: dict[str, Declared[OutboundType]] = field(default_factory=dict)
    routes: dict[int, Route] = field(default_factory=dict)
    tests: dict[int, TestSettings] = field(default_factory=dict)

    def complain(self, location: Location, message: str, code: str = "") -> None:
        """Record an error about the value at a location; its code is of `engine.finding_code`."""
        self.findings.append(Finding.at(self.document.value_at(location), location, message, code=code))

    def complain_of_key(self, location: Location, message: str, code: str = "") -> None:
        """Record an error about the key at a location."""
        self.findings.append(Finding.at(self.document.key_at(location), location, message, code=code))

    def warn(self, location: Location, message: str, code: str = "") -> None:
        """Record something that works but is probably not meant."""
        mark = self.document.value_at(location)
        self.findings.append(Finding.at(mark, location, message, "warning", code))

    def warn_of_key(self, location: Location, message: str, code: str = "") -> None:
        """The same about the key at a location."""
        mark = self.document.key_at(location)
        self.findings.append(Finding.at(mark, location, message, "warning", code))

    def names(self, section: str) -> tuple[str, ...]:
        """The names declared in a section, whether or not their blocks could be read."""
        return tuple(_mapping(self.document.data.get(section)))

    def block(self, model: type[M], data: Any, location: Location) -> M | None:
        """Validate one block; its errors are recorded, and unknown keys alone do not spoil the rest."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            document = self.document
            self.findings.extend(explain_errors(error, model, location, document.value_at, document.key_at))
            unknown = {one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"}
        if not unknown:
            return None
        try:
            return model.model_validate(_without(data, unknown))
        except ValidationError:
            return None


def _without(data: Any, unknown: Collection[Location], location: Location = ()) -> Any:
    """A copy of a block without the keys at some locations."""
    if isinstance(data, dict):
        kept = [key for key in data if (*location, key) not in unknown]
        return {key: _without(data[key], unknown, (*location, key)) for key in kept}
    if isinstance(data, list):
        return [_without(one, unknown, (*location, index)) for index, one in enumerate(data)]
    return data


def read_sections(document: Document, catalog: Catalog) -> Reading:
    """Read every section of a document."""
    reading = Reading(document, list(document.findings))
    data = document.data
    if not data:
        return reading
    _read_outline(reading, data)
    apply_defaults(reading, catalog)
    base = document.base
    _read_engine(reading)
    assembly = reading.block(Assembly, _mapping(data.get("assembly")), ("assembly",))
    reading.assembly = assembly or reading.assembly
    retention = reading.block(Retention, _mapping(data.get("retention")), ("retention",))
    reading.retention = retention or reading.retention
    if "tunnel" in data:
        tunnel = reading.block(TunnelSettings, _mapping(data["tunnel"]), ("tunnel",))
        reading.tunnel = tunnel.model_copy(update={"folder": base / tunnel.folder}) if tunnel else None
    orders = reading.block(OrdersSettings, _mapping(data.get("orders")), ("orders",))
    reading.orders = orders or reading.orders
    oauth = reading.block(OAuthSettings, _mapping(data.get("oauth")), ("oauth",))
    reading.oauth = anchored(oauth, base) if oauth else reading.oauth
    people = reading.block(PeopleSettings, _mapping(data.get("people")), ("people",))
    reading.people = anchored(people, base) if people else reading.people
    for name, block in _named(reading, "sites"):
        settings = reading.block(SiteSettings, block, ("sites", name))
        if settings is not None:
            reading.sites[name] = _site(name, settings, reading.tunnel)
    reading.inbound = dict(_declared(reading, "inbound", catalog.inbound))
    reading.processors = dict(_declared(reading, "processors", catalog.processor))
    reading.outbound = dict(_declared(reading, "outbound", catalog.outbound))
    for index, block in enumerate(_list(data.get("routes"))):
        route = _route(reading, block, ("routes", index))
        if route is not None:
            reading.routes[index] = route
    for index, block in enumerate(_list(data.get("tests"))):
        test = reading.block(TestSettings, block, ("tests", index))
        if test is not None:
            reading.tests[index] = test
    return reading


def read_engine(document: Document) -> Reading:
    """Read `engine:` alone; findings are about it, or there is nothing to read it from."""
    reading = Reading(document, [] if document.data else list(document.findings))
    _read_engine(reading)
    return reading


def _read_engine(reading: Reading) -> None:
    document = reading.document
    engine = reading.block(EngineSettings, _mapping(document.data.get("engine")), ("engine",))
    if engine is not None:
        reading.engine = engine.model_copy(update={"data": document.base / engine.data})


def _read_outline(reading: Reading, data: dict[str, Any]) -> None:
    """Known sections, each of its kind, and the version of the grammar."""
    known = TableSettings.model_fields
    for section, value in data.items():
        if section not in known:
            message = f"unknown section {shown(section)}{did_you_mean(section, known)}"
            reading.complain_of_key((section,), message, "unknown-section")
        elif section in SEQUENCES and value is not None and not isinstance(value, list):
            reading.complain((section,), "must be a list", "wrong-kind")
        elif section in (*_ALONE, *MAPPINGS) and value is not None and not isinstance(value, dict):
            reading.complain((section,), "must be a mapping", "wrong-kind")
    if "version" not in data:
        reading.complain((), "missing key 'version'; this grammar is version: 1", "bad-version")
    elif data["version"] != 1 or isinstance(data["version"], bool):
        reading.complain(("version",), "this engine reads version 1", "bad-version")


def _named(reading: Reading, section: str) -> Iterator[tuple[str, Any]]:
    for name, block in _mapping(reading.document.data.get(section)).items():
        if not re.match(NAME, name):
            message = f"{shown(name)} is no name: up to 64 lower-case letters, digits, - and _"
            reading.complain_of_key((section, name), message, "bad-name")
        yield name, block


def _site(name: str, settings: SiteSettings, hub: TunnelSettings | None) -> Site:
    issuer = settings.issuer_of_patient_id
    tunnel: tuple[str, ...] = (settings.tunnel,) if settings.tunnel else ()
    address = ip_address(settings.tunnel) if settings.tunnel else None
    if hub is not None and isinstance(address, IPv4Address) and address in hub.block.ipv4:
        tunnel += (str(hub.block.ipv6_of(address)),)
    return Site(
        key=name,
        name=settings.name or name,
        timezone=settings.timezone,
        ae_titles=settings.ae_titles,
        addresses=(*tunnel, *settings.addresses),
        issuer_of_patient_id=Issuer(namespace=issuer.namespace, oid=issuer.oid) if issuer else Issuer(),
        tunnel=settings.tunnel or "",
        forwards=tuple(settings.forwards.items()),
    )


def _declared(reading: Reading, section: str, load: Callable[[str], T]) -> Iterator[tuple[str, Declared[T]]]:
    """The entries of a section whose type is installed and whose settings hold."""
    for name, block in _named(reading, section):
        location: Location = (section, name)
        if not isinstance(block, dict):
            reading.complain(location, "must be a mapping that starts with its type", "wrong-kind")
            continue
        if not isinstance(block.get("type"), str):
            where = (*location, "type") if "type" in block else location
            if "type" in block:
                reading.complain(where, "must be a name", "wrong-kind")
            else:
                reading.complain(where, "missing key 'type'", "missing-key")
            continue
        try:
            installed = load(block["type"])
        except ConfigurationError as error:
            reading.complain((*location, "type"), str(error), "unknown-type")
            continue
        own = {key: value for key, value in block.items() if key != "type"}
        settings = reading.block(installed.settings, own, location)
        if settings is not None:
            position = str(reading.document.key_at(location))
            settings = anchored(settings, reading.document.base)
            yield name, Declared(name, installed, settings, position)


def anchored(value: Any, base: Path) -> Any:
    """Settings with every relative path in them made to start at the table's folder."""
    if isinstance(value, Path):
        return base / value
    if isinstance(value, Settings):
        changed = {}
        for name in type(value).model_fields:
            before = getattr(value, name)
            after = anchored(before, base)
            if after is not before:
                changed[name] = after
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple | list):
        items = [anchored(one, base) for one in value]
        return type(value)(items) if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        entries = {key: anchored(one, base) for key, one in value.items()}
        return entries if any(entries[key] is not value[key] for key in value) else value
    return value


def _route(reading: Reading, block: Any, location: Location) -> Route | None:
    settings = reading.block(RouteSettings, block, location)
    data = _mapping(block)
    before = len(reading.findings)
    written = reading.document.data
    known = {"site": _mapping(written.get("sites")), "inbound": _mapping(written.get("inbound"))}
    reader = MatchReader(
        reading.document.key_at, reading.complain, reading.complain_of_key, known, reading.warn_of_key
    )
    # A written `match:` is read even when it is empty or null: that is a mistake to speak of.
    match: Predicate = ANYTHING
    if "match" in data:
        match = reader.match(data["match"], (*location, "match"))
    if data.get("match") == {}:
        reading.complain((*location, "match"), "is empty; leave it out to take everything that comes")
    select = reader.select(data["select"], (*location, "select")) if "select" in data else None
    when = WhenReader(reader, reading.block)
    whens = [
        when.when(one["when"], (*location, "deliver", index, "when")) if one.get("when") is not None else ()
        for index, one in enumerate(map(_mapping, _list(data.get("deliver"))))
    ]
    if settings is None:
        return None
    if len(reading.findings) > before and match == ANYTHING:
        match = UNREADABLE
    return Route(
        name=settings.name,
        position=str(reading.document.value_at(location)),
        inbound=settings.from_,
        match=match,
        select=select,
        transform=_steps(reading, settings.transform, (*location, "transform")),
        process=settings.process,
        deliver=tuple(
            Sending(
                one.to,
                one.after,
                whens[index] if index < len(whens) else (),
                _steps(reading, one.transform, (*location, "deliver", index, "transform")),
            )
            for index, one in enumerate(settings.deliver)
        ),
        schedule=settings.schedule,
        shadow=settings.mode == "shadow",
        hold=settings.hold,
        otherwise=settings.otherwise,
    )


def _steps(
    reading: Reading, settings: tuple[TransformSettings, ...], location: Location
) -> tuple[dict[str, Any], ...]:
    """Steps as a decision remembers them, the entries of their map files included."""
    steps = []
    for index, one in enumerate(settings):
        step, complaints = with_entries(as_step(one), reading.document.files)
        for inner, message in complaints:
            reading.complain((*location, index, *inner), message, "bad-transform")
        steps.append(step)
    return tuple(steps)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
