"""The sections of a table as an operator writes them, one model each.

Enter: plain data from the table. Leave: typed, frozen settings. What needs the rest of the table
(names that must exist, sites that must agree) is asked in `engine.check`; what needs an installed
type is read in `engine.reading`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from engine.finding import did_you_mean
from engine.oauth_section import OAuthSettings
from engine.orders_section import OrdersSettings
from engine.people_section import PeopleSettings
from engine.route_sections import RouteSettings, Words
from engine.settings import AETitle, Duration, HostPort, Port, Secret, Settings, Size
from wg.block import Block
from wg.peer import checked_endpoint, checked_interface
from wg.site import parse_forward

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Names of sites, channels and processors: they appear in file names, metrics and URLs."""


@functools.cache
def _zones() -> frozenset[str]:
    """What there is; looking costs 20 ms, and a table has a thousand sites."""
    return frozenset(zoneinfo.available_timezones())


def _check_zone(value: str) -> str:
    if value not in _zones():
        hint = did_you_mean(value, _zones())
        raise ValueError(f"no time zone of that name{hint}" if hint else "no such IANA time zone")
    return value


def _check_oid(value: str) -> str:
    if value and (len(value) > 64 or not re.fullmatch(r"[0-2](\.(0|[1-9][0-9]*))+", value)):
        raise ValueError(
            "an OID is digits and dots, no part with a leading zero, for example 2.16.840.1.113883"
        )
    return value


def _check_network(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an IP address or a block such as 10.90.7.0/24, in quotes if need be")
    try:
        return str(ipaddress.ip_network(value)) if "/" in value else str(ipaddress.ip_address(value))
    except ValueError:
        pass
    try:
        block = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a block such as 10.90.7.0/24") from None
    raise ValueError(f"has bits set past its prefix; write {block}")


def _check_address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("must be one IP address, for example 10.90.7.2") from None


def _check_public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w.~-]+)*/?", value, re.ASCII):
        raise ValueError("must be an address such as https://pons.example, without user, query or fragment")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("must begin with https://: who reads a link on its way can open it")
    return value.rstrip("/")


def _check_database(value: str) -> str:
    if value == "sqlite":
        return value
    try:
        url = make_url(value)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not url.database:
        raise ValueError("must be sqlite, or an address such as postgresql://pons@db.example/pons")
    if url.password is not None:
        raise ValueError("must not hold a password; give it by reference in engine.database_password")
    return value


def _check_block(value: str, version: int, longest: int) -> str:
    try:
        block = ipaddress.ip_network(value)
    except ValueError:
        block = None
    if block is None or block.version != version or block.prefixlen > longest or block.is_global:
        example = "100.64.0.0/16" if version == 4 else "fd6f:6e73::/64"
        raise ValueError(
            f"must be a private IPv{version} block of at least /{longest}, for example {example}"
        )
    return str(block)


def _check_ipv4_block(value: str) -> str:
    return _check_block(value, 4, 30)


def _check_ipv6_block(value: str) -> str:
    return _check_block(value, 6, 96)


Endpoint = Annotated[str, AfterValidator(checked_endpoint)]
Interface = Annotated[str, AfterValidator(checked_interface)]
Ipv4Block = Annotated[str, AfterValidator(_check_ipv4_block)]
Ipv6Block = Annotated[str, AfterValidator(_check_ipv6_block)]
DatabaseUrl = Annotated[str, AfterValidator(_check_database)]
TimeZone = Annotated[str, AfterValidator(_check_zone)]
Address = Annotated[str, BeforeValidator(_check_address, json_schema_input_type=str)]
PublicUrl = Annotated[str, AfterValidator(_check_public_url)]
Network = Annotated[str, BeforeValidator(_check_network, json_schema_input_type=str)]


class EngineSettings(Settings):
    """`engine:` what belongs to the process and its machine."""

    data: Path = Path("data")
    """Folder of the store and the instances; relative to the table's folder."""
    database: DatabaseUrl = "sqlite"
    """Where records are kept: `sqlite`, in the data folder, or postgresql://USER@HOST:PORT/NAME."""
    database_password: Secret | None = Field(None, examples=[{"env": "PONS_DATABASE_PASSWORD"}])
    """Password of the PostgreSQL user, by reference; without it the server's own rules must let us in."""
    lease: Duration = 60.0
    """How long what a silent engine was doing stays its own before another may take it over."""
    instances: Literal["file"] = "file"
    """Where instances are kept."""
    http: HostPort = "127.0.0.1:8080"
    """HOST:PORT of the one HTTP server: DICOMweb, API, health, metrics."""
    public_url: PublicUrl | None = Field(None, examples=["https://pons.example"])
    """Where receivers reach that server, for example https://pons.example; without it no links are sent."""
    ae_title: AETitle = "PONS"
    """The engine's own AE title when it calls a peer."""
    max_instance: Size = 8 * 1024**3
    """The largest instance that is taken in."""
    max_bytes_in_flight: Size = Field(16 * 1024**3, ge=1 << 20)
    """Bytes landed and not yet recorded, of all ways in, above which no further instance may begin."""
    min_free: Size = 1024**3
    """Free disk space below which nothing new is taken in."""
    workers: int = Field(1, ge=1, le=64, examples=[4])
    """Processes that receive on each listening port; with 1 the engine's own does. At most one a core."""
    reserve: Size = 64 * 1024**2
    """Disk space set aside so that a full disk does not stop what is under way; 0 for none."""
    log: Literal["text", "json"] = "json"
    """How log lines are written."""


class Assembly(Settings):
    """`assembly:` when a study counts as complete, and what late instances do."""

    stable_after: Duration = 60.0
    """Quiet time after the last instance before a study is stable."""
    force_after: Duration = 2700.0
    """Age at which a study that never falls quiet is taken as stable all the same."""
    on_late: Literal["rerun", "hold", "ignore"] = "rerun"
    """What instances do that come after a study was stable: a new revision, a hold, or nothing."""
    on_conflict: Literal["version", "reject"] = "version"
    """What the same SOP Instance UID with other content does: a new version is kept, or it is refused."""

    @model_validator(mode="after")
    def _force_is_longer(self) -> Assembly:
        if self.force_after < self.stable_after:
            raise ValueError("force_after is shorter than stable_after, so no study would ever fall quiet")
        return self


class Retention(Settings):
    """`retention:` how long finished studies stay; nothing undelivered, held or under way is ever removed."""

    keep: Duration | None = Field(None, examples=["90d"])
    """Age of its last event at which a finished study's files are removed; never when absent."""
    max_size: Size | None = Field(None, examples=["2TB"])
    """Size of all instances above which the oldest finished studies go before their time."""
    history: Duration | None = Field(None, examples=["730d"])
    """Age at which the records of a removed study go too (the audit trail stays); never when absent."""
    every: Duration = 300.0
    """How often the engine looks for what may be removed."""


class TunnelSettings(Settings):
    """`tunnel:` the hub's end of the WireGuard tunnels, one a site."""

    endpoint: Endpoint = Field(examples=["hub.example:51820"])
    """HOST:PORT that sites dial, UDP; as they see it from outside."""
    listen_port: Port = 51820
    """UDP port the hub listens on."""
    interface: Interface = "pons0"
    """Name of the interface, at most 15 characters."""
    ipv4: Ipv4Block = "100.64.0.0/16"
    """Addresses inside the tunnels; the hub has the first. Not to be changed once sites have theirs."""
    ipv6: Ipv6Block = "fd6f:6e73::/64"
    """The same for IPv6, a unique local block."""
    mtu: int = Field(1280, ge=1280, le=1440)
    """Largest packet inside the tunnels; 1280 passes every path."""
    folder: Path = Path("tunnel")
    """Folder of the register and the keys; relative to the table's folder."""

    @property
    def block(self) -> Block:
        """Both blocks."""
        return Block(ipaddress.IPv4Network(self.ipv4), ipaddress.IPv6Network(self.ipv6))


class IssuerSettings(Settings):
    """Who issues a site's patient identifiers."""

    namespace: Annotated[str, Field(max_length=64, examples=["STM"])] = ""
    """Local namespace (HD-1, IssuerOfPatientID)."""
    oid: Annotated[str, AfterValidator(_check_oid), Field(examples=["2.16.840.1.113883.19.5"])] = ""
    """Universal identifier, an ISO OID."""

    @model_validator(mode="after")
    def _names_something(self) -> IssuerSettings:
        if not self.namespace and not self.oid:
            raise ValueError("an issuer has a namespace, an oid, or both")
        return self


class SiteSettings(Settings):
    """One of `sites:` a hospital or department."""

    name: Words | None = Field(None, examples=["St. Mary's"])
    """What people call it; its key when absent."""
    timezone: TimeZone = "UTC"
    """IANA name of its time zone."""
    tunnel: Address | None = Field(None, examples=["10.90.7.2"])
    """Its address inside its tunnel."""
    forwards: dict[Port, str] = Field(default_factory=dict, examples=[{104: "192.168.10.20:104"}])
    """Ports of its tunnel address and what is behind them inside: `{104: "192.168.10.20:104"}`."""
    addresses: tuple[Network, ...] = Field((), examples=[["10.1.0.0/16"]])
    """Addresses or blocks it may come from besides its tunnel."""
    ae_titles: tuple[AETitle, ...] = Field((), examples=[["STM_PACS", "STM_CT1"]])
    """AE titles it may call with; without one, nothing is taken from it by C-STORE."""
    issuer_of_patient_id: IssuerSettings | None = None
    """Who issues its patient identifiers when an object does not say."""

    @field_validator("forwards")
    @classmethod
    def _check_forwards(cls, forwards: dict[int, str]) -> dict[int, str]:
        for port, target in forwards.items():
            parse_forward(port, target)
        return forwards

    @model_validator(mode="after")
    def _can_be_recognised(self) -> SiteSettings:
        if self.forwards and self.tunnel is None:
            raise ValueError("forwards are ports of the site's tunnel address, and it has none")
        if self.tunnel is None and not self.addresses:
            raise ValueError("a site needs a tunnel or addresses: it is known by where it comes from")
        return self


class ExpectSettings(Settings):
    """`expect:` of a test."""

    routes: tuple[str, ...] | None = Field(None, examples=[["brain dti"]])
    """Names of the routes that fire, in file order; a shadow route need not be named."""
    shadow: tuple[str, ...] | None = Field(None, examples=[["candidate model"]])
    """Names of all shadow routes that fire."""
    deliver: tuple[str, ...] | None = Field(None, examples=[["stm-pacs", "stm-ris"]])
    """Destinations that get something, each once, in order."""
    held: str | None = Field(None, examples=["no route matched"])
    """The one reason with which the study is held."""
    holds: tuple[str, ...] | None = Field(None, examples=[[]])
    """All reasons with which the study is held; `[]` when it is not."""
    transformed: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        examples=[{"dti-qc": {"BodyPartExamined": "BRAIN", "PatientComments": "absent"}}],
    )
    """By destination or processor, attributes of what it gets after the edits of its route."""
    rendered: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"stm-ris": {"PID-3.1": "4711", "OBX-5": {"matches": "passed"}}}]
    )
    """By destination, fields of what it is sent: `OBX-5`, `identifier.0.value`, a DICOM keyword."""

    @model_validator(mode="after")
    def _expects_something(self) -> ExpectSettings:
        if not self.model_fields_set:
            raise ValueError("expects nothing; give it routes, deliver, held, or another outcome")
        return self


class TestSettings(Settings):
    """One of `tests:` a study that the table must decide as told."""

    __test__ = False  # not a test case, whatever its name suggests to a test runner

    name: Words = Field(examples=["a knee waits for a person"])
    """A sentence."""
    given: dict[str, Any] = Field(
        examples=[{"site": "st-marys", "series": [{"Modality": "MR", "BodyPartExamined": "KNEE"}]}]
    )
    """The study: site, inbound, calling_ae_title, called_ae_title, time, attributes, series."""
    expect: ExpectSettings
    """What must become of it."""


class DefaultsSettings(Settings):
    """`defaults:` what blocks have where they do not say otherwise."""

    sites: dict[str, Any] = Field(default_factory=dict, examples=[{"timezone": "Europe/Dublin"}])
    """Keys of every site."""
    inbound: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"c_store": {"ae_title": "PONS"}}]
    )
    """By type, or `"*"` for every type that knows the key: keys of ways in."""
    processors: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"command": {"timeout": "20m"}}]
    )
    """The same for processors."""
    outbound: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"*": {"timeout": "30s"}, "hl7_oru": {"port": 2575}}]
    )
    """The same for destinations."""
    routes: dict[str, Any] = Field(default_factory=dict, examples=[{"from": ["pacs"]}])
    """Keys of every route."""


class TableSettings(Settings):
    """A routing table."""

    version: Literal[1]
    """Version of this grammar."""
    engine: EngineSettings = EngineSettings()
    """What belongs to the process and its machine."""
    include: tuple[str, ...] = Field((), examples=[["sites/*.yaml"]])
    """Patterns of files, relative to this one, whose sections are added to this table."""
    defaults: DefaultsSettings = DefaultsSettings()
    """What blocks have in common, in every file of the table."""
    assembly: Assembly = Assembly()
    """When a study counts as complete."""
    retention: Retention = Retention()
    """How long finished studies stay."""
    tunnel: TunnelSettings | None = None
    """The hub's end of the tunnels; without it they are somebody else's to arrange."""
    orders: OrdersSettings = OrdersSettings()
    """How long a study that is given again replaces the earlier order."""
    oauth: OAuthSettings = OAuthSettings()
    """Access tokens for programs; clients are made by `pons client`."""
    people: PeopleSettings = PeopleSettings()
    """How people sign in; they are invited by `pons user`."""
    sites: dict[Annotated[str, Field(pattern=NAME)], SiteSettings] = Field(
        default_factory=dict, examples=[{"st-marys": {"name": "St. Mary's", "tunnel": "10.90.7.2"}}]
    )
    """Hospitals and departments, by name."""
    inbound: dict[str, Any] = Field(
        default_factory=dict, examples=[{"pacs": {"type": "c_store", "listen": "10.90.0.1:11112"}}]
    )
    """Ways in, by name."""
    processors: dict[str, Any] = Field(
        default_factory=dict, examples=[{"dti-qc": {"type": "quality_control"}}]
    )
    """What turns studies into results, by name."""
    outbound: dict[str, Any] = Field(
        default_factory=dict,
        examples=[{"stm-ris": {"type": "hl7_oru", "site": "st-marys", "host": "10.90.7.2", "port": 2575}}],
    )
    """Destinations, by name."""
    routes: tuple[RouteSettings, ...] = ()
    """What happens to which study, in order."""
    tests: tuple[TestSettings, ...] = ()
    """Studies that the table must decide as told; `pons test` runs them."""
