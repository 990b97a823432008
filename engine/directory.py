"""Who is who: the sites of a table, by the address and AE title a peer shows.

An address alone never makes a DICOM peer known: its calling AE title must be one of the site's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from engine.channel import SiteDirectory
from engine.errors import UnknownPeer
from engine.model import Site

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Directory(SiteDirectory):
    """The sites of the table that runs; safe in any thread, each question is answered by one table."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self._known = _Known(sites)

    def take(self, sites: Mapping[str, Site]) -> None:
        """Another table's sites, from the next question on."""
        self._known = _Known(sites)

    def get(self, key: str) -> Site:
        """The site with this key; KeyError when there is none."""
        return self._known.sites[key]

    def every(self) -> Sequence[Site]:
        """All sites of the table, in its order."""
        return tuple(self._known.sites.values())

    def knows(self, key: str) -> bool:
        """Whether there is a site with this key."""
        return key in self._known.sites

    def identify(self, address: str, calling_ae_title: str | None = None) -> Site:
        """The one site this peer can be; UnknownPeer says which fact did not match."""
        here = self._known.at(address)
        if not here:
            raise UnknownPeer(
                "address", f"no site has the address {address[:64]!r}; add it to a site's addresses"
            )
        if calling_ae_title is not None:
            title = calling_ae_title.strip(" \0")
            here = [site for site in here if title in site.ae_titles]
            if not here:
                raise UnknownPeer(
                    "calling_ae_title",
                    f"no site at {address[:64]} has the AE title {title[:16]!r}; add it to its ae_titles",
                )
        if len(here) > 1:
            keys = ", ".join(site.key for site in here)
            raise UnknownPeer("ambiguous", f"{address[:64]} may be {keys}; give each site its own address")
        return here[0]


class _Known:
    """The sites of one table by their addresses; never changes."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self.sites = dict(sites)
        self._hosts: dict[IPAddress, list[Site]] = {}
        self._blocks: list[tuple[IPNetwork, Site]] = []
        for site in self.sites.values():
            for network in networks_of(site):
                if network.num_addresses == 1:
                    self._hosts.setdefault(network.network_address, []).append(site)
                else:
                    self._blocks.append((network, site))

    def at(self, text: str) -> list[Site]:
        """The sites at an address."""
        address = parse_address(text)
        if address is None:
            return []
        found = {site.key: site for site in self._hosts.get(address, ())}
        for network, site in self._blocks:
            if address in network:
                found[site.key] = site
        return list(found.values())


def is_everywhere(listens: str) -> bool:
    """Whether who listens there listens on every address of this machine."""
    return listens.strip("[]") in ("0.0.0.0", "::", "")  # noqa: S104  # recognised here, never bound


def parse_address(text: str) -> IPAddress | None:
    """A peer's address as its socket tells, without zone, IPv4 also where it is mapped (RFC 4291 2.5.5.2)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_here(host: str) -> bool:
    """Whether a host is this machine itself, whatever its name."""
    address = parse_address(host.strip("[]"))
    return host == "localhost" or (address is not None and address.is_loopback)


def networks_of(site: Site) -> list[IPNetwork]:
    """A site's addresses as blocks; single addresses are blocks of one."""
    found = []
    for text in site.addresses:
        network = ipaddress.ip_network(text)
        if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
            mapped = network.network_address.ipv4_mapped
            if mapped is not None:
                network = ipaddress.ip_network((mapped, network.prefixlen - 96))
        found.append(network)
    return found
