"""What the engine knows of the tunnels: read from what `pons tunnel watch` writes down, told to machines.

Enter: `status.json` in the tunnel's folder, the sites with deliveries that wait. Leave: samples for the
metrics, a reason where the engine is not ready, and an alarm in the log when a site that has something to get
has not been heard for three minutes, and when it is heard again. The engine itself needs no right on the
network for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from engine.clock import Clock
from engine.errors import DatabaseUnavailable
from engine.store.database import Database
from engine.store.tables import deliveries, studies

logger = logging.getLogger("pons.tunnel")

EVERY = 5.0  # seconds between two looks
STALE = 60.0  # seconds after which what was written down says nothing any more


@dataclass(frozen=True, slots=True)
class SiteHealth:
    """One site's tunnel as it was written down."""

    site: str
    alive: bool
    last_handshake: float
    rx_bytes: int
    tx_bytes: int


def read_status(file: Path) -> tuple[float, list[SiteHealth]]:
    """When it was written (seconds) and what; 0 and nothing where it cannot be read."""
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        sites = [
            SiteHealth(
                str(one["site"]),
                bool(one["alive"]),
                float(one["last_handshake"]),
                int(one["rx_bytes"]),
                int(one["tx_bytes"]),
            )
            for one in document["sites"]
        ]
        return float(document["at"]), sites
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, []


def waiting_by_site(connection: Connection) -> dict[str, int]:
    """Deliveries that wait to go out, counted by the site they go to."""
    rows = connection.execute(
        select(studies.c.site, func.count().label("n"))
        .join(deliveries, deliveries.c.study_id == studies.c.id)
        .where(deliveries.c.state == "queued")
        .group_by(studies.c.site)
    )
    return {row.site: row.n for row in rows}


class TunnelWatch:
    """Looks every few seconds."""

    def __init__(self, file: Path, database: Database, clock: Clock) -> None:
        self._file = file
        self._database = database
        self._clock = clock
        self._alarmed: set[str] = set()
        self._at = 0.0
        self._sites: list[SiteHealth] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Read, compare, and raise or end alarms."""
        self._at, self._sites = await asyncio.to_thread(read_status, self._file)
        try:
            waiting = await self._database.read(waiting_by_site)
        except DatabaseUnavailable:
            return
        down = {one.site for one in self._sites if not one.alive and waiting.get(one.site)}
        for site in sorted(down - self._alarmed):
            facts = {"site": site, "count": waiting[site]}
            logger.error("tunnel down while deliveries wait", extra={"pons": facts})
        for site in sorted(self._alarmed - down):
            logger.info("tunnel up again, or nothing waits any more", extra={"pons": {"site": site}})
        self._alarmed = down

    @property
    def reasons(self) -> list[str]:
        """What is wrong, for `/readyz`; a site that is down keeps nobody else from being served."""
        if self._at and self._clock.now() - self._at <= STALE:
            return []
        return ["the tunnels' service has not been heard: is `pons tunnel watch` running?"]

    def measured(self) -> dict[str, float]:
        """Samples for `/metrics`."""
        now = self._clock.now()
        samples: dict[str, float] = {"pons_tunnel_status_age_seconds": max(0.0, now - self._at)}
        for one in self._sites:
            label = f'{{site="{one.site}"}}'
            samples[f"pons_tunnel_alive{label}"] = float(one.alive)
            samples[f"pons_tunnel_alarm{label}"] = float(one.site in self._alarmed)
            samples[f"pons_tunnel_received_bytes{label}"] = float(one.rx_bytes)
            samples[f"pons_tunnel_sent_bytes{label}"] = float(one.tx_bytes)
            if one.last_handshake:
                samples[f"pons_tunnel_handshake_age_seconds{label}"] = max(0.0, now - one.last_handshake)
        return samples
