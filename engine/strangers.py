"""Peers that were turned away: counted at once, on the audit trail soon after.

Enter: who knocked and what did not match, from any thread. Leave: samples for the metrics, and one
audit event for each kind of knock in a few seconds, with how often: whoever knocks a thousand times a
second fills neither the trail nor the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import DatabaseUnavailable
from engine.store.database import Database

EVERY = 5.0  # seconds between two entries on the trail
MOST = 200  # kinds of knock between two entries; more than that is one flood


@dataclass(frozen=True, slots=True)
class Knock:
    """A peer that was turned away, and why."""

    inbound: str
    unknown: str  # address | calling_ae_title | called_ae_title | ambiguous | site
    remote_address: str
    calling_ae_title: str = ""
    called_ae_title: str = ""


class Strangers:
    """Remembers who was turned away since this process began."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._untold: Counter[Knock] = Counter()

    def note(self, knock: Knock) -> None:
        """From any thread; returns at once."""
        with self._lock:
            self._counts[knock.inbound, knock.unknown] += 1
            if knock not in self._untold and len(self._untold) >= MOST:
                knock = Knock(knock.inbound, knock.unknown, "many addresses")
            self._untold[knock] += 1

    async def run(self) -> None:
        """Put what was noted on the trail, until cancelled; what is left then too."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self.tell()
        finally:
            await self.tell()

    async def tell(self) -> None:
        """Write down what was noted since the last time; kept for the next where that fails."""
        with self._lock:
            told, self._untold = self._untold, Counter()
        if not told:
            return
        now = self._clock.now()

        def work(connection: Connection) -> None:
            for knock, times in told.items():
                append_event(
                    connection,
                    now,
                    actor=knock.remote_address,
                    action="peer turned away",
                    subject=f"inbound {knock.inbound}",
                    detail={
                        "unknown": knock.unknown,
                        "calling_ae_title": knock.calling_ae_title,
                        "called_ae_title": knock.called_ae_title,
                        "times": times,
                    },
                )

        try:
            await self._database.write(work)
        except DatabaseUnavailable:
            with self._lock:
                self._untold.update(told)

    def measured(self) -> dict[str, float]:
        """Samples for `/metrics`."""
        with self._lock:
            counts = dict(self._counts)
        return {
            f'pons_peers_turned_away_total{{inbound="{inbound}",unknown="{unknown}"}}': float(count)
            for (inbound, unknown), count in counts.items()
        }
