"""What changes about orders, for every page that is kept up to date.

Enter: who listens. Leaves: changes, as they are committed. The database is asked once a second for all
listeners together, and not at all while there is none. A listener that reads too slowly is told that it
missed something instead of being waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from channels.inbound.portal.failure import PageRaised
from engine.channel import OrderDesk
from engine.errors import PonsError
from engine.model import OrderChange

logger = logging.getLogger("pons.portal")

EVERY = 1.0  # seconds between two looks
OVERLAP = timedelta(seconds=10)  # a transaction may end so much later than one that began after it
BEHIND = 50  # looks that a listener may be behind
PER_PERSON = 12  # pages of one person that are kept up to date at once
SOME = 1000  # changes of one look


@dataclass(eq=False, slots=True)
class Listener:
    """Somebody whose page is kept up to date."""

    news: asyncio.Queue[Sequence[OrderChange] | None] = field(
        default_factory=lambda: asyncio.Queue(BEHIND)
    )  # None: it is over
    missed: bool = False

    def tell(self, news: Sequence[OrderChange] | None) -> None:
        """Never waits."""
        if self.news.full():
            self.missed = True
            while not self.news.empty():
                self.news.get_nowait()
        self.news.put_nowait(news)


class Changes:
    """Follows the orders of every site for all who listen; lives on the event loop."""

    def __init__(self, orders: OrderDesk, every: float = EVERY) -> None:
        self._orders = orders
        self._every = every
        self._listeners: set[Listener] = set()
        self._of_person: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self._seen: dict[str, OrderChange] = {}
        self._since: datetime | None = None  # of the store's clock, which need not be this machine's

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Entered: changes are told. Left: every stream has been ended."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for listener in self._listeners:
                listener.tell(None)

    @contextlib.contextmanager
    def listening(self, person_id: str) -> Iterator[Listener]:
        """Hear of every change while entered; PageRaised where one person has too many pages open."""
        if self._of_person[person_id] >= PER_PERSON:
            said = f"{PER_PERSON} of your pages are kept up to date already; close some, or reload this one"
            raise PageRaised(503, said, {"Retry-After": "30"})
        listener = Listener()
        self._of_person[person_id] += 1
        self._listeners.add(listener)
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._of_person[person_id] -= 1
            self._of_person += Counter()  # forgets who has none

    async def _follow(self) -> None:
        while True:
            if not self._listeners:
                self._wanted.clear()
                self._seen.clear()
                await self._wanted.wait()
                self._since = None
            try:
                news = await self.look()
            except PonsError as error:  # the database is away: pages stay as they are until it is back
                logger.warning("changes cannot be followed", extra={"pons": {"reason": str(error)}})
                news = []
            if news:
                for listener in self._listeners:
                    listener.tell(news)
            await asyncio.sleep(self._every)

    async def look(self) -> list[OrderChange]:
        """What has changed and was not told before."""
        if self._since is None:
            latest = await self._orders.changes(None, limit=1)
            self._since = latest[-1].updated_at if latest else datetime.fromtimestamp(60, UTC)
        limit = SOME
        while True:
            found = await self._orders.changes(self._since - OVERLAP, limit=limit)
            if len(found) < limit:
                break
            limit *= 4  # many at once, as when a destination is back: all of them count
        news = [one for one in found if self._version(one.order_id) < one.version]
        self._seen.update((one.order_id, one) for one in news)
        if found:
            self._since = max(self._since, found[-1].updated_at)
        oldest = self._since - 2 * OVERLAP
        self._seen = {key: one for key, one in self._seen.items() if one.updated_at > oldest}
        return news

    def _version(self, order_id: str) -> int:
        seen = self._seen.get(order_id)
        return 0 if seen is None else seen.version
