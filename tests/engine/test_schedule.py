"""Only at night: runs and deliveries of studies start in the hours of their route, and only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert

from engine.intake import DurableIntake
from engine.outlook import waits
from engine.route import RouteOutcome, Sending, outcome_to_json
from engine.schedule import next_opening, of_study_delivery, within_hours
from engine.store import lanes, look, scheduled
from engine.store.clock_set_back import bring_back
from engine.store.database import Database
from engine.store.tables import attempts, decisions, deliveries, jobs
from engine.story import tell
from tests.engine.conftest import HandClock
from tests.engine.post_house import Peer, Post, peers, until
from tests.engine.processing_rig import TABLE, Rig, writes

ZURICH = ZoneInfo("Europe/Zurich")
NIGHT = ("daily 23:00-05:00",)
AT_NIGHT = TABLE.replace(
    "    process: model\n", "    process: model\n    schedule: daily 23:00-05:00\n"
).replace("{name: St. Mary's,", "{name: St. Mary's, timezone: Europe/Zurich,")


def seconds(moment: str) -> float:
    """A moment on the wall of the site."""
    return datetime.fromisoformat(moment).replace(tzinfo=ZURICH).timestamp()


def test_an_opening_says_what_is_waited_for_and_until_when() -> None:
    opening = next_opening(("daily 20:00-06:00", "sat,sun 06:00-20:00"), seconds("2026-05-04T12:00"), ZURICH)
    assert opening is not None
    assert opening.at == seconds("2026-05-04T20:00")
    assert opening.reason == (
        "waits for daily 20:00-06:00 or sat,sun 06:00-20:00 (opens 2026-05-04T20:00+02:00)"
    )
    assert next_opening((), 0.0, ZURICH) is None


def test_a_study_goes_in_the_hours_of_the_first_route_that_sends_it() -> None:
    def outcome(name: str, *schedule: str, shadow: bool = False, hit: bool = True) -> RouteOutcome:
        return RouteOutcome(
            name, "t:1:1", hit, "", shadow=shadow, deliver=(Sending("archive"),), schedule=schedule
        )

    night, day = outcome("night", *NIGHT), outcome("day")
    missed = outcome("missed", "daily 01:00-02:00", hit=False)
    shadow = outcome("shadow", "daily 02:00-03:00", shadow=True)
    assert of_study_delivery((missed, shadow, night, day), "archive") == NIGHT
    assert of_study_delivery((day, night), "archive") == ()
    assert of_study_delivery((night,), "elsewhere") == ()


# ── runs ────────────────────────────────────────────────────────────────────────────────────────


Decided = Callable[..., Awaitable[Rig]]


@pytest.fixture
def decided(
    rig: Callable[..., Rig],
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
    clock: HandClock,
) -> Decided:
    """A function that takes in a study at a moment on the wall of its site, and has it decided."""

    async def decide(moment: str, table: str = AT_NIGHT) -> Rig:
        clock.time = seconds(moment)
        made = rig(writes(), table)
        await intake.accept(arrive(instance()))
        await made.close()
        return made

    return decide


@pytest.fixture
async def by_night(decided: Decided) -> Rig:
    """A study that is decided at noon by a route that goes on at night."""
    return await decided("2026-05-04T12:00")


async def test_a_run_starts_when_its_window_opens(by_night: Rig, clock: HandClock) -> None:
    assert not await by_night.run()
    (job,) = by_night.rows(jobs)
    assert (job.state, job.attempts, job.due_at) == ("queued", 0, seconds("2026-05-04T23:00"))
    assert job.detail == "waits for daily 23:00-05:00 (opens 2026-05-04T23:00+02:00)"
    clock.time = seconds("2026-05-04T22:59:59")
    assert not await by_night.run()
    clock.time = seconds("2026-05-04T23:00")
    assert await by_night.run()
    assert [row.state for row in by_night.rows(jobs)] == ["done"]


async def test_a_run_that_comes_to_its_turn_in_the_morning_waits_for_the_next_night(
    by_night: Rig, clock: HandClock
) -> None:
    await by_night.claim()
    clock.time = seconds("2026-05-05T05:00")  # no engine ran all night
    assert not await by_night.run()
    (job,) = by_night.rows(jobs)
    assert (job.state, job.due_at) == ("queued", seconds("2026-05-05T23:00"))


async def test_a_run_that_has_begun_goes_on_after_its_window(by_night: Rig, clock: HandClock) -> None:
    clock.time = seconds("2026-05-05T04:59:59")
    job = await by_night.claim()
    clock.time = seconds("2026-05-05T05:30")
    await by_night.processing.run_job(job)
    assert [row.state for row in by_night.rows(jobs)] == ["done"]
    # What comes of it goes out at once: the hours are those of the run.
    assert by_night.queued()["ris"] == ["archive"]


async def test_a_run_that_its_engine_did_not_survive_begins_anew_at_night(
    by_night: Rig, clock: HandClock
) -> None:
    clock.time = seconds("2026-05-05T04:59:59")
    await by_night.claim()
    clock.time = seconds("2026-05-05T06:00")  # its lease has ended
    assert await by_night.claim() is None
    (job,) = by_night.rows(jobs)
    assert (job.state, job.crashes, job.due_at) == ("queued", 1, seconds("2026-05-05T23:00"))


async def test_routes_with_hours_of_their_own_share_no_run(decided: Decided) -> None:
    more = "  - {name: now, match: {site: st-marys}, process: model, deliver: [ris]}\n"
    table = AT_NIGHT.replace("  - {name: nothing matched", f"{more}  - {{name: nothing matched")
    made = await decided("2026-05-04T12:00", table)
    assert await made.run()
    assert not await made.run()
    assert sorted(row.state for row in made.rows(jobs)) == ["done", "queued"]


# ── deliveries of studies ───────────────────────────────────────────────────────────────────────


def the_delivery(made: Rig) -> Any:
    (row,) = (row for row in made.rows(deliveries) if row.state != "superseded")
    return row


async def test_a_study_waits_outside_its_lane_until_the_window_opens(by_night: Rig, clock: HandClock) -> None:
    row = the_delivery(by_night)
    assert (row.state, row.not_before) == ("waiting", seconds("2026-05-04T23:00"))
    assert row.reason == "waits for daily 23:00-05:00 (opens 2026-05-04T23:00+02:00)"
    assert by_night.database.read_now(scheduled.next_due) == row.not_before
    clock.time = seconds("2026-05-04T23:00")
    for _ in range(2):  # a second engine finds that it is done
        by_night.database.write_now(lambda c: scheduled.release_due(c, clock.time))
    row = the_delivery(by_night)
    assert (row.state, row.reason, row.age_from) == ("queued", "", clock.time)
    assert by_night.database.read_now(scheduled.next_due) is None


async def test_a_newer_revision_takes_its_place_meanwhile(
    by_night: Rig,
    intake: DurableIntake,
    instance: Callable[..., bytes],
    arrive: Callable[..., Any],
    clock: HandClock,
) -> None:
    clock.time = seconds("2026-05-04T18:00")
    await intake.accept(arrive(instance(2)))
    await by_night.close()
    clock.time = seconds("2026-05-04T23:00")
    by_night.database.write_now(lambda c: scheduled.release_due(c, clock.time))
    states = [(row.study_revision, row.state) for row in by_night.rows(deliveries)]
    assert states == [(1, "superseded"), (2, "queued")]


def take(made: Rig, now: float) -> list[lanes.Claim]:
    """What a dispatch would take for the archive."""

    def work(connection: Any) -> list[lanes.Claim]:
        claims = lanes.claim(connection, "archive", "n1", now, 60.0, 9)
        return within_hours(connection, claims, now, ZURICH)

    return made.database.write_now(work)


async def test_a_study_whose_turn_comes_in_the_morning_waits_for_the_next_night(
    by_night: Rig, clock: HandClock
) -> None:
    night, morning = seconds("2026-05-04T23:00"), seconds("2026-05-05T05:00")
    by_night.database.write_now(lambda c: scheduled.release_due(c, night))
    assert take(by_night, morning) == []
    row = the_delivery(by_night)
    assert (row.state, row.attempts, row.not_before) == ("waiting", 0, seconds("2026-05-05T23:00"))
    assert by_night.rows(attempts) == [], "it was not tried"
    by_night.database.write_now(lambda c: scheduled.release_due(c, row.not_before))
    (claimed,) = take(by_night, row.not_before)
    assert (claimed.delivery.delivery_id, claimed.attempt) == (row.delivery_id, 1)


async def test_a_study_that_is_decided_at_night_keeps_to_its_hours_too(decided: Decided) -> None:
    """The queue may be long: what has not gone out by the morning waits."""
    made = await decided("2026-05-05T04:00")
    assert the_delivery(made).state == "queued"
    assert take(made, seconds("2026-05-05T05:10")) == []
    assert the_delivery(made).not_before == seconds("2026-05-05T23:00")


async def test_a_clock_that_was_set_back_strands_nothing(by_night: Rig, clock: HandClock) -> None:
    """Decided by a clock that ran a year ahead: the true night comes first."""
    now = clock.time - 365 * 86400
    by_night.database.write_now(lambda c: bring_back(c, now, 60.0))
    assert the_delivery(by_night).not_before == now
    by_night.database.write_now(lambda c: scheduled.release_due(c, now))
    assert take(by_night, now) == []
    assert the_delivery(by_night).not_before == seconds("2025-05-04T23:00")


async def test_one_that_also_waits_for_another_goes_when_both_are_there(decided: Decided) -> None:
    table = AT_NIGHT.replace("      - archive\n", "      - mirror\n      - {to: archive, after: [mirror]}\n")
    mirror = "  mirror: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 105, ae_title: M}\n"
    table = table.replace("routes:\n", f"{mirror}routes:\n")
    made = await decided("2026-05-04T12:00", table)
    by_name = {row.destination: row for row in made.rows(deliveries)}
    assert waits(by_name["archive"], {}) == (
        "waits for mirror; and waits for daily 23:00-05:00 (opens 2026-05-04T23:00+02:00)"
    )
    night = seconds("2026-05-04T23:00")
    made.database.write_now(lambda c: scheduled.release_due(c, night))
    states = {row.destination: row.state for row in made.rows(deliveries)}
    assert states == {"mirror": "queued", "archive": "waiting"}

    def acknowledge(connection: Any) -> None:
        (one,) = lanes.claim(connection, "mirror", "n1", night, 60.0, 9)
        lanes.settle(connection, [lanes.Settlement(one, "delivered")], night)

    made.database.write_now(acknowledge)
    assert {row.destination: row.state for row in made.rows(deliveries)}["archive"] == "queued"


async def test_the_story_says_what_is_waited_for(by_night: Rig, clock: HandClock) -> None:
    await by_night.claim()

    def story(connection: Any) -> list[str]:
        (study,) = look.list_studies(connection, site=None, uid=None, limit=9)
        return [event.text for event in tell(connection, study)]

    told = by_night.database.read_now(story)
    until = "waits for daily 23:00-05:00 (opens 2026-05-04T23:00+02:00)"
    assert f"model queued, 0 runs so far: {until}" in told
    assert any(text.startswith("archive") and text.endswith(f": {until}") for text in told)
    assert any(text.endswith("Modality MR; goes on daily 23:00-05:00") for text in told)


# ── the dispatch ────────────────────────────────────────────────────────────────────────────────


async def test_a_dispatch_sends_when_the_window_opens_and_not_before(
    tmp_path: Path, database: Database, clock: HandClock
) -> None:
    clock.time = seconds("2026-05-04T22:59")
    async with peers(peer := Peer()):
        post = Post(tmp_path, database, clock, {"archive": peer.port})
        outcome = RouteOutcome("r", "t:1:1", True, "", deliver=(Sending("archive"),), schedule=NIGHT)
        decision = {"table_version": "v", "outcomes": [outcome_to_json(outcome)]}
        row = {"study_id": 1, "revision": 1, "table_version": "v", "decided_at": 0.0, "decision": decision}
        database.write_now(lambda c: c.execute(insert(decisions).values(row)))
        later, reason = next_opening(NIGHT, clock.time, ZURICH) or (0.0, "")
        post.queue("archive", "late", not_before=later, reason=reason)
        post.queue("archive", "at-once")
        async with post.running():
            await until(lambda: peer.received == ["at-once"], "one message")
            assert post.states("archive")["late"] == "waiting"
            clock.time = later
            await until(lambda: peer.received == ["at-once", "late"], "both messages")
            await until(lambda: post.states("archive")["late"] == "delivered", "its acknowledgement")
