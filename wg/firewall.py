"""nftables rules of the hub: who in the tunnels may reach what.

Enter: the interface, the ports that sites may call, the destinations that the engine may call. Leave: one
table in the language of nft(8), which replaces its earlier self in one transaction. What the rules say:

- A site reaches the hub's tunnel address on the engine's ports, and nothing else.
- No site reaches another: nothing is forwarded from tunnel to tunnel, nor in or out of it at all.
- The engine reaches a site on its declared ports only.
- The tunnel addresses answer nowhere but on the tunnel (hosts answer for any of their addresses on any
  interface, so this does not go without saying).

That a packet from a site's tunnel has that site's address is WireGuard's own doing (AllowedIPs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wg.block import Block
from wg.peer import checked_interface

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Reach:
    """A destination of the engine inside a site's tunnel."""

    address: Address
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError("a port is 1 to 65535")


def render_hub_rules(
    interface: str, block: Block, ports: Iterable[int], reach: Iterable[Reach], *, table: str = "pons"
) -> str:
    """The hub's table.

    Args:
        ports: TCP ports of the engine that sites may call.
        reach: what the engine may call inside the tunnels.
    """
    name = checked_interface(interface)
    called = sorted({(one.address.version, int(one.address), one.port, str(one.address)) for one in reach})
    pairs = {version: [f"{a} . {p}" for v, _, p, a in called if v == version] for version in (4, 6)}
    listed = ", ".join(str(port) for port in sorted(set(ports)))
    accept = (
        f'iifname "{name}" tcp dport {{ {listed} }} ct state new accept' if listed else "# no port is open"
    )
    return f"""\
# Written by pons; `pons tunnel sync` writes it anew.
table inet {table}
delete table inet {table}

table inet {table} {{
	set sites_ipv4 {{ type ipv4_addr . inet_service; {_elements(pairs[4])}}}
	set sites_ipv6 {{ type ipv6_addr . inet_service; {_elements(pairs[6])}}}

	# The tunnel's addresses answer in the tunnel only.
	chain input {{
		type filter hook input priority -10; policy accept;
		iifname != {{ "lo", "{name}" }} ip daddr {block.ipv4} counter drop
		iifname != {{ "lo", "{name}" }} ip6 daddr {block.ipv6} counter drop
		iifname != "{name}" return
		ip daddr != {block.hub_ipv4} counter drop
		ip6 daddr != {block.hub_ipv6} counter drop
		ct state established,related accept
		ct state invalid counter drop
		{accept}
		icmp type {{ echo-request, destination-unreachable }} limit rate 20/second accept
		icmpv6 type {{ echo-request, packet-too-big, destination-unreachable }} limit rate 20/second accept
		counter drop comment "no other port of the hub"
	}}

	chain forward {{
		type filter hook forward priority -10; policy accept;
		iifname "{name}" counter drop comment "no site reaches another, nor anything behind the hub"
		oifname "{name}" counter drop comment "nobody behind the hub reaches a site"
	}}

	chain output {{
		type filter hook output priority -10; policy accept;
		oifname != {{ "lo", "{name}" }} ip daddr {block.ipv4} counter drop comment "never in clear"
		oifname != {{ "lo", "{name}" }} ip6 daddr {block.ipv6} counter drop
		oifname != "{name}" return
		ct state established,related accept
		ip daddr . tcp dport @sites_ipv4 accept
		ip6 daddr . tcp dport @sites_ipv6 accept
		meta l4proto {{ icmp, ipv6-icmp }} accept
		counter drop comment "the engine reaches what the table declares"
	}}
}}
"""


def _elements(pairs: list[str]) -> str:
    return f"elements = {{ {', '.join(pairs)} }} " if pairs else ""
