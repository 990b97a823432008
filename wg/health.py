"""How the tunnels are: when each site was last heard, from where, how much went through.

Enter: what the device says, the register, a clock. Leave: one line a site, and what is wrong, in words. Pure.
WireGuard renews a session's keys every two minutes while there is traffic, and the site's keepalive is
traffic: a site not heard for longer than three is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from wg.peer import Standing
from wg.register import Register

SILENT_AFTER = 180.0  # seconds without a handshake (whitepaper 6.1: Reject-After-Time)


@dataclass(frozen=True, slots=True)
class TunnelHealth:
    """One site's tunnel at one moment."""

    site: str
    address: str
    state: str  # invited | enrolled | rotating
    endpoint: str
    last_handshake: float  # seconds since the epoch; 0 when there was none
    rx_bytes: int
    tx_bytes: int
    alive: bool


def judge(register: Register, standing: Iterable[Standing], now: float) -> list[TunnelHealth]:
    """Every site's tunnel, in the order of their addresses."""
    by_key: Mapping[str, Standing] = {one.peer.public_key: one for one in standing}
    found = []
    for entry in register.standing():
        seen = [by_key[key] for key in (entry.public_key, entry.next_public_key) if key in by_key]
        latest = max((one.last_handshake for one in seen), default=0.0)
        found.append(
            TunnelHealth(
                site=entry.site,
                address=entry.ipv4,
                state="rotating" if entry.next_public_key else entry.state,
                endpoint=next((one.peer.endpoint for one in seen if one.peer.endpoint), ""),
                last_handshake=latest,
                rx_bytes=sum(one.rx_bytes for one in seen),
                tx_bytes=sum(one.tx_bytes for one in seen),
                alive=bool(latest) and now - latest < SILENT_AFTER,
            )
        )
    return found


def heard(standing: Iterable[Standing]) -> frozenset[str]:
    """Public keys that have had a handshake."""
    return frozenset(one.peer.public_key for one in standing if one.last_handshake)


def with_endpoints(register: Register, standing: Iterable[Standing]) -> Register:
    """The register with where each site was last heard from.

    A hub that starts anew reaches an idle site at once by it; without it, only once the site speaks.
    """
    where = {one.peer.public_key: one.peer.endpoint for one in standing if one.peer.endpoint}
    sites = tuple(
        replace(one, endpoint=where.get(one.public_key, one.endpoint)) if one.state == "enrolled" else one
        for one in register.sites
    )
    return replace(register, sites=sites)
