"""The desk of those who look after an engine, on both databases: what they see, what they may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from engine import audit, config
from engine.delivery_model import DeliveryQuery, ReplayQuery
from engine.operations import overview
from engine.operations.desk import Operations
from engine.operations_model import (
    Care,
    OperationRefused,
    OperationRefusedReason,
    TrailQuery,
)
from engine.patient_attributes import SHIELD
from engine.store import work
from engine.store.database import Database
from engine.store.tables import audit_events, deliveries, orders
from tests.engine.conftest import HandClock
from tests.engine.proposal_house import NOW, House

NOT_FOUND, INVALID, CHANGED, REFUSED = (
    OperationRefusedReason.NOT_FOUND,
    OperationRefusedReason.INVALID,
    OperationRefusedReason.CHANGED,
    OperationRefusedReason.REFUSED,
)
MARYS, COUNTY = ("st-marys",), ("county",)
KEY = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.start()
    return made


@pytest.fixture
def desk(house: House, clock: HandClock) -> Operations:
    clock.time = NOW + 100.0
    table = config.load(house.file, surroundings=False)
    return Operations(house.database, clock, house.folder / "data", lambda: table, house.place)


def trail(house: House) -> list[Any]:
    return list(house.database.read_now(lambda c: c.execute(select(audit_events)).all()))


def order(house: House, site: str, state: str, at: float, **values: Any) -> None:
    row = {
        "order_id": f"o{at}", "site": site, "submitter_kind": "channel", "submitter": "pacs", "state": state,
        "overrides": {}, "created_at": at, "updated_at": at, **values,
    }  # fmt: skip
    house.database.write_now(lambda c: c.execute(insert(orders).values(row)))


def refusal(raised: pytest.ExceptionInfo[OperationRefused]) -> OperationRefusedReason:
    return raised.value.reason


# ── how it stands ──


async def test_an_overview_counts_what_is_of_the_sites_that_one_may_see(
    house: House, desk: Operations
) -> None:
    house.study(1)
    house.study(2, site="county")
    house.delivery(1, "ris", "a", "dead")
    house.delivery(1, "ris", "b")
    house.held(2, "us", "ask the radiologist")
    order(house, "st-marys", "failed", NOW, study_id=1)
    order(house, "county", "held", NOW + 1.0, study_id=2)
    every, marys, county = [await desk.overview(sites) for sites in (None, MARYS, COUNTY)]
    assert (every.queued, every.dead, every.held) == (1, 1, 1)
    assert (marys.queued, marys.dead, marys.held) == (1, 1, 0)
    assert (county.queued, county.dead, county.held) == (0, 0, 1)
    assert (dict(every.day), dict(county.day)) == ({"failed": 1, "held": 1}, {"held": 1})
    assert [one.care for one in every.attention] == [Care.DEAD_LETTERS, Care.HOLDS]
    assert [(one.care, one.site) for one in county.attention] == [(Care.HOLDS, "county")]
    assert {one.site for one in marys.recent} == {"st-marys"}
    assert {one.what for one in every.recent} == {"received", "dead", "held"}


async def test_the_last_day_is_told_by_the_hour(house: House, desk: Operations) -> None:
    house.study(1)
    order(house, "st-marys", "delivered", NOW - 3600.0)
    order(house, "st-marys", "delivered", NOW - 3601.0)
    order(house, "st-marys", "delivered", NOW - 25 * 3600.0)
    house.delivery(1, "ris", "a")
    done = update(deliveries).values(state="delivered", finished_at=NOW)
    house.database.write_now(lambda c: c.execute(done))
    hours = (await desk.overview()).hours
    assert len(hours) == overview.HOURS
    assert (hours[-1].delivered, hours[-2].studies, sum(hour.studies for hour in hours)) == (1, 2, 2)
    assert sum(hour.studies for hour in (await desk.overview(COUNTY)).hours) == 0


async def test_what_ails_a_site_or_a_destination_needs_attention(
    house: House, desk: Operations, clock: HandClock
) -> None:
    order(house, "st-marys", "delivered", NOW)
    await desk.pause("ris", actor="person ann", reason="the RIS moves")
    clock.advance(30 * 3600.0)
    found = {one.care: one for one in (await desk.overview(MARYS)).attention}
    assert set(found) == {Care.SILENT, Care.PAUSED}
    assert found[Care.PAUSED].text == "paused by person ann: the RIS moves"
    assert found[Care.SILENT].text.startswith("no study since 2023-11-14")
    (site,) = await desk.sites(MARYS)
    assert (site.silent, site.last_study_at is not None, site.tunnel) == (True, True, None)
    clock.advance(14 * 24 * 3600.0)
    assert not (await desk.sites(MARYS))[0].silent, "a site that has stopped for good is not missed for ever"


async def test_an_overview_is_worked_out_once_for_all_who_ask(house: House, desk: Operations) -> None:
    first = await desk.overview()
    assert await desk.overview() is first
    assert await desk.overview(MARYS) is not first


async def test_destinations_are_paused_and_resumed_with_their_reasons(house: House, desk: Operations) -> None:
    await desk.pause("ris", actor="person ann", reason="the RIS moves", sites=MARYS)
    (ris, *_) = await desk.destinations(MARYS)
    assert (ris.state, ris.why) == ("paused", "paused by person ann: the RIS moves")
    with pytest.raises(OperationRefused) as again:
        await desk.pause("ris", actor="person ann", reason="still")
    await desk.resume("ris", actor="person ann")
    with pytest.raises(OperationRefused) as twice:
        await desk.resume("ris", actor="person ann")
    assert (refusal(again), refusal(twice)) == (CHANGED, CHANGED)
    assert [row.action for row in trail(house)][-2:] == ["destination paused", "destination resumed"]
    for name, reason, sites, why in (
        ("ris", "moves", COUNTY, NOT_FOUND),  # another hospital's
        ("nowhere", "moves", None, NOT_FOUND),
        ("ris", " ", None, INVALID),
    ):
        with pytest.raises(OperationRefused) as raised:
            await desk.pause(name, actor="person ann", reason=reason, sites=sites)
        assert refusal(raised) is why
    assert [one.destination for one in await desk.destinations(COUNTY)] == []


# ── deliveries ──


async def test_deliveries_are_found_by_what_one_knows_of_them(house: House, desk: Operations) -> None:
    first, second = house.study(1), house.study(2)
    order(house, "st-marys", "failed", NOW, study_id=2, accession_number="ACC-2")
    house.delivery(1, "ris", "a")
    house.delivery(1, "archive", "b", "dead")
    house.delivery(2, "ris", KEY)

    async def found(**query: Any) -> list[str]:
        return [row.delivery_id for row in (await desk.deliveries(DeliveryQuery(**query))).rows]

    assert await found() == [KEY, "b", "a"]
    assert await found(search=first) == ["b", "a"]
    assert await found(search="ACC-2") == [KEY]
    assert await found(search=KEY) == [KEY]
    assert await found(search=second, destination="archive") == []
    assert await found(states=("dead",)) == ["b"]
    assert await found(site="county") == await found(sites=COUNTY) == await found(sites=()) == []
    page = await desk.deliveries(DeliveryQuery(limit=2))
    rest = await desk.deliveries(DeliveryQuery(limit=2, before=page.next))
    assert [row.delivery_id for row in (*page.rows, *rest.rows)] == [KEY, "b", "a"]
    assert rest.next is None


async def test_a_delivery_tells_its_attempts_and_is_nobody_elses(house: House, desk: Operations) -> None:
    house.study(1)
    house.delivery(1, "ris", "a", "dead")
    told = await desk.delivery("a", MARYS)
    assert (told.row.state, told.row.reason, told.parts) == ("dead", "A900 no", ())
    with pytest.raises(OperationRefused) as raised:
        await desk.delivery("a", COUNTY)
    assert refusal(raised) is NOT_FOUND
    with pytest.raises(OperationRefused, match="rendered"):
        await desk.message("a")


async def test_a_message_is_read_piece_by_piece(house: House, desk: Operations) -> None:
    house.study(1)
    house.delivery(1, "ris", "a")
    folder = house.folder / "data" / "payloads"
    folder.mkdir(parents=True)
    (folder / "0.part").write_bytes(b"MSH|^~\\&|PONS\rPID|1||P-4711")
    (folder / "1.part").write_bytes(json.dumps({"patient": {"id": "P-4711"}}).encode())
    manifest = [
        {"identifier": "m1", "media_type": "application/hl7-v2", "path": "payloads/0.part", "facts": {}},
        {"identifier": "m2", "media_type": "application/json", "path": "payloads/1.part", "facts": {}},
        {"identifier": "m3", "media_type": "application/json", "path": "payloads/2.part", "facts": {}},
    ]
    house.database.write_now(lambda c: c.execute(update(deliveries).values(payload=manifest)))
    assert [part.size for part in (await desk.delivery("a")).parts] == [27, 29, None]
    first = await desk.message("a")
    assert (first.form, first.shielded, first.lines[1].value) == ("hl7", True, f"1||{SHIELD}")
    assert (await desk.message("a", revealed=True)).lines[1].value == "1||P-4711"
    assert (await desk.message("a", 1)).form == "json"
    for part, why in ((2, "retention"), (3, "no such part"), (-1, "no such part")):
        with pytest.raises(OperationRefused, match=why):
            await desk.message("a", part)


async def test_a_trace_is_of_the_sites_that_one_may_see(house: House, desk: Operations) -> None:
    uid = house.study(1)
    story = await desk.trace(uid, MARYS)
    assert {one.what for one in story} == {"received", "stable"}
    for sites in (COUNTY, ()):
        with pytest.raises(OperationRefused) as raised:
            await desk.trace(uid, sites)
        assert refusal(raised) is NOT_FOUND


async def test_neither_a_trace_nor_an_explanation_tells_what_a_route_found_in_the_patient(
    house: House, desk: Operations
) -> None:
    uid = house.study(1)
    why = "routes.yaml:20:5: wanted PatientName Sato, found 'Yamada^Tarou'"
    failed = {"position": "routes.yaml:20:5", "wanted": "PatientName Sato", "found": "'Yamada^Tarou'"}
    outcome = {"route": "hers", "position": "routes.yaml:20:3", "hit": False, "why": why, "failed": failed}
    decision = {"table_version": "sha256:0", "outcomes": [outcome]}
    house.database.write_now(lambda c: work.record_decision(c, 1, 1, "sha256:0", decision, NOW))
    told = [str(await desk.trace(uid)), str(await desk.explain(uid))]
    assert all("PatientName Sato" in one and "Yamada" not in one for one in told)
    assert "Yamada^Tarou" in str(await desk.explain(uid, revealed=True))


# ── what waits for a person ──


async def test_a_hold_is_released_by_who_looks_after_its_site(house: House, desk: Operations) -> None:
    house.study(1)
    house.held(1, "us", "ask the radiologist")
    (hold,) = await desk.holds(MARYS)
    assert await desk.holds(COUNTY) == []
    with pytest.raises(OperationRefused) as raised:
        await desk.release([hold.hold_id], actor="person bob", reason="seen", sites=COUNTY)
    assert refusal(raised) is NOT_FOUND
    with pytest.raises(OperationRefused) as silent:
        await desk.release([hold.hold_id], actor="person ann", reason="", sites=MARYS)
    assert refusal(silent) is INVALID
    plan = await desk.plan_release([hold.hold_id], sites=MARYS)
    assert len(plan.going) == 1
    done = await desk.release([hold.hold_id], actor="person ann", reason="seen", sites=MARYS)
    assert done.going == plan.going
    assert await desk.holds() == []
    (released,) = await desk.holds(released=True)
    assert released.released_at is not None
    assert [(row.actor, row.action) for row in trail(house)][-1] == ("person ann", "hold released")


async def test_a_replay_does_what_was_shown_or_nothing(house: House, desk: Operations) -> None:
    house.study(1)
    house.delivery(1, "ris", "a", "dead")
    wanted = ReplayQuery("deliver", sites=MARYS, destination="ris")
    plan = await desk.plan_replay(wanted)
    assert [step.id for step in plan.steps] == ["a"]
    going = len(plan.going)
    house.study(2)
    house.delivery(2, "ris", "b", "dead")
    with pytest.raises(OperationRefused) as raised:
        await desk.replay(wanted, expect=going + 5, actor="person ann", reason="the RIS is back")
    assert refusal(raised) is CHANGED
    assert {row.state for row in (await desk.deliveries(DeliveryQuery())).rows} == {"dead"}
    again = len((await desk.plan_replay(wanted)).going)
    done = await desk.replay(wanted, expect=again, actor="person ann", reason="the RIS is back")
    assert len(done.going) == again


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (ReplayQuery("deliver", sites=COUNTY, ids=("a",)), NOT_FOUND),  # another hospital's
        (ReplayQuery("deliver", ids=("z",)), NOT_FOUND),
        (ReplayQuery("deliver"), INVALID),  # everything is never meant
        (ReplayQuery("route", sites=MARYS), INVALID),
        (ReplayQuery("route", study="1.2.1", to="ris"), INVALID),
        (ReplayQuery("deliver", states=("held",)), INVALID),
        (ReplayQuery("deliver", ids=("a",), to="nowhere"), INVALID),
    ],
)
async def test_a_replay_that_cannot_be_is_refused(
    house: House, desk: Operations, query: ReplayQuery, why: OperationRefusedReason
) -> None:
    house.study(1)
    house.delivery(1, "ris", "a", "dead")
    with pytest.raises(OperationRefused) as raised:
        await desk.plan_replay(query)
    assert refusal(raised) is why
    assert [row.action for row in trail(house)] == ["table started"]


async def test_a_selection_reaches_no_other_site(house: House, desk: Operations) -> None:
    house.study(1)
    house.delivery(1, "ris", "a", "dead")
    for sites in (COUNTY, ()):
        assert (await desk.plan_replay(ReplayQuery("deliver", sites=sites, states=("dead",)))).steps == ()
        assert (await desk.plan_replay(ReplayQuery("route", sites=sites, study="1.2.1"))).steps == ()


async def test_dead_letters_are_given_up_with_a_reason(house: House, desk: Operations) -> None:
    house.study(1)
    house.delivery(1, "ris", "a", "dead")
    with pytest.raises(OperationRefused) as raised:
        await desk.discard(["a"], actor="person bob", reason="old", sites=COUNTY)
    assert refusal(raised) is NOT_FOUND
    assert await desk.discard(["a"], actor="person ann", reason="old", sites=MARYS) == 1
    with pytest.raises(OperationRefused) as twice:
        await desk.discard(["a"], actor="person ann", reason="old", sites=MARYS)
    assert refusal(twice) is CHANGED
    assert trail(house)[-1].action == "dead letter discarded"


# ── the trail ──


async def test_the_trail_is_read_by_page_and_proven(house: House, desk: Operations) -> None:
    for number in range(5):
        house.database.write_now(
            lambda c, n=number: audit.append_event(
                c, NOW + n, actor="person ann", action="order.viewed", subject=f"order {n}", detail={}
            )
        )
    page = await desk.trail(TrailQuery(action="order.viewed", limit=3))
    rest = await desk.trail(TrailQuery(action="order.viewed", limit=3, before=page.next))
    assert [one.subject for one in (*page.events, *rest.events)] == [f"order {n}" for n in (4, 3, 2, 1, 0)]
    assert (await desk.verify_trail()).broken_at is None
    house.database.write_now(
        lambda c: c.execute(
            update(audit_events).where(audit_events.c.subject == "order 2").values(actor="eve")
        )
    )
    assert (await desk.verify_trail()).broken_at == page.events[2].event_id


# ── the table ──


def edited(house: House, change: Any) -> dict[str, str]:
    return {"routes.yaml": house.write(change, "edited.yaml").read_text()}


async def test_the_table_is_told_as_far_as_it_concerns_a_site(house: House, desk: Operations) -> None:
    whole, county = await desk.table(), await desk.table(COUNTY)
    assert [route.name for route in whole.routes] == ["mr", "us", "rest"]
    assert [route.name for route in county.routes] == ["us", "rest"]
    assert (whole.main, whole.files, county.files) == ("routes.yaml", ("routes.yaml",), ())
    assert whole.routes[0].deliver == ("ris", "archive")


async def test_a_table_is_proposed_then_applied(house: House, desk: Operations) -> None:
    def longer(table: dict[str, Any]) -> None:
        table["routes"][1]["hold"] = "ask her"

    edits = edited(house, longer)
    proposal = await desk.propose(edits)
    assert proposal.objections == ()
    assert any("hold: ask the radiologist -> ask her" in line.text for line in proposal.lines)
    assert [line.text for line in proposal.difference if line.tone == "added"] == ["+  hold: ask her"]
    assert proposal.running is not None
    with pytest.raises(OperationRefused) as stale:
        await desk.apply(edits, expect=proposal.running.change_id + 1, actor="person ann", message="her")
    with pytest.raises(OperationRefused) as silent:
        await desk.apply(edits, expect=proposal.running.change_id, actor="person ann", message=" ")
    assert (refusal(stale), refusal(silent)) == (CHANGED, INVALID)
    done = await desk.apply(edits, expect=proposal.running.change_id, actor="person ann", message="her")
    assert (done.version, done.taken) == (proposal.version, True)
    (latest, before) = await desk.versions()
    assert (latest.version, latest.actor, latest.message) == (proposal.version, "person ann", "her")
    lines = await desk.compare(before.version, latest.version)
    assert [line.text for line in lines if line.tone == "removed"] == ["-  hold: ask the radiologist"]
    assert (await desk.files(latest.version))["routes.yaml"] == edits["routes.yaml"]
    with pytest.raises(OperationRefused):
        await desk.files("sha256:ffff")


async def test_a_table_with_errors_is_told_and_not_applied(house: House, desk: Operations) -> None:
    edits = {"routes.yaml": "version: 1\nsites: {}\nroutes: 7\n"}
    proposal = await desk.propose(edits)
    assert (proposal.version, proposal.forceable) == ("", False)
    assert proposal.objections
    assert any(line.tone == "trouble" and "routes.yaml:" in line.text for line in proposal.lines)
    assert proposal.running is not None
    with pytest.raises(OperationRefused) as raised:
        await desk.apply(
            edits, expect=proposal.running.change_id, actor="person ann", message="x", force=True
        )
    assert refusal(raised) is REFUSED
    assert len(await desk.versions()) == 1


async def test_who_is_not_at_the_machine_runs_no_program_on_it_and_reads_none_of_its_files(
    house: House, desk: Operations
) -> None:
    def program(table: dict[str, Any]) -> None:
        table["processors"]["model"]["command"] = ["sh"]

    def secret(table: dict[str, Any]) -> None:
        table["outbound"]["ris"]["tls"] = {"ca": {"file": "/etc/passwd"}}

    def ours(table: dict[str, Any]) -> None:
        table["outbound"]["ris"]["tls"] = {"ca": {"file": "data/keys/signing.pem"}}

    def beside(table: dict[str, Any]) -> None:
        table["outbound"]["ris"]["tls"] = {"ca": {"file": "secrets/ca.pem"}}

    for name in ("data/keys/signing.pem", "secrets/ca.pem"):  # a table names no file that is not there
        (house.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (house.folder / name).touch(mode=0o600)
    told = [await desk.propose(edited(house, change)) for change in (program, secret, ours, beside)]
    said = [" ".join(one.objections) for one in told]
    assert "processor model would run another program of the engine's machine" in said[0]
    assert "/etc/passwd would be read as a secret" in said[1]
    assert "signing.pem would be read as a secret" in said[2]
    assert "would be read" not in said[3]
    assert not any(one.forceable for one in told[:3])
    assert all("`pons apply` on that machine" in one for one in said[:3])


@pytest.mark.parametrize("name", ["../routes.yaml", "/etc/cron.d/pons", "", "sites/../../x.yaml"])
async def test_a_file_of_a_table_stays_in_its_folder(house: House, desk: Operations, name: str) -> None:
    with pytest.raises(OperationRefused) as raised:
        await desk.propose({name: "version: 1\n"})
    assert refusal(raised) is INVALID
