"""Orders from the first instance to the last delivery, on both databases and through the real stages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import select

from engine.dead_letter import discard
from engine.errors import OrderRefused, OrderRefusedReason
from engine.intake import DurableIntake
from engine.model import NewBatch, NewOrder, OrderQuery, OrderState, Submitter, uid_from
from engine.order_names import IDENTIFYING
from engine.orders import Orders
from engine.route import decision_from_json
from engine.spool import Spool
from engine.store import lanes, order_states, replay, retention
from engine.store import studies as study_queries
from engine.store.database import Database
from engine.store.lanes import Settlement
from engine.store.tables import (
    audit_events,
    decisions,
    deliveries,
    jobs,
    order_results,
    orders,
    results,
    retrievals,
    revisions,
    studies,
)
from engine.story import tell
from tests.engine.conftest import HandClock
from tests.engine.processing_rig import Rig, writes

RIS = Submitter(kind="client", name="ris")
HIS = Submitter(kind="client", name="his")
STUDY = uid_from("test", "a")

Instance = Callable[..., bytes]
Arrive = Callable[..., Any]
MakeRig = Callable[..., Rig]


@pytest.fixture
async def intake(spool: Spool, database: Database, clock: HandClock) -> AsyncIterator[DurableIntake]:
    made = DurableIntake(spool, database, clock, keywords=("Modality", *IDENTIFYING))
    yield made
    made.close()


@pytest.fixture
def desk(intake: DurableIntake) -> Orders:
    return intake.orders


def settle(database: Database, destination: str, now: float, outcome: str = "delivered") -> None:
    """Claim what is due at a destination and end it."""

    def work(connection: Any) -> None:
        for claimed in lanes.claim(connection, destination, "n1", now, 60.0, 9):
            lanes.settle(connection, [Settlement(claimed, outcome, "AA")], now)

    database.write_now(work)


def drift(database: Database, now: float) -> int:
    """How many orders are not stored as they would be derived."""
    return database.write_now(lambda c: order_states.reconcile(c, now))


async def only(desk: Orders, **query: Any) -> Any:
    [order] = (await desk.list(OrderQuery(**query))).orders
    return order


async def state(desk: Orders) -> str:
    return str((await only(desk)).state)


# ── every study has one ─────────────────────────────────────────────────────────────────────────


async def test_a_study_that_arrives_has_an_order_and_its_state_follows_it(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes(impression="as expected"))
    await intake.accept(arrive(instance(1, AccessionNumber="A-1", StudyDescription="Brain")))
    await intake.accept(arrive(instance(2, AccessionNumber="A-1", StudyDescription="Brain")))
    order = await only(desk)
    assert (str(order.submitter), order.site, order.inbound) == ("channel pacs", "st-marys", "pacs")
    assert (order.accession_number, order.patient_id, order.study_description) == ("A-1", "P-1", "Brain")
    assert (order.state, order.study_instance_uid) == ("receiving", STUDY)

    seen = [await state(desk)]
    last = clock.now()
    await database.write(
        lambda c: study_queries.close_revision(c, 1, last, "quiet", on_late="rerun", last_at=last)
    )
    seen.append(await state(desk))
    await made.decider.decide_closed()
    seen.append(await state(desk))
    await made.run()
    settle(database, "archive", clock.now())
    seen.append(await state(desk))
    settle(database, "ris", clock.now())
    seen.append(await state(desk))
    assert seen == ["receiving", "stable", "processing", "processing", "delivered"]
    details = await desk.get(order.order_id)
    assert [(one.status, one.headline) for one in details.results] == [("final", "as expected")]
    assert {one.destination: one.state for one in details.deliveries} == {
        "archive": "delivered", "ris": "delivered",
    }  # fmt: skip
    assert (details.study_revision, details.instances) == (1, 2)
    assert drift(database, clock.now()) == 0

    await intake.accept(arrive(instance(3)))
    assert await state(desk) == "receiving", "late instances belong to the same order"
    assert (await only(desk)).version > order.version


async def test_a_study_without_a_route_is_held_and_a_failed_run_fails(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig("raise SystemExit(3)")
    await intake.accept(arrive(instance(1, Modality="CT")))
    await made.close()
    assert await state(desk) == "held"
    assert (await desk.get((await only(desk)).order_id)).holds == ("no route matched",)

    await intake.accept(arrive(instance(1, study="b")))
    await made.close(study=2)
    await made.run()
    for destination in ("archive", "ris", "desk"):
        settle(database, destination, clock.now())
    failed = await only(desk, states=[OrderState.FAILED])
    assert failed.failure == "processor model failed"
    [report] = made.rows(results)
    assert (failed.failure_result_id, report.status) == (report.result_id, "failed")
    assert drift(database, clock.now()) == 0


async def test_a_delivery_that_gave_up_fails_the_order_until_it_is_sent_again(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    settle(database, "archive", clock.now())
    settle(database, "ris", clock.now(), "refused")
    order = await only(desk)
    assert (order.state, order.failure) == ("failed", "delivery to ris gave up")
    [dead] = [row for row in made.rows(deliveries) if row.state == "dead"]
    await database.write(lambda c: replay.send_again(c, [dead], clock.now(), "again"))
    assert await state(desk) == "processing"
    settle(database, "ris", clock.now())
    order = await only(desk)
    assert (order.state, order.failure) == ("delivered", "")


async def test_a_dead_letter_that_a_person_gave_up_fails_no_order(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    settle(database, "archive", clock.now())
    settle(database, "ris", clock.now(), "refused")
    assert await state(desk) == "failed"
    [dead] = [row.delivery_id for row in made.rows(deliveries) if row.state == "dead"]
    await database.write(lambda c: discard(c, [dead], clock.now(), actor="me", reason="not wanted"))
    assert await state(desk) == "delivered"


# ── given before the study comes ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", ["uid", "accession", "bind"])
async def test_an_order_given_before_is_bound_to_the_study_that_comes(
    intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, by: str
) -> None:
    given = await desk.create(
        NewOrder(
            site="st-marys",
            submitter=RIS,
            study_instance_uid=STUDY if by == "uid" else "",
            metadata={"AccessionNumber": "A-7"} if by == "accession" else {},
        )
    )
    assert given.state == "created"
    if by == "bind":
        assert (await desk.uploading(given.order_id)).state == "receiving"
        await desk.bind(given.order_id, STUDY)
    await intake.accept(arrive(instance(1, AccessionNumber="A-7")))
    bound = await only(desk)
    assert (bound.order_id, bound.state, bound.study_instance_uid) == (given.order_id, "receiving", STUDY)
    assert bound.patient_id == "P-1"


async def test_an_order_is_not_bound_across_sites_or_to_another_patient(
    intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive
) -> None:
    elsewhere = NewOrder(site="st-lukes", submitter=RIS, metadata={"AccessionNumber": "A-7"})
    of_another = NewOrder(
        site="st-marys", submitter=RIS, metadata={"AccessionNumber": "A-7", "PatientID": "P-2"}
    )
    for new in (elsewhere, of_another):
        await desk.create(new)
    await intake.accept(arrive(instance(1, AccessionNumber="A-7")))
    assert len((await desk.list(OrderQuery(states=(OrderState.CREATED,)))).orders) == 2
    assert (await only(desk, states=(OrderState.RECEIVING,))).submitter.kind == "channel"


async def test_an_upload_takes_the_place_of_its_channels_order_while_that_is_young(
    intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, clock: HandClock
) -> None:
    given = await desk.create(NewOrder(site="st-marys", submitter=RIS))
    await intake.accept(arrive(instance()))
    await desk.bind(given.order_id, STUDY)
    assert (await only(desk)).order_id == given.order_id

    clock.advance(301)
    second = await desk.create(NewOrder(site="st-marys", submitter=HIS, study_instance_uid=STUDY))
    both = await desk.of_study(STUDY)
    assert [one.order_id for one in both] == [second.order_id, given.order_id]
    assert {one.state for one in both} == {"receiving"}


async def test_the_same_given_again_within_five_minutes_replaces_the_earlier_order(
    intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, clock: HandClock
) -> None:
    placed = []
    for number, (study, wait) in enumerate((("a", 0), ("b", 100), ("c", 301))):
        clock.advance(wait)
        order = await desk.create(NewOrder(site="st-marys", submitter=RIS, idempotency_key=str(number)))
        await desk.uploading(order.order_id)
        await intake.accept(arrive(instance(1, study=study, AccessionNumber="A-1"), session=study))
        await desk.bind(order.order_id, uid_from("test", study))
        placed.append(order.order_id)
    first, second, third = [(await desk.get(order_id)).order for order_id in placed]
    assert (first.state, first.failure) == ("cancelled", f"replaced by order {second.order_id}")
    assert (second.state, third.state) == ("receiving", "receiving"), "six minutes later it is another order"


async def test_orders_of_one_batch_replace_none_of_each_other(
    intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive
) -> None:
    batch = await desk.create_batch(NewBatch(site="st-marys", submitter=RIS, name="May"))
    for study in ("a", "b"):
        new = NewOrder(site="st-marys", submitter=RIS, batch_id=batch.batch_id)
        order = await desk.create(new)
        await intake.accept(arrive(instance(1, study=study, AccessionNumber="A-1"), session=study))
        await desk.bind(order.order_id, uid_from("test", study))
    assert (await desk.batch(batch.batch_id)).states == {OrderState.RECEIVING: 2}


async def test_an_upload_that_comes_to_nothing_fails_its_order_until_the_next(desk: Orders) -> None:
    order = await desk.create(NewOrder(site="st-marys", submitter=RIS))
    await desk.uploading(order.order_id)
    failed = await desk.upload_failed(order.order_id, "the archive holds two studies")
    assert (failed.state, failed.failure) == ("failed", "the archive holds two studies")
    assert (await desk.uploading(order.order_id)).state == "receiving"
    assert (await desk.upload_ended(order.order_id)).state == "created"


# ── metadata ────────────────────────────────────────────────────────────────────────────────────

SEES = """
import json, pathlib, sys
from pydicom import dcmread
[path] = pathlib.Path(sys.argv[1]).rglob("*.dcm")
seen = dcmread(path)
report = {"version": "pons.result/1", "algorithm": {"name": "model", "version": "7"},
          "impression": f"{seen.PatientSex} {seen.AccessionNumber}"}
pathlib.Path(sys.argv[2], "result.json").write_text(json.dumps(report))
"""


async def test_metadata_override_the_attributes_in_routing_processors_and_results(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, spool: Spool
) -> None:
    made = rig(SEES)
    metadata = {"patient_sex": "F", "accessionNumber": "{A}", "Modality": "MR", "PatientID": "P-9"}
    await desk.create(NewOrder(site="st-marys", submitter=RIS, study_instance_uid=STUDY, metadata=metadata))
    original = instance(1, Modality="CT", PatientSex="M", AccessionNumber="A-1")
    await intake.accept(arrive(original))
    order = await only(desk)
    assert (order.accession_number, order.patient_id, order.patient_name) == ("{A}", "P-9", "Doe^Jane")
    await made.close()
    await made.run()

    [decision] = made.rows(decisions)
    decided = decision_from_json(decision.decision)
    assert decided.overridden == {
        "PatientSex": "F", "AccessionNumber": "{A}", "Modality": "MR", "PatientID": "P-9",
    }  # fmt: skip
    assert [hit.route for hit in decided.hits] == ["mr"], "as the metadata has it, it is MR"
    [result] = made.rows(results)
    document = result.document
    assert document["report"]["impression"] == "F {A}", "the processor's copies have them"
    assert (document["patient"]["sex"], document["patient"]["patient_id"]) == ("F", "P-9")
    assert document["order"]["accession_number"] == "{A}"
    assert document["study"]["header"]["00080050"]["Value"] == ["{A}"]
    row = made.rows(studies)[0]
    told = made.database.read_now(lambda c: [event.text for event in tell(c, row) if event.what == "order"])
    assert told == [
        f"{order.order_id} by client ris is processing; its metadata override "
        "PatientSex, AccessionNumber, Modality, PatientID"
    ], "pons trace names the order, and no value"
    [forward] = [row for row in made.rows(deliveries) if row.destination == "archive"]
    assert forward.transform[0]["set"]["PatientSex"] == "F"
    study = await made.decider.facts(1, 1)
    assert study.stored[0].path.read_bytes() == original, "what was stored stays"
    assert dcmread(BytesIO(original)).PatientSex == "M"


async def test_metadata_given_to_a_held_order_count_when_it_is_decided_again(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, clock: HandClock
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance(1, Modality="CT")))
    await made.close()
    order = await only(desk)
    assert order.state == "held"
    changed = await desk.set_metadata(order.order_id, {"Modality": "MR"}, actor=RIS, version=order.version)
    assert (changed.metadata, changed.version) == ({"Modality": "MR"}, order.version + 1)
    with pytest.raises(OrderRefused) as stale:
        await desk.set_metadata(order.order_id, {}, actor=RIS, version=order.version)
    assert stale.value.reason is OrderRefusedReason.VERSION
    clock.advance(400)  # an order of its own, with metadata, is decided with them at once
    await desk.create(
        NewOrder(site="st-marys", submitter=RIS, study_instance_uid=STUDY, metadata={"PatientSex": "F"})
    )
    await made.decider.decide_closed()
    assert {one.state for one in await desk.of_study(STUDY)} == {"processing"}
    assert decision_from_json(made.rows(decisions)[-1].decision).overridden == {
        "Modality": "MR", "PatientSex": "F",
    }  # fmt: skip
    with pytest.raises(OrderRefused) as late:
        await desk.set_metadata(order.order_id, {}, actor=RIS)
    assert late.value.reason is OrderRefusedReason.STATE


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────


async def test_cancelling_stops_what_has_not_begun_and_says_what_stays(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    settle(database, "archive", clock.now())
    await made.run()
    order = await only(desk)
    done = await desk.cancel(order.order_id, actor=RIS, reason="wrong patient")
    assert (done.order.state, done.runs, done.deliveries, done.delivered) == ("cancelled", 0, 1, ("archive",))
    assert "what archive has was delivered before and stays there" in str(done)
    assert {row.destination: row.state for row in made.rows(deliveries)} == {
        "archive": "delivered", "ris": "cancelled",
    }  # fmt: skip
    again = await desk.cancel(order.order_id, actor=RIS)
    assert again.order.version == done.order.version, "a second time it changes nothing"
    [event] = [row for row in made.rows(audit_events) if row.action == "order cancelled"]
    assert (event.actor, event.detail["reason"], event.detail["deliveries"]) == (
        "client ris",
        "wrong patient",
        1,
    )
    assert drift(database, clock.now()) == 0


async def test_a_run_under_way_ends_and_its_result_goes_nowhere(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    job = await made.claim()
    done = await desk.cancel((await only(desk)).order_id, actor=RIS)
    assert (done.under_way, done.deliveries) == (1, 1)
    await made.processing.run_job(job)
    assert len(made.rows(results)) == 1
    assert {row.destination: row.state for row in made.rows(deliveries)} == {"archive": "cancelled"}
    assert not await made.run()


async def test_an_attempt_under_way_is_not_repeated(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    now = clock.now()
    [claimed] = await database.write(lambda c: lanes.claim(c, "archive", "n1", now, 60.0, 9))
    done = await desk.cancel((await only(desk)).order_id, actor=RIS)
    assert (done.runs, done.deliveries, done.under_way) == (1, 0, 1)
    again = Settlement(claimed, "again", "A700", next_at=now + 60)
    await database.write(lambda c: lanes.settle(c, [again], now))
    assert [row.state for row in made.rows(deliveries)] == ["cancelled"]


async def test_a_study_cancelled_while_it_arrives_is_not_decided_and_comes_again_as_another_order(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    first = await only(desk)
    await desk.cancel(first.order_id, actor=RIS)
    await made.close()
    assert (made.rows(decisions), made.rows(jobs)) == ([], [])
    assert [row.state for row in made.rows(revisions)] == ["cancelled"]

    await intake.accept(arrive(instance(2)))
    await made.close()
    latest, before = await desk.of_study(STUDY)
    assert (latest.state, before.state) == ("processing", "cancelled")
    assert drift(database, clock.now()) == 0


async def test_an_order_that_others_share_is_cancelled_alone(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, clock: HandClock
) -> None:
    made = rig(writes())
    await intake.accept(arrive(instance()))
    clock.advance(301)
    order = await desk.create(NewOrder(site="st-marys", submitter=HIS, study_instance_uid=STUDY))
    await made.close()
    done = await desk.cancel(order.order_id, actor=HIS)
    assert (done.shared, done.order.state) == (True, "cancelled")
    assert [row.state for row in made.rows(jobs)] == ["queued"]


async def test_what_is_over_cannot_be_cancelled_and_another_sites_order_is_not_there(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    for destination in ("archive", "ris"):
        settle(database, destination, clock.now())
    order_id = (await only(desk)).order_id
    for sites, reason in ((None, OrderRefusedReason.STATE), (["st-lukes"], OrderRefusedReason.NOT_FOUND)):
        with pytest.raises(OrderRefused) as refused:
            await desk.cancel(order_id, actor=RIS, sites=sites)
        assert refused.value.reason is reason


# ── idempotency, lists, retrieval, batches ──────────────────────────────────────────────────────


async def test_the_same_key_gives_the_same_order_and_another_request_is_refused(desk: Orders) -> None:
    new = NewOrder(site="st-marys", submitter=RIS, metadata={"PatientSex": "F"}, idempotency_key="k")
    first, second = await desk.create(new), await desk.create(new)
    assert first.order_id == second.order_id
    of_another = await desk.create(new.model_copy(update={"submitter": HIS}))
    assert of_another.order_id != first.order_id
    with pytest.raises(OrderRefused) as refused:
        await desk.create(new.model_copy(update={"metadata": {"PatientSex": "M"}}))
    assert refused.value.reason is OrderRefusedReason.IDEMPOTENCY


async def test_pages_are_found_by_place_and_filters_hold(desk: Orders, clock: HandClock) -> None:
    made = []
    for number in range(7):
        clock.advance(1)
        new = NewOrder(
            site="st-marys" if number % 2 else "st-lukes",
            submitter=RIS if number < 4 else HIS,
            metadata={"AccessionNumber": f"A-{number}", "PatientID": "P-1" if number < 2 else "P-2"},
        )
        made.append((await desk.create(new)).order_id)
    seen: list[str] = []
    query = OrderQuery(limit=3)
    while True:
        page = await desk.list(query)
        seen += [one.order_id for one in page.orders]
        if page.next is None:
            break
        query = query.model_copy(update={"after": page.next})
    assert seen == made[::-1]

    async def found(**asked: Any) -> set[int]:
        return {made.index(one.order_id) for one in (await desk.list(OrderQuery(**asked))).orders}

    assert await found(sites=("st-marys",)) == {1, 3, 5}
    assert await found(submitter=HIS, sites=("st-marys", "st-lukes")) == {4, 5, 6}
    assert await found(search="A-3") == {3}
    assert await found(search="A-*") == set(range(7))
    assert await found(search="A*", sites=("st-lukes",)) == {0, 2, 4, 6}
    assert await found(search="P-1") == {0, 1}
    assert await found(search=made[2]) == {2}
    assert await found(search="a-3") == set(), "identifiers are told apart by case"
    assert await found(search="A_3") == await found(search="%") == await found(search="*") == set()
    assert await found(states=(OrderState.CREATED, OrderState.HELD), sites=("st-lukes",)) == {0, 2, 4, 6}
    assert await found(states=(OrderState.HELD,)) == set()
    with pytest.raises(OrderRefused, match="after: no place in a list"):
        await desk.list(OrderQuery(after="1 OR 1=1"))


async def test_results_are_offered_until_they_are_acknowledged_by_each_reader(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive, clock: HandClock
) -> None:
    made = rig(writes(impression="fine"))
    for number, study in enumerate(("a", "b", "c"), 1):
        await intake.accept(arrive(instance(1, study=study), session=study))
        await made.close(study=number)
        await made.run()
    first, second, third = await desk.unretrieved(RIS, ["st-marys"])
    assert [one.headline for one in (first, second, third)] == ["fine"] * 3
    assert await desk.unretrieved(RIS, ["st-lukes"]) == []
    assert await desk.acknowledge(RIS, ["st-lukes"], [first.seq]) == 0, "not of that site"
    assert await desk.acknowledge(RIS, ["st-marys"], [first.seq, third.seq, 999]) == 2
    assert await desk.acknowledge(RIS, ["st-marys"], [first.seq]) == 0
    assert await desk.unretrieved(RIS, ["st-marys"]) == [second]
    assert await desk.unretrieved(HIS, ["st-marys"]) == [first, second, third]
    assert await desk.unretrieved(RIS, ["st-marys"], submitter=RIS) == [], "they are the channel's orders"

    clock.advance(3600)
    assert await desk.acknowledge(RIS, ["st-marys"], [second.seq]) == 1
    await intake.accept(arrive(instance(1, study="d"), session="d"))
    await made.close(study=4)
    await made.run()
    [fourth] = await desk.unretrieved(RIS, ["st-marys"])
    assert fourth.seq > third.seq
    pacs = Submitter(kind="channel", name="pacs")
    assert await desk.unretrieved(RIS, ["st-marys"], submitter=pacs) == [fourth]


async def test_a_batch_reports_every_order_and_the_same_facts_give_the_same_report(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes(impression="as expected"))
    batch = await desk.create_batch(NewBatch(site="st-marys", submitter=RIS, name="May"))
    for study in ("a", "b"):
        await desk.create(
            NewOrder(
                site="st-marys",
                submitter=RIS,
                batch_id=batch.batch_id,
                study_instance_uid=uid_from("test", study),
            )
        )
    await intake.accept(arrive(instance(AccessionNumber="A-1")))
    await made.close()
    await made.run()
    for destination in ("archive", "ris"):
        settle(database, destination, clock.now())
    report = await desk.batch_report(batch.batch_id)
    assert [(row.state, row.headline, row.accession_number) for row in report.rows] == [
        ("delivered", "as expected", "A-1"), ("created", "", ""),
    ]  # fmt: skip
    clock.advance(100)
    assert await desk.batch_report(batch.batch_id) == report
    assert not (await desk.batch(batch.batch_id)).is_over
    [listed] = (await desk.batches(["st-marys"])).batches
    assert (listed.orders, listed.states) == (2, {OrderState.CREATED: 1, OrderState.DELIVERED: 1})
    with pytest.raises(OrderRefused):
        await desk.batch(batch.batch_id, ["st-lukes"])
    with pytest.raises(OrderRefused):
        await desk.create(NewOrder(site="st-lukes", submitter=RIS, batch_id=batch.batch_id))


async def test_every_change_is_on_the_audit_trail_without_a_value(desk: Orders, database: Database) -> None:
    order = await desk.create(
        NewOrder(site="st-marys", submitter=RIS, metadata={"PatientID": "Quillfeather"})
    )
    await desk.set_metadata(order.order_id, {"PatientSex": "F"}, actor=HIS)
    await desk.bind(order.order_id, STUDY)
    await desk.cancel(order.order_id, actor=HIS, reason="given twice")
    rows = database.read_now(lambda c: c.execute(select(audit_events).order_by(audit_events.c.id)).all())
    assert [(row.actor, row.action) for row in rows] == [
        ("client ris", "order created"), ("client his", "order metadata changed"),
        ("client ris", "order bound"), ("client his", "order cancelled"),
    ]  # fmt: skip
    assert {row.subject for row in rows} == {f"order {order.order_id}"}
    assert "Quillfeather" not in str([row.detail for row in rows])
    stored = database.read_now(lambda c: c.execute(select(orders.c.state)).scalar_one())
    assert stored == "cancelled"


async def test_the_orders_of_a_study_that_retention_forgets_go_with_it(
    rig: MakeRig, intake: DurableIntake, desk: Orders, instance: Instance, arrive: Arrive,
    database: Database, clock: HandClock,
) -> None:  # fmt: skip
    made = rig(writes())
    await intake.accept(arrive(instance()))
    await made.close()
    await made.run()
    for destination in ("archive", "ris"):
        settle(database, destination, clock.now())
    [result] = await desk.unretrieved(RIS, ["st-marys"])
    await desk.acknowledge(RIS, ["st-marys"], [result.seq])
    kept = await desk.create(NewOrder(site="st-marys", submitter=RIS))
    now = clock.now()
    clock.advance(1000)
    assert await database.write(lambda c: retention.remove(c, 1, now + 1, now + 2)) is not None
    assert (await desk.get(result.order_id)).order.state == "delivered", (
        "the files are gone, the order is not"
    )
    assert await database.write(lambda c: retention.forget(c, 1, now + 500)) is not None
    assert [row.order_id for row in made.rows(orders)] == [kept.order_id]
    assert made.rows(order_results) == made.rows(retrievals) == []
