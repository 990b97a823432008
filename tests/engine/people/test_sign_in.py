"""Signing in: password, then a code; each once, each token new, and nothing said of what was wrong."""

from __future__ import annotations

import pyotp
import pytest

from engine.person import PersonState, Role, SignInRefused, SignInRefusedReason, Stage
from tests.engine.people.conftest import ELSEWHERE, HERE, PASSWORD, House


async def test_an_invitation_leads_to_an_open_session_and_is_good_once(house: House) -> None:
    invitation = await house.invite("Ana.Silva@st-marys.example")
    assert house.person("ana.silva@st-marys.example").state is PersonState.INVITED
    assert (await house.desk.invited(invitation.token)).username == "ana.silva@st-marys.example"
    first = await house.desk.accept_invitation(invitation.token, PASSWORD, HERE)
    assert first.session.stage is Stage.ENROLMENT

    enrolment = await house.desk.enrolment(first.token)
    assert enrolment == await house.desk.enrolment(first.token)  # the same until it is confirmed
    assert "issuer=Pons" in enrolment.uri
    app = pyotp.parse_uri(enrolment.uri)
    assert isinstance(app, pyotp.TOTP)
    issued, codes = await house.desk.enrol(first.token, app.at(house.clock.now()), HERE)

    assert (issued.session.stage, issued.session.remote_address) == (Stage.OPEN, HERE)
    assert issued.session.expires_at == house.clock.now() + 3600
    assert len(set(codes)) == 10
    seen = await house.desk.session(issued.token)
    assert seen == issued.session
    assert seen is not None
    assert (seen.person.state, seen.person.second_factor, seen.person.may(Role.ADMIN)) == (
        PersonState.ACTIVE, True, True,
    )  # fmt: skip
    assert await house.desk.session(first.token) is None  # each step has another token
    with pytest.raises(SignInRefused, match="this invitation is over"):
        await house.desk.accept_invitation(invitation.token, PASSWORD, HERE)
    assert [event.action for event in house.trail()] == [
        "person.invited", "person.invitation_accepted", "person.second_factor_enrolled", "person.signed_in",
    ]  # fmt: skip


async def test_password_and_code_open_a_session(house: House) -> None:
    ana = await house.enter()
    house.clock.advance(60)
    first = await house.desk.sign_in(" ANA ", PASSWORD, ELSEWHERE)
    assert first.session.stage is Stage.SECOND_FACTOR
    issued = await house.desk.second_factor(first.token, ana.app.at(house.clock.now()), ELSEWHERE)
    assert issued.session.stage is Stage.OPEN
    assert issued.session.csrf_token != first.session.csrf_token
    assert len(await house.desk.sessions(ana.person.person_id)) == 2
    event = house.trail("person.signed_in")[-1]
    assert (event.actor, event.subject) == ("person ana", "person ana")
    assert event.detail["second_factor"] == "authenticator"
    assert event.detail["remote_address"] == ELSEWHERE


async def test_what_was_wrong_is_not_said(house: House) -> None:
    ana = await house.enter()
    await house.invite("ben", Role.VIEWER)
    said = set()
    for name, password in (
        ("ana", "violet harbour sings softly"), ("nobody", PASSWORD), ("ben", ""), ("", ""),
        ("x" * 5000, "y" * 5000), ("ana\x00", PASSWORD),
    ):  # fmt: skip
        with pytest.raises(SignInRefused) as refusal:
            await house.desk.sign_in(name, password, ELSEWHERE)
        said.add((refusal.value.reason, str(refusal.value)))
    assert said == {(SignInRefusedReason.WRONG, "username or password is wrong")}
    refused = house.trail("person.sign_in_refused")
    assert [(one.subject, one.actor, one.detail["reason"]) for one in refused] == [
        ("person ana", ELSEWHERE, "password"), ("person ben", ELSEWHERE, "password"),
    ]  # fmt: skip
    assert await house.desk.session(ana.token) is not None
