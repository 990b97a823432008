"""Instances become stable study revisions.

A study is stable when nothing arrived for `stable_after` and no association or request that sent
to it is still open; after `force_after` it is closed whatever is open, so that a sender that never
hangs up cannot hold a study for ever. A late instance opens the next revision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.clock import Clock
from engine.errors import DatabaseUnavailable
from engine.open_sessions import OpenSessions
from engine.store import studies
from engine.store.database import Database

logger = logging.getLogger("pons.assembly")


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a study counts as stable; seconds."""

    stable_after: float
    force_after: float
    on_late: Literal["rerun", "hold", "ignore"]


def why_stable(policy: Quiet, *, now: float, last_at: float, opened_at: float, held_open: bool) -> str | None:
    """The reason to close a study now, for people; None while it is not stable. Pure."""
    if now - opened_at >= policy.force_after:
        return f"open for {policy.force_after:g} s, closed by force_after"
    if now - last_at >= policy.stable_after and not held_open:
        return f"quiet for {policy.stable_after:g} s and no association or request open"
    return None


class Assembly:
    """Closes revisions as they become stable."""

    def __init__(
        self,
        database: Database,
        sessions: OpenSessions,
        clock: Clock,
        policy: Quiet,
        on_closed: Callable[[], None],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._clock = clock
        self._policy = policy
        self._on_closed = on_closed

    def take(self, policy: Quiet) -> None:
        """Another policy, from the next look on."""
        self._policy = policy

    async def run(self) -> None:
        """Look for stable studies until cancelled."""
        while True:
            try:
                await self.close_stable()
            except DatabaseUnavailable as error:
                logger.warning("the database is away; trying again", extra={"pons": {"reason": str(error)}})
            except Exception:
                logger.exception("closing stable studies failed; trying again")
            await asyncio.sleep(min(1.0, max(0.05, self._policy.stable_after / 4)))

    async def close_stable(self) -> int:
        """Close what is stable now; returns how many revisions were closed."""
        now, policy = self._clock.now(), self._policy
        candidates = await self._database.read(
            lambda c: studies.quiet_studies(c, now - policy.stable_after, now - policy.force_after)
        )
        held = await self._sessions.holding([study.id for study in candidates])
        closed = 0
        for study in candidates:
            why = why_stable(
                policy,
                now=now,
                last_at=study.last_at,
                opened_at=study.opened_at,
                held_open=study.id in held,
            )
            if why is not None and await self._close(study.id, study.last_at, now, why):
                closed += 1
        if closed:
            self._on_closed()
        return closed

    async def _close(self, study_id: int, last_at: float, now: float, why: str) -> bool:
        revision = await self._database.write(
            lambda c: studies.close_revision(
                c, study_id, now, why, on_late=self._policy.on_late, last_at=last_at
            )
        )
        if revision is not None:
            logger.info("study stable", extra={"pons": {"study": study_id, "revision": revision, "why": why}})
        return revision is not None
