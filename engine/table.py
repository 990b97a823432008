"""A routing table once it has been read: frozen, every name resolved, every position known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.channel import InboundType, OutboundType, ProcessorType
from engine.model import Report, ResultStatus, Site, Study
from engine.oauth_section import OAuthSettings
from engine.order_names import IDENTIFYING
from engine.orders_section import OrdersSettings
from engine.people_section import PeopleSettings
from engine.predicate import Attribute
from engine.route import Route, RouteIndex
from engine.sections import Assembly, EngineSettings, Retention, TunnelSettings

T = TypeVar("T", InboundType, OutboundType, ProcessorType)


@dataclass(frozen=True, slots=True)
class Declared(Generic[T]):
    """A channel or processor of the table: an installed type and its settings."""

    name: str
    type: T
    settings: Any
    position: str


@dataclass(frozen=True, slots=True)
class GivenResult:
    """A result as processors are to give it in a test: written in the table, or in a file."""

    status: ResultStatus = ResultStatus.FINAL
    report: Report | None = None
    folder: Path | None = None  # where its artefacts are
    file: Path | None = None  # a `result.json`, read when the test is run


@dataclass(frozen=True, slots=True)
class Given:
    """What a test of the table is run with."""

    study: Study  # without instances where they are in files
    files: Path | None = None  # DICOM JSON, or a folder of instances; read when the test is run
    changed: Mapping[str, Any] = field(default_factory=dict)  # attributes that count instead of the files'
    result: GivenResult | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test of the table demands; None leaves open."""

    routes: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    deliver: tuple[str, ...] | None = None
    held: str | None = None
    holds: tuple[str, ...] | None = None
    transformed: Mapping[str, tuple[Attribute, ...]] = field(default_factory=dict)  # by who gets the copy
    rendered: Mapping[str, tuple[Attribute, ...]] = field(default_factory=dict)  # by destination
    positions: Mapping[str, str] = field(default_factory=dict)  # of each of these, where it is written


@dataclass(frozen=True, slots=True)
class TableTest:
    """A study that the table must decide as told."""

    name: str
    position: str
    given: Given
    expect: Expectation


@dataclass(frozen=True)
class Table:
    """One version of the routing table."""

    path: Path
    base: Path  # the folder that relative paths start from
    version: str  # "sha256:" and 12 hexadecimal digits of the content of all its files
    files: Mapping[str, str]  # path below its folder -> text; `path.name` is the table's own
    engine: EngineSettings
    assembly: Assembly
    retention: Retention
    tunnel: TunnelSettings | None
    sites: Mapping[str, Site]
    inbound: Mapping[str, Declared[InboundType]]
    processors: Mapping[str, Declared[ProcessorType]]
    outbound: Mapping[str, Declared[OutboundType]]
    routes: tuple[Route, ...]
    tests: tuple[TableTest, ...]
    oauth: OAuthSettings = field(default_factory=OAuthSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    orders: OrdersSettings = field(default_factory=OrdersSettings)

    @cached_property
    def index(self) -> RouteIndex:
        """The routes by what they demand; made at the first decision."""
        return RouteIndex(self.routes)

    def keywords(self) -> frozenset[str]:
        """Every attribute that a predicate or `select:` reads: keyword, tag, or path."""
        return self._keywords

    def recorded(self) -> frozenset[str]:
        """What is recorded of every instance: what `keywords` are asked, and what orders are found by."""
        return self._keywords | IDENTIFYING

    @cached_property
    def _keywords(self) -> frozenset[str]:
        return frozenset(self._attributes())

    def _attributes(self) -> Iterator[str]:
        for route in self.routes:
            yield from route.match.attributes()
            if route.select is not None:
                yield from route.select.attributes()
