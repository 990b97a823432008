"""Whether the database answers: asked once a second, so that nobody else has to wait to find out.

A database that is away makes intake refuse at once (A700, 503) instead of after seconds of trying, and
`/readyz` say so; both are over as soon as it answers again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import DatabaseUnavailable
from engine.store.database import Database

logger = logging.getLogger("pons.store")

EVERY = 1.0  # seconds between two questions
PATIENCE = 5.0  # seconds that an answer may take: a machine may be busy
REASON = "the database does not answer: instances are refused until it does"


class DatabaseWatch:
    """What is known of a database at this moment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked_at: float | None = None
        self._failed = False
        self._told = True

    @property
    def available(self) -> bool:
        """Whether it answers, as far as is known; from any thread."""
        asked_at = self._asked_at
        return not self._failed and (asked_at is None or time.monotonic() - asked_at < PATIENCE)

    @property
    def reasons(self) -> list[str]:
        """Why the database keeps instances out; empty when it does not."""
        return [] if self.available else [REASON]

    async def run(self) -> None:
        """Ask until cancelled."""
        # A thread of its own: those of the database may all be waiting for it.
        with ThreadPoolExecutor(1, thread_name_prefix="pons-watch") as thread:
            while True:
                await self._ask(thread)
                self._tell()
                await asyncio.sleep(EVERY)

    async def _ask(self, thread: ThreadPoolExecutor) -> None:
        self._asked_at = time.monotonic()
        asking = asyncio.get_running_loop().run_in_executor(
            thread, self._database.read_now, lambda c: c.execute(select(1)).scalar_one()
        )
        try:
            done, _ = await asyncio.wait([asking], timeout=PATIENCE)
            if not done:
                self._tell()
            await asking
            self._failed = False
        except (DatabaseUnavailable, SQLAlchemyError):
            self._failed = True
        finally:
            self._asked_at = None

    def _tell(self) -> None:
        if self.available == self._told:
            return
        self._told = self.available
        if self._told:
            logger.warning("the database answers again: instances are taken in")
        else:
            logger.error("the database does not answer: instances are refused")
