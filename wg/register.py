"""The register: which sites have a tunnel, with which key and address.

Enter: requests to admit, enrol, rotate and revoke a site. Leave: the register as it is then, and the peers
that the hub's interface should have. Pure; `store` keeps it. No private key is ever in it.

A site is *invited* (it has an address and a one-time token, no key), *enrolled* (it has a key) or
*revoked* (its address rests in quarantine). While it rotates it has two keys; the address moves to the
new one at its first handshake.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_network

from wg.block import Block, Lease, allocate
from wg.key import checked_key
from wg.peer import Network, Peer

TOKEN_BYTES = 32
TOKEN_LIFE = 86400.0  # seconds
KEEPALIVE = 25  # seconds; a hospital's firewall forgets an idle UDP flow after half a minute


class RegisterError(Exception):
    """The request cannot be met; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SiteTunnel:
    """What the register knows of one site."""

    site: str
    ipv4: str
    state: str  # invited | enrolled | revoked
    since: float  # seconds since the epoch: of the state
    public_key: str = ""
    next_public_key: str = ""  # rotating: takes over at its first handshake
    token_sha256: str = ""
    token_expires_at: float = 0.0
    endpoint: str = ""  # where it was last heard from

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(self.ipv4)


@dataclass(frozen=True, slots=True)
class Register:
    """All of it at one moment."""

    block: Block = field(default_factory=Block)
    sites: tuple[SiteTunnel, ...] = ()

    def site(self, key: str) -> SiteTunnel:
        """The standing entry of a site; RegisterError when it has none."""
        for one in self.sites:
            if one.site == key and one.state != "revoked":
                return one
        raise RegisterError(f"site {key} has no tunnel; `pons site add {key}` gives it one")

    def standing(self) -> tuple[SiteTunnel, ...]:
        """Every site that is not revoked, in the order of their addresses."""
        return tuple(
            sorted((one for one in self.sites if one.state != "revoked"), key=lambda one: one.address)
        )

    def with_site(self, changed: SiteTunnel) -> Register:
        """The register with one entry in place of the standing one of the same site."""
        kept = tuple(one for one in self.sites if one.site != changed.site or one.state == "revoked")
        return replace(self, sites=(*kept, changed))


def admit(register: Register, site: str, now: float) -> tuple[Register, SiteTunnel, str]:
    """Invite a site, or invite it again: its address stays, the token is a new one.

    Returns:
        The register, the entry, and the token in clear, which is nowhere else.
    """
    leases = [
        Lease(one.site, one.address, one.since if one.state == "revoked" else None) for one in register.sites
    ]
    address = allocate(register.block, leases, site, now)
    standing = next((one for one in register.standing() if one.site == site), None)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    entry = standing or SiteTunnel(site=site, ipv4=str(address), state="invited", since=now)
    entry = replace(entry, token_sha256=_hashed(token), token_expires_at=now + TOKEN_LIFE)
    return register.with_site(entry), entry, token


def enrol(register: Register, token: str, key: str, now: float) -> tuple[Register, SiteTunnel]:
    """A site shows its token and its public key: the token is used up, the key is in.

    An enrolled site that shows a new token rotates: both keys are known until the new one is heard.

    Raises:
        RegisterError: the token is unknown, used or too old; which of these is not told.
        ValueError: the key is none.
    """
    checked = checked_key(key)
    found, shown = None, _hashed(token)
    for one in register.standing():  # every entry is compared, in constant time each
        if hmac.compare_digest(one.token_sha256, shown) and now < one.token_expires_at:
            found = one
    if found is None:
        raise RegisterError("the enrolment token is not valid; ask for a new one")
    if any(checked in (one.public_key, one.next_public_key) for one in register.sites):
        raise RegisterError("this public key is known already; make a new one")
    used = replace(found, token_sha256="", token_expires_at=0.0)
    if found.state == "enrolled":
        used = replace(used, next_public_key=checked)
    else:
        used = replace(used, public_key=checked, state="enrolled", since=now)
    return register.with_site(used), used


def taken_over(register: Register, site: str) -> Register:
    """The new key of a rotating site has been heard: the old one goes."""
    entry = register.site(site)
    if not entry.next_public_key:
        return register
    return register.with_site(replace(entry, public_key=entry.next_public_key, next_public_key=""))


def revoke(register: Register, site: str, now: float) -> Register:
    """A site's tunnel ends: its keys are known no more, its address rests."""
    entry = register.site(site)
    ended = replace(
        entry, state="revoked", since=now, next_public_key="", token_sha256="", token_expires_at=0.0
    )
    return register.with_site(ended)


def peers(register: Register, preshared: dict[str, str], heard: frozenset[str] = frozenset()) -> list[Peer]:
    """The peers that the hub's interface should have.

    Args:
        preshared: site to its preshared key.
        heard: public keys that have had a handshake; a new key gets the address once it is among them.
    """
    wanted = []
    for entry in register.standing():
        if entry.state != "enrolled":
            continue
        ipv4 = IPv4Address(entry.ipv4)
        networks = tuple(_host(one) for one in (ipv4, register.block.ipv6_of(ipv4)))
        moved = bool(entry.next_public_key) and entry.next_public_key in heard
        psk = preshared.get(entry.site, "")
        endpoint = entry.endpoint
        wanted.append(Peer(entry.site, entry.public_key, () if moved else networks, psk, endpoint))
        if entry.next_public_key:
            wanted.append(Peer(entry.site, entry.next_public_key, networks if moved else (), psk))
    return wanted


def _host(address: IPv4Address | IPv6Address) -> Network:
    return ip_network(address)


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
