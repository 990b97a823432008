"""A peer as WireGuard knows it, and the configuration files that peers are written in.

Enter: checked values. Leave: text in the form of wg(8) and wg-quick(8). Every value is checked when the
peer is made, so nothing in it can end a line and begin a directive of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from wg.key import checked_key

Network = IPv4Network | IPv6Network
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):(\d{1,5})")
_INTERFACE = re.compile(r"[a-z][a-z0-9_-]{0,14}")


def checked_endpoint(text: str) -> str:
    """HOST:PORT, an IPv6 host in brackets; ValueError when it is none."""
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise ValueError("an endpoint is HOST:PORT, for example hub.example:51820 or [2001:db8::1]:51820")
    return text


def checked_interface(text: str) -> str:
    """A name that Linux and the control sockets of wireguard-go take; ValueError when it is none."""
    if _INTERFACE.fullmatch(text) is None:
        raise ValueError("an interface's name is 1 to 15 of a-z, 0-9, - and _, a letter first")
    return text


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of an interface."""

    name: str  # the site's key; a comment in files, unknown to devices
    public_key: str
    allowed_ips: tuple[Network, ...] = ()
    preshared_key: str = ""
    endpoint: str = ""
    keepalive: int = 0  # seconds; 0 is off

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError("a site's key is 1 to 64 of a-z, 0-9, - and _")
        for field in ("public_key", "preshared_key"):
            if getattr(self, field):
                object.__setattr__(self, field, checked_key(getattr(self, field)))
        if self.endpoint:
            checked_endpoint(self.endpoint)
        if not 0 <= self.keepalive <= 65535:
            raise ValueError("a keepalive is 0 to 65535 seconds")

    def __repr__(self) -> str:
        return f"Peer({self.name}, {self.public_key[:8]}…)"  # never the preshared key

    def without_secrets(self) -> Peer:
        """The same, fit to be shown."""
        return replace(self, preshared_key="")


@dataclass(frozen=True, slots=True)
class Standing:
    """One peer as the device sees it."""

    peer: Peer
    last_handshake: float  # seconds since the epoch; 0 when there was none
    rx_bytes: int
    tx_bytes: int


def render_peer(peer: Peer) -> str:
    """A [Peer] section."""
    lines = ["[Peer]", f"# {peer.name}", f"PublicKey = {peer.public_key}"]
    if peer.preshared_key:
        lines.append(f"PresharedKey = {peer.preshared_key}")
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(map(str, peer.allowed_ips))}")
    if peer.endpoint:
        lines.append(f"Endpoint = {peer.endpoint}")
    if peer.keepalive:
        lines.append(f"PersistentKeepalive = {peer.keepalive}")
    return "\n".join(lines) + "\n"


def render_interface(private_key: str, listen_port: int, peers: tuple[Peer, ...]) -> str:
    """A whole configuration for `wg syncconf` and `wg setconf`."""
    head = f"[Interface]\nPrivateKey = {private_key}\nListenPort = {listen_port}\n"
    return "\n".join([head, *map(render_peer, peers)])
