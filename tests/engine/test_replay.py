"""What a replay does to each delivery and study, what it leaves out, and that nothing is doubled."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from engine.audit import verify
from engine.config import load
from engine.errors import PonsError
from engine.model import Algorithm, Order, Patient, Report, Result, ResultStatus, StudyReference
from engine.replay import Plan, Selection, Stage, plan, replay
from engine.store import deliveries as delivery_queries
from engine.store import lanes, work
from engine.store.database import Database
from engine.store.lanes import Settlement
from engine.store.studies import hold
from engine.store.tables import audit_events, deliveries, instances, jobs, revisions, studies
from engine.take_up import StudyFacts, why_not_up

TABLE = """
version: 1
engine: {data: ./data}
sites:
  st-marys: {name: St. Mary's, addresses: [127.0.0.1]}
  other: {name: Other, addresses: [127.0.0.2]}
processors:
  model: {type: command, command: ["true"]}
outbound:
  ris: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2575}
  desk: {type: hl7_oru, site: st-marys, host: 127.0.0.1, port: 2576}
  archive: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 104, ae_title: ARCHIVE}
  second: {type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 105, ae_title: SECOND, order: patient}
  abroad: {type: hl7_oru, site: other, host: 127.0.0.2, port: 2575}
"""
NOW = 1_700_000_000.0
LATER = NOW + 3600
REASON = "the receiver was down"


@dataclass
class House:
    """A database with deliveries made one by one, and a table beside it."""

    database: Database
    folder: Path
    table: Any
    versions: dict[str, int] = field(default_factory=dict)

    def now(self, work_: Callable[[Connection], Any]) -> Any:
        return self.database.write_now(work_)

    def study(self, number: int = 1, *, site: str = "st-marys", **values: Any) -> None:
        row = {
            "id": number, "site": site, "study_instance_uid": f"1.{number}", "state": "stable", "revision": 1,
            "inbound": "pacs", "calling_ae_title": "", "called_ae_title": "", "remote_address": "",
            "opened_at": 0.0, "last_at": NOW, **values,
        }  # fmt: skip
        self.now(lambda c: c.execute(studies.insert().values(row)))
        self.now(
            lambda c: c.execute(
                revisions.insert().values(
                    study_id=number, revision=1, state="decided", closed_at=NOW, why="", instances=1
                )
            )
        )

    def result(self, lineage: str, status: str, study: int = 1) -> str:
        """The next version of a result."""
        version = self.versions[lineage] = self.versions.get(lineage, 0) + 1
        result = Result(
            result_id=str(uuid.uuid4()), site="st-marys", route="mr", status=ResultStatus(status),
            revision=version, produced_at=datetime(2026, 1, 2, tzinfo=UTC), patient=Patient(patient_id="P-1"),
            order=Order(), study=StudyReference(study_instance_uid=f"1.{study}"),
            report=Report(algorithm=Algorithm(name="a", version="1")),
        )  # fmt: skip
        self.now(
            lambda c: work.record_result(
                c, result_id=result.result_id, study_id=study, study_revision=1, lineage=lineage,
                revision=version, status=status, supersedes=None, shadow=False, produced_at=NOW,
                document=result.model_dump(mode="json"),
            )
        )  # fmt: skip
        return result.result_id

    def delivery(
        self,
        result_id: str | None,
        *,
        to: str = "ris",
        state: str = "dead",
        lineage: str = "1/a",
        after: tuple[str, ...] = (),
        study: int = 1,
    ) -> str:
        """A delivery that has come to a state the way deliveries do."""
        key = str(uuid.uuid4())
        self.now(
            lambda c: lanes.enqueue(
                c, NOW, delivery_id=key, destination=to, order_key=f"k{study}", lineage=lineage,
                study_id=study, study_revision=1, result_id=result_id, status="final", transform=[],
                after=list(after),
            )
        )  # fmt: skip
        if state in ("dead", "delivered", "lost"):
            payload = self.folder / "data" / "payloads" / key / "0.part"
            payload.parent.mkdir(parents=True)
            payload.write_bytes(b"frozen")
            entry = {"identifier": key, "media_type": "x", "path": f"payloads/{key}/0.part", "facts": {}}
            (claim,) = self.claim(to)
            assert claim.delivery.delivery_id == key
            self.now(lambda c: delivery_queries.keep_payload(c, key, [entry]))
            outcome = {"dead": "refused", "delivered": "delivered", "lost": "unknown"}[state]
            self.now(lambda c: lanes.settle(c, [Settlement(claim, outcome, "AR", "no")], NOW))
        return key

    def claim(self, destination: str, now: float = NOW) -> Any:
        return self.now(lambda c: lanes.claim(c, destination, "n1", now, 60.0, 10))

    def deliver_all(self, destination: str) -> list[str]:
        """Deliver what is due there, one by one; the ids in the order they went."""
        went: list[str] = []
        while claims := self.claim(destination, LATER):
            for claim in claims:
                went.append(claim.delivery.delivery_id)
                done = Settlement(claim, "delivered", "AA")
                self.now(lambda c, done=done: lanes.settle(c, [done], LATER))
        return went

    def plan(self, stage: Stage = Stage.DELIVER, to: str | None = None, **wanted: Any) -> Plan:
        return self.database.read_now(lambda c: plan(c, stage, Selection(**wanted), self.table, to=to))

    def replay(self, stage: Stage = Stage.DELIVER, **wanted: Any) -> Plan:
        to, limit = wanted.pop("to", None), wanted.pop("limit", None)
        selection = Selection(**wanted)
        done: Plan = self.now(
            lambda c: replay(
                c, stage, selection, self.table, LATER, actor="ann", reason=REASON, to=to, limit=limit
            )
        )
        return done

    def row(self, key: str) -> Any:
        return self.database.read_now(
            lambda c: c.execute(select(deliveries).where(deliveries.c.delivery_id == key)).one()
        )

    def rows(self, table: Any) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    path = tmp_path / "routes.yaml"
    path.write_text(TABLE)
    made = House(database, tmp_path, load(path, surroundings=False))
    made.study()
    return made


def reason(planned: Plan) -> str:
    (step,) = planned.steps
    return step.left_out


# ── deliver ──


@pytest.mark.parametrize("state", ["dead", "delivered"])
def test_a_delivery_goes_again_with_its_identifiers_and_bytes_and_a_new_age(house: House, state: str) -> None:
    key = house.delivery(house.result("1/a", "final"), state=state)
    before = house.row(key)
    house.replay(ids=(key,))
    after = house.row(key)
    assert (after.state, after.age_from, after.finished_at) == ("queued", LATER, None)
    assert (after.seq, after.payload, after.created_at) == (before.seq, before.payload, before.created_at)
    (claim,) = house.claim("ris", LATER)
    assert (claim.delivery.delivery_id, claim.attempt) == (key, 2)


def test_looking_changes_nothing_and_counts_by_destination_and_state(house: House) -> None:
    result = house.result("1/a", "final")
    house.delivery(result)
    house.delivery(result, to="desk")
    house.delivery(result, to="desk", lineage="1/b")
    before = house.rows(deliveries)
    planned = house.plan(states=("dead",))
    assert planned.counts == [("desk", "dead", 2), ("ris", "dead", 1)]
    assert house.rows(deliveries) == before
    assert house.rows(audit_events) == []


def test_the_trail_says_who_what_how_many_and_why(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    house.replay(destination="ris", states=("dead",))
    (event,) = house.rows(audit_events)
    assert (event.actor, event.action, event.subject) == ("ann", "replayed", "1 from deliver")
    assert event.detail == {
        "reason": REASON,
        "selection": {"destination": "ris", "states": ["dead"]},
        "left out": 0,
        "studies": ["1.1"],
        "deliveries": [key],
    }
    assert house.database.read_now(verify) is None


def test_more_than_the_limit_is_refused_and_changes_nothing(house: House) -> None:
    result = house.result("1/a", "final")
    for name in ("a", "b", "c"):
        house.delivery(result, lineage=f"1/{name}")
    with pytest.raises(
        PonsError, match="3 would be replayed, more than 2; narrow the selection, or add --force"
    ):
        house.replay(states=("dead",), limit=2)
    assert [row.state for row in house.rows(deliveries)] == ["dead"] * 3
    assert len(house.replay(states=("dead",), limit=3).going) == 3


def test_what_waits_goes_by_itself(house: House) -> None:
    result = house.result("1/a", "final")
    key = house.delivery(result, state="queued")
    assert reason(house.plan(ids=(key,))) == "it is queued and goes by itself"
    waits = house.delivery(result, to="desk", state="waiting", after=("ris",))
    assert reason(house.plan(ids=(waits,))) == "it is waiting and goes by itself"


@pytest.mark.parametrize("newer", ["delivered", "queued", "lost"])
def test_an_old_version_never_follows_a_newer_one(house: House, newer: str) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    house.delivery(house.result("1/a", "final"), state=newer)
    assert "must not be followed by an old one" in reason(house.plan(ids=(old,)))
    assert house.replay(ids=(old,)).going == ()
    assert house.row(old).state == "dead"
    assert house.rows(audit_events) == [], "nothing was done"


def test_a_newer_version_elsewhere_does_not_hinder(house: House) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    house.delivery(house.result("1/a", "final"), to="desk", state="delivered")
    assert reason(house.plan(ids=(old,))) == ""


def test_of_several_dead_versions_only_the_newest_goes(house: House) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    new = house.delivery(house.result("1/a", "final"))
    house.replay(states=("dead",))
    assert (house.row(old).state, house.row(new).state) == ("dead", "queued")
    assert house.deliver_all("ris") == [new]


def test_replayed_in_its_place_it_goes_before_what_came_later(house: House) -> None:
    first = house.delivery(house.result("1/a", "final"))
    second = house.delivery(house.result("1/b", "final"), lineage="1/b", state="queued")
    house.replay(ids=(first,))
    assert house.deliver_all("ris") == [first, second]


def test_bytes_that_are_gone_cannot_be_sent(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    (house.folder / "data" / "payloads" / key / "0.part").unlink()
    assert "its bytes are no longer kept" in reason(house.plan(ids=(key,)))


def test_a_dead_letter_of_a_destination_that_is_gone_needs_another(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"), to="old-ris")
    assert "send it elsewhere with --to" in reason(house.plan(ids=(key,)))
    assert reason(house.plan(ids=(key,), to="ris")) == ""


def test_dependants_go_on_once_the_dead_sibling_is_delivered(house: House) -> None:
    result = house.result("1/a", "final")
    pacs = house.delivery(result, to="desk")
    oru = house.delivery(result, state="waiting", after=("desk",))
    house.replay(ids=(pacs,))
    assert house.claim("ris", LATER) == [], "not before the sibling"
    assert house.deliver_all("desk") == [pacs]
    assert house.deliver_all("ris") == [oru]


def test_siblings_that_go_again_keep_their_order(house: House) -> None:
    result = house.result("1/a", "final")
    pacs = house.delivery(result, to="desk", state="delivered")
    oru = house.delivery(result, state="delivered", after=("desk",))
    house.replay(study="1.1", states=("delivered",))
    assert (house.row(oru).state, house.row(oru).reason) == ("waiting", "waits for desk")
    assert house.claim("ris", LATER) == []
    house.deliver_all("desk")
    assert house.deliver_all("ris") == [oru]
    house.replay(ids=(oru,))
    assert house.row(oru).state == "queued", "alone it waits for nobody: the sibling was acknowledged"
    assert house.row(pacs).state == "delivered"


def test_what_was_acknowledged_stays_known_while_it_goes_again(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"), state="delivered")
    house.replay(ids=(key,))
    house.delivery(house.result("1/a", "corrected"), state="queued")
    assert house.row(key).state == "superseded", "the correction took its place"
    (held,) = house.database.read_now(lambda c: delivery_queries.held_by(c, "ris", "1/a"))
    assert (held.delivery_id, bool(held.certain)) == (key, True)


def test_an_id_that_is_not_here_stops_everything(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    with pytest.raises(PonsError, match="no delivery nobody here; `pons deliveries` lists"):
        house.replay(ids=(key, "nobody"))
    assert house.row(key).state == "dead"


def test_each_part_of_a_selection_narrows_it(house: House) -> None:
    house.study(2)
    result, other = house.result("1/a", "final"), house.result("2/a", "final", study=2)
    key = house.delivery(result)
    house.delivery(other, study=2, lineage="2/a", to="desk")
    for wanted in (
        {"study": "1.1"},
        {"destination": "ris"},
        {"ids": (key,), "states": ("dead",)},
        {"site": "st-marys", "destination": "ris"},
    ):
        assert [step.id for step in house.plan(**wanted).steps] == [key], wanted
    assert house.plan(site="other").steps == ()
    assert house.plan(since=NOW + 1).steps == ()
    assert len(house.plan(since=NOW - 1, until=NOW + 1).steps) == 2


def test_a_route_means_what_its_decision_sent_on_its_way(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    house.delivery(house.result("1/b", "final"), lineage="1/b", to="desk")
    decided(house, deliver=["ris"])
    assert [step.id for step in house.plan(route="mr").steps] == [key]
    assert house.plan(route="ct").steps == ()


# ── another destination ──


def test_a_redirect_is_a_delivery_of_its_own_of_the_same_result(house: House) -> None:
    result = house.result("1/a", "final")
    key = house.delivery(result, after=("archive",), state="waiting")
    house.replay(ids=(key,), to="desk")
    assert house.row(key).state == "waiting", "what was there stays as it is"
    (new,) = [row for row in house.rows(deliveries) if row.destination == "desk"]
    assert (new.result_id, new.lineage, new.state, new.after) == (result, "1/a", "queued", [])
    assert new.delivery_id != key
    assert reason(house.plan(ids=(key,), to="desk")) == "desk has it, or is about to get it"


def test_nothing_is_redirected_to_another_site(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    assert reason(house.plan(ids=(key,), to="abroad")) == "destination abroad belongs to another site"
    assert house.replay(ids=(key,), to="abroad").going == ()
    assert len(house.rows(deliveries)) == 1


def test_a_redirect_needs_a_destination_that_carries_such_a_thing(house: House) -> None:
    key = house.delivery(house.result("1/a", "final"))
    assert reason(house.plan(ids=(key,), to="archive")) == "destination archive carries no result"
    study = house.delivery(None, to="archive", lineage="1/study")
    assert reason(house.plan(ids=(study,), to="ris")) == "destination ris carries no study"
    assert "leave out --to" in reason(house.plan(ids=(key,), to="ris"))
    with pytest.raises(PonsError, match="the table has no destination nowhere; it has abroad, archive"):
        house.plan(ids=(key,), to="nowhere")


def test_a_study_is_redirected_into_the_lane_of_its_patient(
    house: House, instance: Callable[..., bytes]
) -> None:
    key = house.delivery(None, to="archive", lineage="1/study")
    path = house.table.engine.data / "instances" / "st-marys" / "1.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(instance())
    row = {
        "study_id": 1, "site": "st-marys", "sop_instance_uid": "1.1.1", "series_instance_uid": "1.1.0",
        "sop_class_uid": "1.2", "transfer_syntax_uid": "1.2.840.10008.1.2.1", "sha256": "0", "size": 1,
        "path": "st-marys/1.dcm", "attributes": {}, "received_at": NOW, "revision": 1,
    }  # fmt: skip
    house.now(lambda c: c.execute(instances.insert().values(row)))
    house.replay(ids=(key,), to="second")
    (new,) = [one for one in house.rows(deliveries) if one.destination == "second"]
    assert (new.state, new.result_id, new.lineage) == ("queued", None, "1/study")
    assert new.order_key.startswith("patient/")


def test_only_the_version_that_stands_is_redirected(house: House) -> None:
    old = house.delivery(house.result("1/a", "preliminary"))
    house.delivery(house.result("1/a", "final"), state="delivered")
    assert reason(house.plan(ids=(old,), to="desk")) == "version 2 stands now; send that one"


# ── process, route, assemble ──


def decided(house: House, *, study: int = 1, deliver: list[str] | None = None) -> None:
    outcome = {
        "route": "mr", "position": "routes.yaml:1:1", "hit": True, "why": "holds", "process": "model",
        "deliver": [{"to": name} for name in deliver or ["ris"]],
    }  # fmt: skip
    decision = {"table_version": "t", "passed_over": 0, "outcomes": [outcome]}
    house.now(lambda c: work.record_decision(c, study, 1, "t", decision, NOW))


def test_processing_again_queues_the_run_that_was_decided(house: House) -> None:
    decided(house, deliver=["ris", "desk"])
    planned = house.plan(Stage.PROCESS, study="1.1")
    (step,) = planned.steps
    assert step.effect == "model on revision 1 again; what comes of it goes to ris, desk"
    house.replay(Stage.PROCESS, study="1.1")
    (job,) = house.rows(jobs)
    assert (job.processor, job.lineage, job.revision, job.state) == ("model", "1/model/mr", 1, "queued")
    assert reason(house.plan(Stage.PROCESS, study="1.1")) == "model is at work on it"


def test_routing_again_lets_the_decider_decide(house: House) -> None:
    decided(house)
    house.now(lambda c: hold(c, 1, 1, "no route matched", NOW))
    house.replay(Stage.ROUTE, states=("held",))
    (revision,) = house.rows(revisions)
    assert revision.state == "closed"
    assert house.plan(Stage.ROUTE, states=("held",)).steps == (), "its hold is answered"
    assert reason(house.plan(Stage.ROUTE, study="1.1")) == "revision 1 is about to be decided"


def test_assembling_again_makes_a_revision_of_all_that_is_there(house: House) -> None:
    house.replay(Stage.ASSEMBLE, ids=("1.1",))
    first, second = sorted(house.rows(revisions), key=lambda row: row.revision)
    assert (first.state, second.state, second.why) == ("decided", "closed", "assembled again")
    (study,) = house.rows(studies)
    assert (study.state, study.revision) == ("stable", 2)


def test_a_purged_study_is_left_out_whatever_the_stage(house: House) -> None:
    house.study(2, purged_at=NOW)
    decided(house, study=2)
    for stage in (Stage.PROCESS, Stage.ROUTE, Stage.ASSEMBLE):
        assert reason(house.plan(stage, study="1.2")) == "its instances were removed by retention"
    key = house.delivery(None, to="archive", lineage="2/study", study=2)
    assert reason(house.plan(ids=(key,))) == "its instances were removed by retention"
    report = house.delivery(house.result("2/a", "final", study=2), lineage="2/a", study=2)
    assert reason(house.plan(ids=(report,))) == "", "its bytes are still there"
    assert reason(house.plan(ids=(report,), to="desk")) == "its instances were removed by retention"


FACTS = StudyFacts(receiving=False, purged=False, revision=2, revision_state="decided", decided=True)
ROWS = [
    # stage, what is different, why it is left out
    (Stage.ROUTE, {}, ""),
    (Stage.ASSEMBLE, {"receiving": True}, "instances are arriving"),
    (Stage.ROUTE, {"revision_state": "closed"}, "revision 2 is about to be decided"),
    (Stage.ROUTE, {"at_work": ("model",)}, "model is at work on it"),
    (Stage.ROUTE, {"revision_state": "ignored", "decided": False}, ""),
    (Stage.PROCESS, {}, "its decision asks for no processor"),
    (Stage.PROCESS, {"processors": ("model",)}, ""),
    (Stage.PROCESS, {"processors": ("m",), "gone": ("m",)}, "the table has no processor m any more"),
    (Stage.PROCESS, {"revision_state": "held", "decided": False}, "revision 2 was never decided"),
]


@pytest.mark.parametrize(("stage", "different", "why"), ROWS)
def test_a_study_is_taken_up_only_when_it_is_at_rest(
    stage: Stage, different: dict[str, Any], why: str
) -> None:
    said = why_not_up(replace(FACTS, **different), stage)
    assert said.startswith(why)
    assert bool(said) == bool(why)
