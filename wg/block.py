"""Addresses inside the tunnels: one IPv4 /32 and one IPv6 /128 a site, stable, not given twice.

Enter: the block the hub owns and the leases so far. Leave: the lease of a site. Pure. The hub has the
first address of either block. An address that was revoked is left alone for a quarantine: logs, firewall
rules and habits of its former owner live longer than its key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

SHARED = IPv4Network("100.64.0.0/16")
LOCAL = IPv6Network("fd6f:6e73::/64")
QUARANTINE = 366 * 86400.0  # seconds before a revoked address may be given again


class BlockFull(Exception):
    """No address is left; the message says how many there are."""


@dataclass(frozen=True, slots=True)
class Block:
    """What the hub may give: 100.64.0.0/16 (RFC 6598) and a ULA /64 (RFC 4193) unless told otherwise."""

    ipv4: IPv4Network = SHARED
    ipv6: IPv6Network = LOCAL

    @property
    def hub_ipv4(self) -> IPv4Address:
        return self.ipv4[1]

    @property
    def hub_ipv6(self) -> IPv6Address:
        return self.ipv6[1]

    def ipv6_of(self, ipv4: IPv4Address) -> IPv6Address:
        """The IPv6 address that belongs to an IPv4 one: the same place in its block."""
        return self.ipv6[int(ipv4) - int(self.ipv4.network_address)]


@dataclass(frozen=True, slots=True)
class Lease:
    """An address and whose it is, or was until ``revoked_at`` (seconds since the epoch)."""

    site: str
    ipv4: IPv4Address
    revoked_at: float | None = None


def allocate(block: Block, leases: Iterable[Lease], site: str, now: float) -> IPv4Address:
    """The address of a site: the one it has, else the lowest that is free.

    Raises:
        BlockFull: all are in use or in quarantine.
    """
    taken = {block.ipv4.network_address, block.ipv4.broadcast_address, block.hub_ipv4}
    for lease in leases:
        if lease.site == site and lease.revoked_at is None:
            return lease.ipv4
        if lease.revoked_at is None or now < lease.revoked_at + QUARANTINE:
            taken.add(lease.ipv4)
    for address in block.ipv4.hosts():
        if address not in taken:
            return address
    raise BlockFull(
        f"all {block.ipv4.num_addresses - 3} addresses of {block.ipv4} are given or in quarantine"
    )
