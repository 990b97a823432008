"""No two sites may be mistaken for each other.

Enters: a reading. Leave: findings about sites that share addresses or AE titles.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.directory import networks_of
from engine.finding import Location
from engine.model import Site
from engine.reading import Reading


def check_sites(reading: Reading) -> None:
    """No two sites may be mistaken for each other."""
    sites = list(reading.sites.values())
    for one, other in _overlapping(sites):
        if one.tunnel and one.tunnel == other.tunnel:
            message = f"is the tunnel address of site {one.key}; `pons site add` gives each its own"
            reading.complain(("sites", other.key, "tunnel"), message, "tunnel-address")
            continue
        titles = sorted(set(one.ae_titles) & set(other.ae_titles))
        location: Location = ("sites", other.key)
        if titles:
            reading.complain_of_key(
                location,
                f"shares address and AE title {titles[0]} with site {one.key}; a study could not be "
                "told to be from either: give each its own address or AE title",
                "ambiguous-site",
            )
        else:
            reading.warn(
                location,
                f"shares an address with site {one.key}; only a calling AE title tells them apart, "
                "so HTTP from there is refused",
                "shared-address",
            )
    for site in sites:
        if any(network.prefixlen == 0 for network in networks_of(site)):
            location = ("sites", site.key, "addresses")
            reading.warn(location, "takes in every address there is", "site-takes-everything")


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
