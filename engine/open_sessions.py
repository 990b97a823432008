"""Which studies an open association or request has sent to, and so holds open.

Enter: each instance that a session sends, and the session's end. Leave: whether a study may be stable.
Of several engines on one database each tells the others in rows (`engine.store.holders`): whichever of
them finds the study quiet must not close it while another still receives it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import Connection

from engine.clock import Clock
from engine.errors import DatabaseUnavailable
from engine.store import holders
from engine.store.database import Database

logger = logging.getLogger("pons.open_sessions")

LOOK = 0.5  # seconds between two looks at which sessions have ended


class OpenSessions:
    """The sessions of this process; told to the others where there are others."""

    def __init__(self, database: Database, clock: Clock, *, node: str, lease: float) -> None:
        """
        Args:
            node: this process among those that share the database.
            lease: seconds that what it holds stays held when it falls silent.
        """
        self._database = database
        self._clock = clock
        self._node = node
        self._lease = lease
        self._lock = threading.Lock()
        self._studies: dict[str, set[int]] = defaultdict(set)
        self._holders: dict[int, int] = defaultdict(int)
        self._told: set[tuple[str, int]] = set()  # sessions and studies of which there is a row
        self._ended: set[str] = set()  # sessions whose rows are still there

    def touch(self, connection: Connection, session: str, study_id: int) -> None:
        """This session has sent an instance of this study; within the transaction that records it."""
        with self._lock:
            if study_id not in self._studies[session]:
                self._studies[session].add(study_id)
                self._holders[study_id] += 1
            told = (session, study_id) in self._told
        if self._database.shared and not told:
            holders.hold(connection, study_id, session, self._node, self._clock.now() + self._lease)

    def recorded(self, session: str, study_id: int) -> None:
        """The transaction of a `touch` is committed."""
        if not self._database.shared:
            return
        with self._lock:
            if study_id in self._studies.get(session, ()):
                self._told.add((session, study_id))
            else:
                self._ended.add(session)  # it was over before its row was there

    def leave(self, session: str) -> None:
        """The session is over; from any thread, harmless when repeated."""
        with self._lock:
            for study_id in self._studies.pop(session, ()):
                self._told.discard((session, study_id))
                if self._database.shared:
                    self._ended.add(session)
                self._holders[study_id] -= 1
                if not self._holders[study_id]:
                    del self._holders[study_id]

    async def holding(self, study_ids: Collection[int]) -> set[int]:
        """Those of the studies to which a session that is still open has sent, here or elsewhere."""
        with self._lock:
            here = {one for one in study_ids if one in self._holders}
        if not self._database.shared:
            return here
        others = [one for one in study_ids if one not in here]
        now = self._clock.now()
        return here | await self._database.read(lambda c: holders.held(c, others, now))

    async def run(self) -> None:
        """Keep what is told to the others true, until cancelled; with nobody to tell, at once."""
        if not self._database.shared:
            return
        try:
            while True:
                for _ in range(max(1, round(self._lease / 3 / LOOK))):
                    await asyncio.sleep(LOOK)
                    await self._insist(self.tell_ends)
                await self._insist(self.renew)
        finally:
            await self._insist(self._let_go_of_all)

    async def tell_ends(self) -> None:
        """Remove the rows of sessions that have ended."""
        with self._lock:
            ended = set(self._ended)
        if ended:
            await self._database.write(lambda c: holders.let_go(c, ended))
            with self._lock:
                self._ended -= ended

    async def renew(self) -> None:
        """Hold on for another lease; what engines held that are long gone is forgotten."""
        now = self._clock.now()

        def renew(connection: Connection) -> None:
            holders.renew(connection, self._node, now + self._lease)
            holders.forget(connection, now - self._lease)

        await self._database.write(renew)

    async def _let_go_of_all(self) -> None:
        await self._database.write(lambda c: holders.let_go_of_all(c, self._node))

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, or at the next look: a database that is away lets nobody close a study either."""
        try:
            await work()
        except DatabaseUnavailable as error:
            logger.warning("the database is away; trying again", extra={"pons": {"reason": str(error)}})
