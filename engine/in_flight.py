"""Bytes in flight: what has landed and is not recorded yet, limited over all ways in and fair between sites.

Enter: a site that wants to land an instance. Leaves: a place for it, at once or within a moment, or Busy.
How large an instance will be is not known when it begins, so the limit closes the door to new ones and
never breaks off one that is under way. A site that holds less than its share goes first: the last quarter
of the limit is for such sites alone, so that one which sends all that it can never shuts out another.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, TypeVar

from engine.errors import Busy
from engine.settings import size_text

logger = logging.getLogger("pons.in_flight")

PATIENCE = 2.0  # seconds that a new landing waits
FIRST = 1 << 19  # bytes that a landing counts for at least, so that many which begin at once are seen
_STALE = 0.005  # seconds after which they are added up anew, while there is plenty of room
_SINCE = 64 << 20  # bytes: more than may arrive in that time


class Sized(Protocol):
    """What has landed so far."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...


Held = TypeVar("Held", bound=Sized)


def goes(total: int, held: int, sites: int, limit: int) -> bool:
    """Whether a site may begin another landing.

    Args:
        total: bytes in flight.
        held: those of this site.
        sites: how many have some, or wait.
    """
    if total < limit - limit // 4:
        return True
    return total < limit and held < limit // max(2, sites)


class Place:
    """Room for one instance, from before its landing until it is recorded or discarded."""

    def __init__(self, flight: InFlight, site: str) -> None:
        self.site = site
        self._flight = flight
        self._landing: Sized | None = None
        self._granted: Future[None] | None = None  # where it had to wait

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return FIRST if self._landing is None else max(FIRST, self._landing.size)

    def holds(self, landing: Held) -> Held:
        """This is the landing that it is for."""
        self._landing = landing
        return landing

    def leave(self) -> None:
        """The instance is recorded or discarded; harmless when repeated."""
        self._flight.left(self)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class InFlight:
    """One for the process; for any thread."""

    def __init__(self, limit: int = sys.maxsize, patience: float = PATIENCE) -> None:
        self.limit = limit
        self._limits = {"max_bytes_in_flight": size_text(limit)}
        self._patience = patience
        self._lock = threading.Lock()
        self._places: set[Place] = set()
        self._waiting: list[Place] = []
        self._refused = 0
        self._sum, self._summed_at = 0, 0.0  # of what the places held then, and what has begun since

    def take(self, site: str) -> Place:
        """A place for one instance of a site; blocks for the patience, then raises Busy."""
        place, granted = self._ask(site)
        if granted is not None:
            try:
                granted.result(self._patience)
            except TimeoutError:
                self._give_up(place)
        return place

    async def take_soon(self, site: str, *, patient: bool = True) -> Place:
        """The same on an event loop; without patience it raises Busy at once."""
        place, granted = self._ask(site)
        if granted is None:
            return place
        try:
            async with asyncio.timeout(self._patience if patient else 0):
                await asyncio.shield(asyncio.wrap_future(granted))
        except TimeoutError:
            self._give_up(place, is_told=patient)
        except asyncio.CancelledError:
            place.leave()
            raise
        return place

    def measured(self) -> dict[str, float]:
        """Samples for `/metrics`."""
        with self._lock:
            return {
                "pons_intake_bytes_in_flight": float(self._add_up()),
                "pons_intake_waiting": float(len(self._waiting)),
                'pons_intake_refused_total{reason="in_flight"}': float(self._refused),
            }

    def _ask(self, site: str) -> tuple[Place, Future[None] | None]:
        place = Place(self, site)
        with self._lock:
            if not self._waiting and self._is_calm():  # as nearly always: nothing more to find out
                self._places.add(place)
                self._sum += FIRST
                return place, None
            granted = place._granted = Future()
            self._waiting.append(place)
            self._grant()
        return place, granted

    def _is_calm(self) -> bool:
        """Whether there is room for anybody; a thousand places are not added up for every instance."""
        if time.monotonic() - self._summed_at > _STALE:
            self._add_up()
        return self._sum + _SINCE < self.limit - self.limit // 4

    def _add_up(self) -> int:
        self._sum, self._summed_at = sum(place.size for place in self._places), time.monotonic()
        return self._sum

    def _give_up(self, place: Place, *, is_told: bool = True) -> None:
        """Raise Busy, unless it has been granted at the last moment."""
        with self._lock:
            if place not in self._waiting:
                return
            self._waiting.remove(place)
            self._refused += 1
            held = self._held()
        if is_told:
            facts = {"site": place.site, "bytes": held.total(), "of_this_site": held[place.site]}
            logger.warning("instance refused: too much in flight", extra={"pons": facts | self._limits})
        raise Busy("too much is on its way in at this moment")

    def left(self, place: Place) -> None:
        """A place is not needed any more, or not wanted any more."""
        with self._lock:
            self._places.discard(place)
            if place in self._waiting:
                self._waiting.remove(place)
            if self._waiting:
                self._grant()

    def _held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for place in self._places:
            held[place.site] += place.size
        return held

    def _grant(self) -> None:
        """Let in who waits, those first that hold least."""
        held = self._held()
        sites = len(held.keys() | {place.site for place in self._waiting})
        while self._waiting:
            place = min(self._waiting, key=lambda one: held[one.site])
            if not goes(held.total(), held[place.site], sites, self.limit):
                return
            self._waiting.remove(place)
            self._places.add(place)
            held[place.site] += place.size
            self._sum += place.size
            if place._granted is not None:
                place._granted.set_result(None)
