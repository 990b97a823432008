"""Only at night: the hours in which a route's runs and deliveries of studies start.

Enter: the `schedule:` that a decision carries, a moment, the time zone of the site. Leave: when the next
window opens and what is said meanwhile; deliveries that are due are put into their lanes.

What is decided is decided at once. A run whose hours have not come is given a later due time when it would
be claimed (`engine.store.work`); a delivery waits outside its lane and comes back when its window opens. One
that comes to its turn when the window has closed again waits for the next: a long queue is not worked off
in the morning. What has begun goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.clock import Clock, at
from engine.errors import DatabaseUnavailable
from engine.model import Site
from engine.route import RouteOutcome, decision_from_json
from engine.store import lanes, scheduled, studies, work
from engine.store.database import Database
from engine.window import opens_at, parse_window

logger = logging.getLogger("pons.schedule")

UTC = ZoneInfo("UTC")
IDLE = 2.0  # seconds between looks for what is due


class Opening(NamedTuple):
    """When a window opens that something waits for."""

    at: float  # seconds
    reason: str  # "waits for daily 20:00-06:00 (opens 2026-05-04T20:00+02:00)"


def next_opening(schedule: Sequence[str], now: float, zone: ZoneInfo) -> Opening | None:
    """The opening that something waits for; None when it may start now."""
    opens = opens_at([parse_window(window) for window in schedule], at(now), zone)
    if opens is None:
        return None
    local = opens.astimezone(zone).isoformat(timespec="minutes")
    return Opening(opens.timestamp(), f"waits for {' or '.join(schedule)} (opens {local})")


def waits_for(schedule: Sequence[str], now: float, zone: ZoneInfo) -> dict[str, Any]:
    """The columns of a delivery that keeps to a schedule: it may go out now, or from an opening on."""
    opening = next_opening(schedule, now, zone)
    if opening is not None:
        return {"not_before": opening.at, "reason": opening.reason}
    return {"not_before": now if schedule else None}


def zone_of(sites: Mapping[str, Site], site: str) -> ZoneInfo:
    """The time zone of a site; UTC for one that the table has no longer."""
    return ZoneInfo(sites[site].timezone) if site in sites else UTC


def opening_of_job(sites: Mapping[str, Site], now: float) -> Callable[[Connection, Any], Opening | None]:
    """What `engine.store.work.claim_job` asks of each job: when its hours come, None when they are there."""

    def opening(connection: Connection, job: Any) -> Opening | None:
        schedule = job.outcomes[0].get("schedule")  # those that share a run have the same
        if not schedule:
            return None
        return next_opening(schedule, now, zone_of(sites, studies.study(connection, job.study_id).site))

    return opening


def of_study_delivery(outcomes: Sequence[RouteOutcome], destination: str) -> tuple[str, ...]:
    """The hours in which a study goes to a destination: those of the first route that sends it there."""
    for outcome in outcomes:
        if outcome.hit and not outcome.shadow and any(one.to == destination for one in outcome.deliver):
            return outcome.schedule
    return ()


def within_hours(
    connection: Connection, claims: Sequence[lanes.Claim], now: float, zone: ZoneInfo
) -> list[lanes.Claim]:
    """Those of some claims that may go out now; the others wait for their next window."""
    going = []
    for claim in claims:
        keeps_hours = claim.delivery.not_before is not None and claim.delivery.result_id is None
        opening = _closed(connection, claim, now, zone) if keeps_hours else None
        if opening is None:
            going.append(claim)
        else:
            scheduled.postpone(connection, claim, opening.at, opening.reason, now)
    return going


def _closed(connection: Connection, claim: lanes.Claim, now: float, zone: ZoneInfo) -> Opening | None:
    row = claim.delivery
    taken = [one for one in work.decisions_of(connection, row.study_id) if one.revision == row.study_revision]
    if not taken:
        return None
    outcomes = decision_from_json(taken[-1].decision).outcomes
    return next_opening(of_study_delivery(outcomes, row.destination), now, zone)


async def open_windows(
    database: Database, clock: Clock, stop: asyncio.Event, on_due: Callable[[], None]
) -> None:
    """Put deliveries into their lanes when their windows open, until ``stop`` is set."""
    while not stop.is_set():
        wait = IDLE
        try:
            due_at = await database.read(scheduled.next_due)
            now = clock.now()
            if due_at is not None and due_at <= now:
                await database.write(partial(scheduled.release_due, now=now))
                on_due()
                continue  # there may be more
            if due_at is not None:
                wait = min(IDLE, due_at - now)
        except DatabaseUnavailable as error:
            logger.warning("the database is away; trying again", extra={"pons": {"reason": str(error)}})
        except Exception:
            logger.exception("opening windows failed; trying again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stop.wait()
