"""What has to change on a living interface, and nothing else.

Enter: the peers an interface should have and those it has. Leave: changes, each an argument list for
`wg set`. Pure. A peer that stays as it is is not touched: its session goes on. A peer without an endpoint
in the plan keeps the one it was last heard from.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wg.peer import Peer

CHUNK = 200  # peers in one call: an argument list has a limit, and so has patience


@dataclass(frozen=True, slots=True)
class Change:
    """One peer to set, or to remove."""

    peer: Peer
    remove: bool = False
    preshared_key_differs: bool = False


def difference(wanted: Iterable[Peer], present: Iterable[Peer]) -> list[Change]:
    """The changes that make an interface as it should be.

    Removals come first, and so do peers that lose addresses: an address belongs to one peer at a time,
    and WireGuard takes it from whoever has it without a word.
    """
    there = {peer.public_key: peer for peer in present}
    want = {peer.public_key: peer for peer in wanted}
    removed = [Change(peer, remove=True) for key, peer in there.items() if key not in want]
    changed = []
    for key, peer in want.items():
        now = there.get(key)
        psk = peer.preshared_key != (now.preshared_key if now else "")
        same = (
            now is not None
            and set(now.allowed_ips) == set(peer.allowed_ips)
            and now.keepalive == peer.keepalive
            and (not peer.endpoint or now.endpoint == peer.endpoint)
            and not psk
        )
        if not same:
            changed.append(Change(peer, preshared_key_differs=psk))
    gains = {change.peer.public_key for change in changed if _gains(change.peer, there)}
    return removed + sorted(changed, key=lambda change: change.peer.public_key in gains)


def _gains(peer: Peer, there: dict[str, Peer]) -> bool:
    now = there.get(peer.public_key)
    return not set(peer.allowed_ips) <= set(now.allowed_ips if now else ())


def commands(interface: str, changes: Sequence[Change], secrets: Path) -> Iterator[list[str]]:
    """Argument lists that carry the changes out, in order.

    Args:
        secrets: folder with a file of mode 0600 named by the public key in hexadecimal for each preshared
            key that changes: `wg` reads it there, for an argument list is open to everyone.
    """
    for start in range(0, len(changes), CHUNK):
        arguments = ["wg", "set", interface]
        for change in changes[start : start + CHUNK]:
            arguments += _arguments(change, secrets)
        yield arguments


def _arguments(change: Change, secrets: Path) -> list[str]:
    peer = change.peer
    if change.remove:
        return ["peer", peer.public_key, "remove"]
    arguments = ["peer", peer.public_key]
    if change.preshared_key_differs:
        file = secret_file(secrets, peer) if peer.preshared_key else Path("/dev/null")
        arguments += ["preshared-key", str(file)]
    if peer.endpoint:
        arguments += ["endpoint", peer.endpoint]
    arguments += ["persistent-keepalive", str(peer.keepalive)]
    return [*arguments, "allowed-ips", ",".join(map(str, peer.allowed_ips))]


def secret_file(secrets: Path, peer: Peer) -> Path:
    """Where the preshared key of a peer is handed over."""
    return secrets / base64.b64decode(peer.public_key).hex()
