"""How many requests the portal serves at once and how often one person may ask.

Enter: who asks. Leaves: a place, or `PageRaised`: 503 where all are taken, 429 for who asks too often. Who is
not signed in finds half of the places at most, so that a crowd at the door keeps nobody from his work.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.settings import PortalSettings
from channels.inbound.rest_gate import Buckets

_FULL = "more people are here than can be served at this moment; try again"


class Seats:
    """So many at once; lives on the event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self.refused = 0

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """One seat, for as long as it is entered; PageRaised where there is none."""
        if self.taken >= self.total:
            self.refused += 1
            raise PageRaised(503, _FULL, {"Retry-After": "2"})
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Gate:
    """The places of one portal."""

    def __init__(self, settings: PortalSettings) -> None:
        self.all = Seats(settings.max_requests)
        self.visitors = Seats(max(1, settings.max_requests // 2))
        self.streams = Seats(settings.max_streams)
        self._buckets = Buckets(settings.requests_per_second)
        self._too_fast = 0

    def pace(self, who: str) -> None:
        """One request of a person, or of an address that is not signed in."""
        wait = self._buckets.take(who)
        if wait:
            self._too_fast += 1
            said = "too many requests came from you; wait a moment and reload the page"
            raise PageRaised(429, said, {"Retry-After": str(math.ceil(wait))})

    def measured(self, inbound: str) -> dict[str, float]:
        """Samples for `/metrics`."""
        refused = {
            "total": self.all.refused,
            "visitors": self.visitors.refused,
            "streams": self.streams.refused,
            "pace": self._too_fast,
        }
        return {
            f'pons_portal_requests{{inbound="{inbound}"}}': float(self.all.taken),
            f'pons_portal_streams{{inbound="{inbound}"}}': float(self.streams.taken),
            **{
                f'pons_portal_refused_total{{inbound="{inbound}",limit="{limit}"}}': float(number)
                for limit, number in refused.items()
            },
        }
