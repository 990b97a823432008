"""How often somebody may fail to be a client before it is not even looked at (RFC 6749 2.3.1, RFC 6819 4.4).

Enter: each failure, with the address it came from and the client it named. Leaves: how long the next one
has to wait. In memory, for each engine alone: a row for each failure would let whoever fails write as fast
as it likes (docs/decisions/a-secret-is-random.md). Where a client was itself lately it is looked at however
many failures there are: behind a proxy all have one address, and nobody may lock the others out.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Any

PERIOD = 60.0  # seconds
OF_ADDRESS, OF_CLIENT = 20, 60  # failures in that time after which no more is looked at
REMEMBERED = 3600.0  # seconds that an address counts as a client's own
MOST = 4096  # addresses, and clients, that are remembered


class Patience:
    """The failures of the last minute. Not for several threads at once."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._own: OrderedDict[tuple[str, str], float] = OrderedDict()

    def wait(self, address: str, client_id: str, now: float) -> float:
        """Seconds until this address may try to be this client; 0 where it may now, or was lately."""
        since = self._own.get((client_id, network_of(address)))
        known = since is not None and now - since < REMEMBERED
        return 0.0 if known else self.worn_out(address, client_id, now)

    def worn_out(self, address: str, client_id: str, now: float) -> float:
        """Seconds until a failure of this address, or of this client, is told and written down again."""
        return max(
            self._wait(("address", network_of(address)), OF_ADDRESS, now),
            self._wait(("client", client_id), OF_CLIENT, now),
        )

    def failed(self, address: str, client_id: str, now: float) -> None:
        """It was not the client."""
        for key, most in ((("address", network_of(address)), OF_ADDRESS), (("client", client_id), OF_CLIENT)):
            if key[1]:
                failures = self._failures.pop(key, None) or deque(maxlen=most)
                failures.append(now)
                self._failures[key] = failures  # the latest last
        _bound(self._failures)

    def succeeded(self, address: str, client_id: str, now: float) -> None:
        """It was the client."""
        key = client_id, network_of(address)
        self._own.pop(key, None)
        self._own[key] = now
        _bound(self._own)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None or len(failures) < most:
            return 0.0
        return max(0.0, failures[0] + PERIOD - now)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the /64, for whoever has one of those has all of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _bound(kept: OrderedDict[tuple[str, str], Any]) -> None:
    while len(kept) > MOST:
        kept.popitem(last=False)
