"""The pages of those who look after the engine, over the wire: what they see and do, what others do not."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
import yaml

from tests.e2e.studies import PERSON, small_study
from tests.peers.process import wait_until
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.visitor import Visited, Visitor

LIST_PAGES = (
    "/deliveries",
    "/holds",
    "/holds/release?id=1",
    "/dead-letters",
    "/dead-letters/discard?id=x",
    "/replay?begin=deliver&state=dead",
    "/routes",
    "/sites",
    "/destinations",
    "/studies/1.2.3",
    "/deliveries/x",
)
TABLE_PAGES = ("/routes/versions", "/routes/versions/sha256:0", "/routes/edit")
DEEDS = (
    "/holds/release",
    "/dead-letters/discard",
    "/replay",
    "/routes/plan",
    "/routes/apply",
    "/destinations/his/pause",
    "/destinations/his/resume",
)


@dataclass
class Scene:
    """The house with a study that went well at one place and gave up at another, and two that are held."""

    house: PortalHouse
    study: str
    held: str
    dead: str  # id of the delivery that gave up

    def engineer(self) -> Visitor:
        """Of every site; no clinician, so identifiers are shielded."""
        return self.house.person("eva", "engineer")


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study: Path
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with serving_house(folder, free_port, his_answers=["AR"]) as house:
        judged = small_study(real_study, folder / "judged")
        house.bring(judged)
        uids = []
        for number in range(2):
            other = small_study(real_study, folder / f"other-{number}", instances=1, Modality="CT")
            house.bring(other)
            uids.append(str(pydicom.dcmread(other[0]).StudyInstanceUID))
        house.engine.wait_for_states({"hook": ["delivered"], "his": ["dead"]})
        wait_until(lambda: len(house.engine.json("hold")) == 2, "two holds")
        (dead,) = [one["delivery"] for one in house.engine.deliveries() if one["state"] == "dead"]
        yield Scene(house, str(pydicom.dcmread(judged[0]).StudyInstanceUID), uids[0], dead)


def seen(page: Visited) -> str:
    """The page as it came; it is one, and tells nothing of the patient by itself."""
    assert page.status == 200, (page.status, page.text[:500])
    return html.unescape(page.answer.text)


def confirm(visitor: Visitor, page: Visited, path: str, **typed: str) -> Visited:
    """Send the form of a plan: also what it repeats more than once."""
    form = page.form(path)
    return visitor.post(path, {**form.fields, **typed})


# ── looking ──


def test_deliveries_are_browsed_down_to_what_each_sends(scene: Scene) -> None:
    eva = scene.engineer()
    listed = seen(eva.get("/deliveries"))
    assert "his" in listed
    assert "hook" in listed
    only = seen(eva.get(f"/deliveries?q={scene.study}&state=dead&destination=his&site=st-marys"))
    assert scene.dead in only.replace('<span class="unseen">', "").replace("</span>", "")
    assert "No delivery like that" in seen(eva.get("/deliveries?q=9.9.9"))
    one = seen(eva.get(f"/deliveries/{scene.dead}"))
    assert "AR" in one
    assert 'data-form="hl7"' in one
    assert "ORU^R01" in one


def test_the_patient_is_shielded_until_he_is_revealed_and_that_is_on_the_trail(scene: Scene) -> None:
    eva, path = scene.engineer(), f"/deliveries/{scene.dead}"
    identifiers = (PERSON.name.partition("^")[0], PERSON.patient_id, PERSON.birth_date)
    shielded = eva.get(path)
    assert not [word for word in identifiers if word in seen(shielded)]
    assert "••••" in shielded.answer.text
    assert scene.house.audited("identifiers.revealed") == []
    revealed = seen(eva.submit_own(shielded, path))
    assert all(word in revealed for word in identifiers)
    (event,) = scene.house.audited("identifiers.revealed")
    assert (event["actor"], event["subject"]) == ("person eva", path)
    views = [
        one for one in scene.house.audited("message.viewed") if one["subject"] == f"delivery {scene.dead}"
    ]
    assert [one["detail"]["identifiers"] for one in views][-2:] == ["shielded", "revealed"]
    hidden = eva.submit_own(eva.get(path), path)
    assert not [word for word in identifiers if word in seen(hidden)]


def test_who_treats_patients_sees_them_unasked(scene: Scene) -> None:
    both = scene.house.person("dora", "viewer", "engineer")
    assert PERSON.patient_id in seen(both.get(f"/deliveries/{scene.dead}"))


def test_a_study_tells_its_story_and_why_it_went_where_it_went(scene: Scene) -> None:
    eva = scene.engineer()
    page = seen(eva.get(f"/studies/{scene.study}"))
    for part in (
        "received",
        "stable",
        "decided",
        "attempt",
        "dead",
        "St. Mary's MR",
        "The table in force decides",
    ):
        assert part in page
    assert not [word for word in PERSON.words if word in page]
    found = eva.get(f"/studies?study={scene.study}")
    assert (found.status, found.location) == (303, f"/studies/{scene.study}")
    assert eva.get("/studies/9.9.9").status == 404


def test_sites_and_destinations_tell_how_they_stand(scene: Scene) -> None:
    eva = scene.engineer()
    sites, destinations = seen(eva.get("/sites")), seen(eva.get("/destinations"))
    assert "St. John's" in sites
    assert "none yet" in sites
    for name in ("his", "hook", "johns-hook"):
        assert f'id="{name}"' in destinations


# ── others ──


def test_a_viewer_is_refused_whatever_only_an_engineer_does(scene: Scene) -> None:
    vera = scene.house.person("vera", "viewer")
    for path in (*LIST_PAGES, *TABLE_PAGES, "/audit"):
        assert vera.get(path).status == 403, path
    csrf = vera.get("/profile").form("/sign-out").fields["csrf"]
    for path in (*DEEDS, "/audit/verify"):
        assert vera.post(path, {"csrf": csrf, "reason": "x", "id": "1"}).status == 403, path
    assert len(scene.house.engine.json("hold")) >= 1


def test_what_is_of_another_hospital_is_not_there(scene: Scene) -> None:
    john = scene.house.person("john", "engineer@st-johns")
    for path in (f"/deliveries/{scene.dead}", f"/studies/{scene.study}", "/holds/release?id=1"):
        assert john.get(path).status == 404, path
    assert "No deliveries yet" in seen(john.get("/deliveries"))
    assert "Nothing is held" in seen(john.get("/holds"))
    assert "No dead letters" in seen(john.get("/dead-letters"))
    assert "St. Mary's" not in seen(john.get("/sites"))
    assert 'id="his"' not in seen(john.get("/destinations"))
    assert "St. Mary's" not in seen(john.get("/routes"))
    plan = john.get("/replay?begin=deliver&state=dead")
    assert "There is nothing to do" in seen(plan)
    for path in TABLE_PAGES:
        assert john.get(path).status == 403, path
    csrf = john.get("/profile").form("/sign-out").fields["csrf"]
    for path, fields, status in (
        ("/destinations/his/pause", {"reason": "x"}, 404),
        ("/holds/release", {"id": "1", "then": "", "reason": "x"}, 404),
        ("/replay", {"begin": "deliver", "id": scene.dead, "expect": "1", "reason": "x"}, 404),
        ("/dead-letters/discard", {"id": scene.dead, "reason": "x"}, 404),
        ("/routes/apply", {"file": "routes.yaml", "text": "x", "reason": "x"}, 403),
    ):
        assert john.post(path, {"csrf": csrf, **fields}).status == status, path


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/deliveries?state=lost", 400),
        ("/deliveries?before=x", 400),
        ("/deliveries?before=%C2%B2", 400),
        ("/holds/release?id=x", 400),
        ("/holds/release?id=1&then=away", 400),
        ("/holds/release", 303),
        ("/holds/release?id=99999", 404),
        ("/replay", 400),
        ("/replay?begin=deliver&to=nowhere&state=dead", 422),
        ("/replay?begin=route", 422),
        ("/routes/edit?file=../x", 404),
        ("/routes/versions/none", 404),
    ],
)
def test_an_address_that_makes_no_sense_is_told(scene: Scene, path: str, status: int) -> None:
    assert scene.engineer().get(path).status == status


# ── doing ──


def test_holds_are_released_after_a_look_a_reason_and_their_number(scene: Scene) -> None:
    eva = scene.engineer()
    holds = [str(one["hold"]) for one in scene.house.engine.json("hold")]
    assert len(holds) == 2
    plan = eva.get(f"/holds/release?id={holds[0]}&id={holds[1]}")
    assert "something happens to" in seen(plan)
    for typed, said in (
        ({"reason": "", "typed": "2"}, "Say why"),
        ({"reason": "seen", "typed": "3"}, "Type 2"),
    ):
        refused = confirm(eva, plan, "/holds/release", **typed)
        assert (refused.status, said in refused.text) == (422, True)
    assert len(scene.house.engine.json("hold")) == 2
    done = eva.follow(confirm(eva, plan, "/holds/release", reason="seen", typed="2"))
    assert "2 holds released." in done.text
    assert scene.house.engine.json("hold") == []
    assert [one["actor"] for one in scene.house.audited("hold released")] == ["person eva"] * 2
    assert "nothing to do" in seen(eva.get(f"/holds/release?id={holds[0]}"))


def test_a_destination_is_paused_and_goes_on(scene: Scene) -> None:
    eva = scene.engineer()
    page = eva.get("/destinations")
    silent = confirm(eva, page, "/destinations/johns-hook/pause", reason=" ")
    assert silent.status == 422
    done = eva.follow(confirm(eva, page, "/destinations/johns-hook/pause", reason="they move"))
    assert "paused by person eva: they move" in done.text
    twice = confirm(eva, page, "/destinations/johns-hook/pause", reason="they move")
    assert (twice.status, "paused already" in twice.text) == (422, True)
    on = eva.follow(confirm(eva, eva.get("/destinations"), "/destinations/johns-hook/resume"))
    assert "johns-hook goes on." in on.text
    assert len(scene.house.audited("destination paused")) == 1


def test_another_table_is_planned_then_applied(scene: Scene) -> None:
    eva = scene.engineer()
    assert eva.get("/routes/edit").status == 200
    text = scene.house.engine.table.read_text().replace("no route matched", "nobody knows this one")
    csrf = eva.get("/profile").form("/sign-out").fields["csrf"]
    broken = eva.post("/routes/plan", {"csrf": csrf, "file": "routes.yaml", "text": "routes: 7"})
    assert "the table has errors" in broken.text.lower()
    assert 'action="/routes/apply"' not in broken.answer.text
    plan = eva.post("/routes/plan", {"csrf": csrf, "file": "routes.yaml", "text": text})
    assert "no route matched -> nobody knows this one" in seen(plan)
    word = {"text": text.replace("\n", "\r\n")}  # as a browser sends a textarea
    assert confirm(eva, plan, "/routes/apply", **word, reason="").status == 422
    done = eva.follow(confirm(eva, plan, "/routes/apply", **word, reason="a better word"))
    assert "is the running table." in done.text
    assert "holds: nobody knows this one" in done.text
    stale = confirm(eva, plan, "/routes/apply", text=text.replace("nobody", "no one"), reason="again")
    assert (stale.status, "plan again" in stale.text) == (422, True)
    (latest, first) = scene.house.engine.json("history")
    assert (latest["actor"], latest["message"]) == ("person eva", "a better word")
    versions = seen(eva.get("/routes/versions"))
    assert latest["version"] in versions
    difference = seen(eva.get(f"/routes/versions/{first['version']}?with={latest['version']}"))
    assert "+  hold: nobody knows this one" in difference


def test_a_program_of_the_machine_is_not_changed_from_here(scene: Scene) -> None:
    eva = scene.engineer()
    table = yaml.safe_load(scene.house.engine.table.read_text())
    table["processors"]["qc"] = {"type": "command", "command": ["sh", "{in}", "{out}"]}
    text = yaml.safe_dump(table, sort_keys=False)
    csrf = eva.get("/profile").form("/sign-out").fields["csrf"]
    plan = eva.post("/routes/plan", {"csrf": csrf, "file": "routes.yaml", "text": text})
    assert "run another program of the engine's machine" in seen(plan)
    assert 'action="/routes/apply"' not in plan.answer.text


def test_the_trail_is_for_admins_of_every_site(scene: Scene) -> None:
    anna, eva = scene.house.person("anna", "admin"), scene.engineer()
    assert eva.get("/audit").status == 403
    page = anna.get("/audit?actor=person+eva")
    assert "message.viewed" in seen(page)
    proof = anna.post("/audit/verify", page.form("/audit/verify").fields)
    assert "the chain is whole" in seen(proof)
    assert anna.get("/audit?since=yesterday").status == 400
    assert "No event like that" in seen(anna.get("/audit?action=nothing"))


def test_a_dead_letter_goes_again_after_a_look_and_a_reason(scene: Scene) -> None:
    eva = scene.engineer()
    assert scene.dead[:8] in seen(eva.get("/dead-letters?destination=his"))
    plan = eva.get(f"/replay?begin=deliver&id={scene.dead}")
    assert "under the same identifiers" in seen(plan)
    assert confirm(eva, plan, "/replay", reason="").status == 422
    stale = confirm(eva, plan, "/replay", reason="the HIS is back", expect="7")
    assert (stale.status, "look again" in stale.text) == (422, True)
    done = eva.follow(confirm(eva, plan, "/replay", reason="the HIS is back"))
    assert "1 delivery replayed from deliver." in done.text
    scene.house.engine.wait_for_states({"hook": ["delivered"], "his": ["delivered"]})
    (event,) = scene.house.audited("replayed")
    assert (event["actor"], event["detail"]["reason"]) == ("person eva", "the HIS is back")
    left = eva.get(f"/dead-letters/discard?id={scene.dead}")
    assert "it is delivered, no dead letter" in seen(left)
