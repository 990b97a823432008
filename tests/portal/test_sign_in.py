"""Signing in: invited, enrolled, by code and recovery code, out again; each refusal in the same words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.portal.visitor import PASSWORD, Visitor, invited, serving_portal, signed_in, trail, visiting


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    with serving_portal(tmp_path_factory.mktemp("portal"), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def ada(engine: Engine) -> Iterator[Visitor]:
    with signed_in(engine, "ada", "admin", address="127.0.1.1") as visitor:
        yield visitor


def test_nobody_sees_anything_without_signing_in(engine: Engine) -> None:
    with visiting(engine.url, "127.0.1.2") as visitor:
        page = visitor.get("/profile?tab=1")
        assert (page.status, page.location) == (303, "/sign-in?next=%2Fprofile%3Ftab%3D1")
        shown = visitor.follow(page)
        assert shown.status == 200
        assert "pons user invite" in shown.text
        assert shown.form("/sign-in").fields["next"] == ["/profile?tab=1"]


def test_whoever_is_invited_chooses_a_password_and_a_second_factor_and_is_in(engine: Engine) -> None:
    with visiting(engine.url, "127.0.1.3") as visitor:
        invitation = invited(engine, "bo", "viewer@st-marys")
        visitor.accept(invitation)
        profile = visitor.get("/profile")
        assert profile.status == 200
        assert "viewer: St. Mary's" in profile.text
        assert visitor.get(invitation.removeprefix(engine.url)).status == 401, "an invitation serves once"


@pytest.mark.parametrize(
    ("password", "again", "said"),
    [
        ("short", "short", "fewer than 12 characters"),
        (PASSWORD, PASSWORD + "!", "not the same"),
        ("carol carol carol", "carol carol carol", "holds the username"),
    ],
)
def test_a_password_that_cannot_be_is_said_at_its_field(
    engine: Engine, password: str, again: str, said: str
) -> None:
    with visiting(engine.url, "127.0.1.4") as visitor:
        path = invited(engine, "carol", "viewer").removeprefix(engine.url)
        page = visitor.submit_own(visitor.get(path), path, password=password, again=again)
        assert page.status == 422
        assert said in page.text
        assert 'aria-invalid="true"' in page.answer.text
        assert password not in page.answer.text


def test_a_sign_in_takes_both_steps_and_leads_to_where_one_wanted(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.1.5") as visitor:
        first = visitor.first_step("ada", target="/people")
        assert first.location == "/sign-in/second-factor?next=%2Fpeople"
        assert visitor.get("/people").location == "/sign-in/second-factor", "half a sign-in opens nothing"
        assert ada.app is not None
        wrong = visitor.submit(visitor.get(first.location), "/sign-in/second-factor", code="000000")
        assert wrong.status == 401
        code = ada.app.at(time.time() + 30)  # the present one was used when it was enrolled
        done = visitor.submit(visitor.get(first.location), "/sign-in/second-factor", code=code)
        assert (done.status, done.location) == (303, "/people")
        assert visitor.get("/people").status == 200


def test_each_step_has_another_session_token(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.1.6") as visitor:
        visitor.codes = ada.codes
        first = visitor.first_step("ada")
        before = visitor.http.cookies["pons-session"]
        done = visitor.submit(visitor.get(first.location), "/sign-in/second-factor", code=visitor.codes.pop())
        assert done.status == 303
        after = visitor.http.cookies["pons-session"]
        assert before != after
        visitor.http.cookies.set("pons-session", before, domain="127.0.0.1", path="/")
        assert visitor.get("/profile").status == 303, "the token of the first step is worth nothing now"


def test_a_recovery_code_serves_once(engine: Engine, ada: Visitor) -> None:
    with visiting(engine.url, "127.0.1.7") as visitor:
        code = ada.codes[-1]
        visitor.codes = ada.codes
        assert visitor.sign_in_by_recovery_code("ada").location == "/"
        assert visitor.get("/sign-in?next=/people").location == "/people", "who is signed in needs no form"
        visitor.submit(visitor.get("/profile"), "/sign-out")
        page = visitor.get(visitor.first_step("ada").location)
        again = visitor.submit(page, "/sign-in/second-factor", code=code)
        assert again.status == 401


def test_every_refusal_is_in_the_same_words(engine: Engine, ada: Visitor) -> None:
    invited(engine, "dora", "viewer")
    with visiting(engine.url, "127.0.1.8") as visitor:
        words = set()
        for username in ("ada", "zoe", "dora"):
            page = visitor.first_step(username, "not the password")
            assert page.status == 401
            assert "not the password" not in page.answer.text
            words.add(page.text.replace(username, ""))
        assert len(words) == 1


def test_whoever_guesses_waits(engine: Engine) -> None:
    with signed_in(engine, "eva", "viewer", address="127.0.1.9"), visiting(engine.url, "127.0.1.10") as other:
        answers = [other.first_step("eva", f"guess number {number}") for number in range(6)]
        assert answers[-1].status == 429
        assert int(answers[-1].answer.headers["retry-after"]) > 0
        assert "Sign in" in answers[-1].text


def test_signing_out_ends_the_session_on_the_engine(engine: Engine) -> None:
    with signed_in(engine, "fay", "viewer", address="127.0.1.11") as visitor:
        token = visitor.http.cookies["pons-session"]
        done = visitor.submit(visitor.get("/profile"), "/sign-out")
        assert done.location == "/sign-in"
        assert "You are signed out" in visitor.follow(done).text
        visitor.http.cookies.set("pons-session", token, domain="127.0.0.1", path="/")
        assert visitor.get("/profile").status == 303


def test_a_session_that_ended_elsewhere_leads_to_the_sign_in_and_says_so(engine: Engine) -> None:
    with signed_in(engine, "gil", "viewer", address="127.0.1.12") as visitor:
        engine.pons("user", "sessions", "gil", "--end")
        page = visitor.get("/profile")
        assert page.location == "/sign-in?next=%2Fprofile"
        assert "Your session is over" in visitor.follow(page).text
        assert "pons-session" not in visitor.http.cookies
        fetched = visitor.http.get("/profile", headers={"Sec-Fetch-Dest": "empty"})
        assert (fetched.status_code, fetched.headers["content-type"]) == (401, "application/problem+json")


def test_another_password_signs_out_everywhere_else(engine: Engine) -> None:
    with signed_in(engine, "hal", "viewer", address="127.0.1.13") as here, visiting(engine.url) as there:
        there.codes = here.codes
        assert there.sign_in_by_recovery_code("hal").location == "/"
        new = "copper meadow whistles twice"
        page = here.get("/profile/password")
        wrong = here.submit(page, "/profile/password", old="wrong one", new=new, again=new)
        assert wrong.status == 401
        differs = here.submit(page, "/profile/password", old=PASSWORD, new=new, again=new + "?")
        assert (differs.status, "not the same" in differs.text) == (422, True)
        done = here.submit(page, "/profile/password", old=PASSWORD, new=new, again=new)
        assert done.location == "/profile"
        assert "Your password is changed" in here.follow(done).text
        assert there.get("/profile").status == 303
        there.codes = here.codes
        assert there.first_step("hal", PASSWORD).status == 401
        assert there.sign_in_by_recovery_code("hal", new).location == "/"


def test_new_recovery_codes_take_the_place_of_the_old(engine: Engine) -> None:
    with signed_in(engine, "ian", "viewer", address="127.0.1.14") as visitor:
        assert visitor.app is not None
        page = visitor.get("/profile/recovery-codes")
        assert visitor.submit(page, "/profile/recovery-codes", code="000000").status == 401
        code = visitor.app.at(time.time() + 30)
        shown = visitor.submit(page, "/profile/recovery-codes", code=code)
        assert shown.status == 200
        assert visitor.codes[0] not in shown.answer.text
        assert shown.answer.text.count("<li><code>") == 10


def test_all_of_it_is_on_the_trail_and_no_secret_is_in_log_or_trail(engine: Engine, ada: Visitor) -> None:
    told = json.dumps(trail(engine)) + "\n".join(engine.log_lines())
    assert "person.signed_in" in told
    assert "person.sign_in_refused" in told
    for secret in (PASSWORD, *ada.codes, ada.http.cookies["pons-session"]):
        assert secret not in told
