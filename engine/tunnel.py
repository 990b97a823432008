"""What the table says of the tunnels: who has one, what sites may call, what the engine may call.

Enter: a table. Leave: the hub as a site's kit describes it, and the hub's firewall rules. Pure, but for the
register and keys that `wg` keeps. A destination is inside a tunnel when its host is a site's tunnel address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from engine.clock import at
from engine.errors import PonsError
from engine.model import Site
from engine.table import Table
from wg.firewall import Reach, render_hub_rules
from wg.kit import Kit, make_kit
from wg.register import Register
from wg.site import Hub, HubPort, parse_forward
from wg.store import TunnelFolder


def folder_of(table: Table) -> TunnelFolder:
    """Where the register and the keys are; PonsError when the table has no tunnel."""
    if table.tunnel is None:
        raise PonsError(f"{table.path}: has no section `tunnel:`; docs/tunnels.md shows one")
    return TunnelFolder(table.tunnel.folder, table.tunnel.block)


def called_ports(table: Table) -> tuple[HubPort, ...]:
    """The engine's TCP ports that sites may call, and what each is for."""
    ports = {int(table.engine.http.rpartition(":")[2]): "HTTP: DICOMweb STOW-RS"}
    for declared in table.inbound.values():
        listen = getattr(declared.settings, "listen", None)
        if isinstance(listen, str):
            title = getattr(declared.settings, "ae_title", "")
            purpose = f"DICOM C-STORE, AE title {title}" if title else declared.type.name
            ports[int(listen.rpartition(":")[2])] = purpose
    return tuple(HubPort(port, purpose) for port, purpose in sorted(ports.items()))


def called_of(settings: Any) -> tuple[str, int] | None:
    """Host and port that a destination's settings name."""
    host, port = getattr(settings, "host", None), getattr(settings, "port", None)
    if isinstance(host, str) and isinstance(port, int):
        return host, port
    url = getattr(settings, "url", None)
    if isinstance(url, str):
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    return None


def reach(table: Table) -> Iterator[Reach]:
    """What the engine may call inside the tunnels."""
    assert table.tunnel is not None
    block = table.tunnel.block
    for declared in table.outbound.values():
        called = called_of(declared.settings)
        address = parsed(called[0]) if called else None
        if called and address is not None and (address in block.ipv4 or address in block.ipv6):
            yield Reach(address, called[1])


def parsed(host: str) -> IPv4Address | IPv6Address | None:
    """An address, where the host is one."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def rules(table: Table) -> str:
    """The hub's firewall rules."""
    assert table.tunnel is not None
    ports = [one.port for one in called_ports(table)]
    return render_hub_rules(table.tunnel.interface, table.tunnel.block, ports, reach(table))


def kit(table: Table, folder: TunnelFolder, register: Register, site: Site, private_key: str = "") -> Kit:
    """The kit of a site that the register knows."""
    assert table.tunnel is not None
    entry = register.site(site.key)
    hub = Hub(folder.hub_public_key(), table.tunnel.endpoint, called_ports(table))
    forwards = [parse_forward(port, target) for port, target in site.forwards]
    psk = folder.preshared_key(site.key)
    called = {one.port for one in reach(table) if str(one.address) == entry.ipv4}
    return make_kit(
        entry,
        register.block,
        hub,
        psk,
        forwards,
        own_ports=sorted(called - {one.port for one in forwards}),
        private_key=private_key,
        site_name=site.name,
    )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A site on which table and register do not agree, and what to do."""

    site: str
    why: str
    mistaken: bool = False
    """Whether one hospital would be taken for another."""


def disagreements(sites: Mapping[str, Site], register: Register) -> Iterator[Disagreement]:
    """Every site of which the table says one thing and the register another."""
    standing = {entry.site: entry for entry in register.standing()}
    holders = {entry.ipv4: entry.site for entry in standing.values()}
    revoked = {entry.site: entry for entry in register.sites if entry.state == "revoked"}
    for key, site in sites.items():
        entry = standing.get(key)
        holder = holders.get(site.tunnel, key)
        own = f"write `tunnel: {entry.ipv4}`" if entry else f"run `pons site add {key}`"
        if holder != key:
            yield Disagreement(key, f"address {site.tunnel} was given to site {holder}; {own}", mistaken=True)
        elif entry is not None and site.tunnel != entry.ipv4:
            yield Disagreement(key, f"has the tunnel of address {entry.ipv4}; {own}")
        elif entry is None and site.tunnel and key in revoked:
            day = at(revoked[key].since).date().isoformat()
            remedy = f"remove it from the table, or run `pons site add {key}` for another address"
            yield Disagreement(key, f"its tunnel was revoked on {day}; {remedy}")
        elif entry is None and site.tunnel:
            yield Disagreement(key, f"has tunnel address {site.tunnel} and no tunnel; {own}")
    for key in standing:
        if key not in sites:
            remedy = f"add it, or run `pons site revoke {key} --yes`"
            yield Disagreement(key, f"has a tunnel and is not in the table; {remedy}")
