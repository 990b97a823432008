"""The hospital's end of a tunnel: its WireGuard configuration and its port forwards.

Enter: what the hub says of itself, the site's addresses, its forwards. Leave: `pons0.conf` for wg-quick(8)
and `pons-site.nft` for nft(8). Only tunnel addresses travel: whatever network the hospital has inside (every
one of them is 10.0.0.0/8), the hub sees the site's one address, and each forward is a port on it.

The route to the tunnel's addresses is a blackhole with a low priority: while the interface stands, its own
route is better; when it is gone, packets for the hub end here and not, unencrypted, in the Internet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from wg.block import Block
from wg.peer import Peer, checked_endpoint, checked_interface, render_peer
from wg.register import KEEPALIVE, SiteTunnel

MTU = 1280  # passes every path; 1420 breaks C-STORE where the path has less than it says


@dataclass(frozen=True, slots=True)
class HubPort:
    """A TCP port of the engine on the hub's tunnel address."""

    port: int
    purpose: str  # for people: "DICOM C-STORE, AE title PONS"


@dataclass(frozen=True, slots=True)
class Hub:
    """What a site must know of the hub."""

    public_key: str
    endpoint: str
    ports: tuple[HubPort, ...]

    def __post_init__(self) -> None:
        checked_endpoint(self.endpoint)


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of the site's tunnel address, and the system inside the hospital behind it."""

    port: int
    to: IPv4Address | IPv6Address
    to_port: int

    def __post_init__(self) -> None:
        for port in (self.port, self.to_port):
            if not 1 <= port <= 65535:
                raise ValueError("a port is 1 to 65535")


def parse_forward(port: int, target: str) -> Forward:
    """A forward from its text, `192.168.10.20:104`; ValueError when it is none."""
    host, _, to_port = target.rpartition(":")
    if not to_port.isdigit():
        raise ValueError("a forward goes to ADDRESS:PORT, for example 192.168.10.20:104")
    return Forward(port, ip_address(host.strip("[]")), int(to_port))


def render_site(
    site: SiteTunnel,
    block: Block,
    hub: Hub,
    preshared_key: str,
    *,
    private_key: str = "",
    interface: str = "pons0",
) -> str:
    """The site's configuration for wg-quick.

    Args:
        private_key: empty where the site has made its own, as it should: it is read from a file there.
    """
    name = checked_interface(interface)
    ipv6 = block.ipv6_of(site.address)
    own = (
        f"PrivateKey = {private_key}"
        if private_key
        else f"PostUp = wg set %i private-key /etc/wireguard/{name}.key"
    )
    peer = Peer(
        "hub",
        hub.public_key,
        (ip_network(block.hub_ipv4), ip_network(block.hub_ipv6)),
        preshared_key,
        hub.endpoint,
        KEEPALIVE,
    )
    return f"""\
# Tunnel of site {site.site} to Pons. Keep this file private: chmod 600.
[Interface]
{own}
Address = {site.ipv4}/32, {ipv6}/128
MTU = {MTU}
# Without the tunnel, nothing for it may leave in clear: these routes stay when the interface goes.
PreUp = ip route replace blackhole {block.ipv4} metric 4000
PreUp = ip -6 route replace blackhole {block.ipv6} metric 4000 || true
PostUp = test ! -e /etc/wireguard/pons-site.nft || nft -f /etc/wireguard/pons-site.nft

{render_peer(peer)}"""


def render_forwards(
    site: SiteTunnel,
    block: Block,
    hub: Hub,
    forwards: Sequence[Forward],
    *,
    own_ports: Sequence[int] = (),
    interface: str = "pons0",
) -> str:
    """The site gateway's nftables rules: in by the forwards, out to the hub, nothing else.

    Args:
        own_ports: TCP ports that the hub may call on this machine itself, where the PACS is on it.
    """
    name = checked_interface(interface)
    inward = "\n".join(
        f'\t\tiifname "{name}" ip daddr {site.ipv4} tcp dport {one.port} dnat ip to {one.to}:{one.to_port}'
        for one in sorted(forwards, key=lambda one: one.port)
        if one.to.version == 4
    )
    outward = "\n".join(
        f'\t\tiifname != {{ "lo", "{name}" }} fib daddr type local tcp dport {one.port}'
        f" dnat ip to {block.hub_ipv4}:{one.port}"
        for one in sorted(hub.ports, key=lambda one: one.port)
    )
    listed = ", ".join(map(str, sorted(own_ports)))
    own = f'\t\tiifname "{name}" tcp dport {{ {listed} }} accept\n' if listed else ""
    return f"""\
# Gateway of site {site.site}: what comes by the tunnel reaches the systems named here and no others.
table ip pons_site
delete table ip pons_site

table ip pons_site {{
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
{inward or "		# no system inside is reached by the tunnel"}
		# Systems inside call the gateway's own address, and reach the hub.
{outward}
	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname "{name}" snat ip to {site.ipv4}
		iifname "{name}" ct status dnat masquerade
	}}

	chain forward {{
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname "{name}" ct status dnat accept
		iifname "{name}" counter drop
		oifname "{name}" ct status dnat ip daddr {block.hub_ipv4} accept
		oifname "{name}" counter drop
		tcp flags syn tcp option maxseg size set rt mtu
	}}

	chain input {{
		type filter hook input priority filter; policy accept;
		iifname "{name}" ct state established,related accept
{own}		iifname "{name}" icmp type echo-request limit rate 5/second accept
		iifname "{name}" counter drop
	}}
}}
"""
