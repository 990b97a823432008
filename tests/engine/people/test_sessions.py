"""Sessions: an hour, on some devices, each token once; over when anything changes that they stand on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher

from engine.errors import Busy
from engine.people.key import Key
from engine.people.office import is_readable
from engine.people_section import PeopleSettings
from engine.person import Role, SignInRefused, SignInRefusedReason, Stage
from engine.store.people_tables import invitations, people, person_sessions, recovery_codes
from tests.engine.people.conftest import ELSEWHERE, FERNET, HERE, PASSWORD, House

EXPIRED = SignInRefusedReason.EXPIRED
OTHER = "seven giraffes read the news"


async def test_a_session_ends_after_its_hour_whatever_was_done_meanwhile(house: House) -> None:
    ana = await house.enter()
    house.clock.advance(1800)
    changed = await house.desk.change_password(ana.token, PASSWORD, OTHER, HERE)
    house.clock.advance(1799)
    assert await house.desk.session(changed.token) is not None
    house.clock.advance(1)
    assert await house.desk.session(changed.token) is None
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.change_password(changed.token, OTHER, PASSWORD, HERE)
    assert refusal.value.reason is EXPIRED


async def test_only_a_digest_of_a_token_is_kept(house: House) -> None:
    ana = await house.enter()
    (row,) = house.rows(person_sessions)
    assert row.token_hash == hashlib.sha256(ana.token.encode()).hexdigest()
    assert len(ana.token) == 43
    everything = str([house.rows(one) for one in (people, person_sessions, recovery_codes, invitations)])
    everything += str([tuple(event) for event in house.trail()])
    for secret in (ana.token, ana.password, ana.app.secret, *ana.codes):
        assert secret not in everything


@pytest.mark.parametrize("token", ["", "x", "x" * 100_000, "\x00", "é\ud800"])
async def test_what_is_no_token_is_nobodys_session(house: House, token: str) -> None:
    await house.enter()
    assert await house.desk.session(token) is None
    await house.desk.sign_out(token)
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.second_factor(token, "123456", HERE)
    assert refusal.value.reason is EXPIRED


async def test_half_a_sign_in_is_none_and_is_soon_over(house: House) -> None:
    ana = await house.enter()
    first = await house.desk.sign_in("ana", PASSWORD, HERE)
    for step in (
        house.desk.enrolment(first.token),
        house.desk.change_password(first.token, PASSWORD, OTHER, HERE),
        house.desk.new_recovery_codes(first.token, "123456", HERE),
    ):
        with pytest.raises(SignInRefused, match="your session is over: sign in again"):
            await step
    with pytest.raises(SignInRefused, match="only an admin who is signed in"):
        await house.desk.people(actor=first.session)
    house.clock.advance(600)
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.second_factor(first.token, ana.app.at(house.clock.now()), HERE)
    assert refusal.value.reason is EXPIRED


async def test_signing_out_ends_one_session_and_may_be_repeated(house: House) -> None:
    ana = await house.enter()
    other = await house.again(ana)
    for _ in range(2):
        await house.desk.sign_out(ana.token)
    assert await house.desk.session(ana.token) is None
    assert await house.desk.session(other.token) is not None
    (event,) = house.trail("person.signed_out")
    assert event.detail == {"session": ana.issued.session.session_id}


async def test_one_device_more_ends_the_oldest(house: House) -> None:
    house.settings = PeopleSettings(sessions=3)
    house.desk = house.another()
    ana = await house.enter()
    later = [await house.again(ana) for _ in range(3)]
    alive = [await house.desk.session(one.token) is not None for one in (ana, *later)]
    assert alive == [False, True, True, True]
    found = await house.desk.sessions(ana.person.person_id)
    assert [one.session_id for one in found] == [one.issued.session.session_id for one in reversed(later)]


async def test_who_has_only_the_password_ends_no_session(house: House) -> None:
    house.settings = PeopleSettings(sessions=3)
    house.desk = house.another()
    ana = await house.enter()
    halves = [await house.desk.sign_in("ana", PASSWORD, ELSEWHERE) for _ in range(5)]
    assert await house.desk.session(ana.token) is not None
    alive = [await house.desk.session(one.token) is not None for one in halves]
    assert sum(alive) == 3
    assert alive[-1]


async def test_another_password_ends_every_other_session_and_gives_this_one_another_token(
    house: House,
) -> None:
    ana = await house.enter()
    other = await house.again(ana)
    changed = await house.desk.change_password(ana.token, PASSWORD, OTHER, HERE)
    assert changed.session.session_id == ana.issued.session.session_id
    assert changed.session.csrf_token != ana.issued.session.csrf_token
    assert await house.desk.session(ana.token) is None
    assert await house.desk.session(other.token) is None
    assert await house.desk.session(changed.token) == changed.session
    with pytest.raises(SignInRefused):
        await house.desk.sign_in("ana", PASSWORD, HERE)
    assert (await house.desk.sign_in("ana", OTHER, HERE)).session.stage is Stage.SECOND_FACTOR


@pytest.mark.parametrize(
    ("old", "new", "reason", "says"),
    [
        (OTHER, "a third one that is long", SignInRefusedReason.WRONG, "not your present password"),
        (PASSWORD, "short", SignInRefusedReason.WEAK, "fewer than 12 characters"),
        (PASSWORD, PASSWORD, SignInRefusedReason.WEAK, "that is your present password"),
    ],
)
async def test_a_password_that_is_not_changed_leaves_all_as_it_was(
    house: House, old: str, new: str, reason: SignInRefusedReason, says: str
) -> None:
    ana = await house.enter()
    for _ in range(3):
        with pytest.raises(SignInRefused, match=says) as refusal:
            await house.desk.change_password(ana.token, old, new, HERE)
        assert refusal.value.reason is reason
    assert await house.desk.session(ana.token) is not None
    assert house.trail("person.password_changed") == []


async def test_who_has_a_session_cannot_guess_the_password(house: House) -> None:
    ana = await house.enter()
    for _ in range(5):
        with pytest.raises(SignInRefused, match="not your present password"):
            await house.desk.change_password(ana.token, OTHER, "a third one that is long", HERE)
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.change_password(ana.token, PASSWORD, OTHER, HERE)
    assert refusal.value.reason is SignInRefusedReason.LOCKED


async def test_a_code_is_good_once(house: House, together: Callable[..., Any]) -> None:
    ana = await house.enter()
    house.clock.advance(60)
    code = ana.app.at(house.clock.now())
    firsts = [await house.desk.sign_in("ana", PASSWORD, HERE) for _ in range(3)]
    told = await together(*(house.desk.second_factor(one.token, code, HERE) for one in firsts))
    assert sum(not isinstance(one, Exception) for one in told) == 1
    earlier = ana.app.at(house.clock.now() - 30)
    left = next(one for one, got in zip(firsts, told, strict=True) if isinstance(got, Exception))
    with pytest.raises(SignInRefused, match="that code is not good"):  # one of before is none any more
        await house.desk.second_factor(left.token, earlier, HERE)


async def test_the_code_of_the_enrolment_opens_nothing_else(house: House) -> None:
    ana = await house.enter()
    first = await house.desk.sign_in("ana", PASSWORD, HERE)
    with pytest.raises(SignInRefused, match="that code is not good"):
        await house.desk.second_factor(first.token, ana.app.at(house.clock.now()), HERE)


async def test_each_recovery_code_opens_one_session(house: House) -> None:
    ana = await house.enter()
    first = await house.desk.sign_in("ana", PASSWORD, HERE)
    issued = await house.desk.second_factor(first.token, ana.codes[0].upper().replace("-", " "), HERE)
    assert issued.session.stage is Stage.OPEN
    assert house.trail("person.recovery_code_used")[0].detail == {"left": 9}
    again = await house.desk.sign_in("ana", PASSWORD, HERE)
    with pytest.raises(SignInRefused, match="that code is not good"):
        await house.desk.second_factor(again.token, ana.codes[0], HERE)


async def test_other_recovery_codes_take_the_place_of_those_before(house: House) -> None:
    ana = await house.enter()
    for wrong in ("000000", ana.codes[0]):  # a lost app is no reason to have more codes
        with pytest.raises(SignInRefused):
            await house.desk.new_recovery_codes(ana.token, wrong, HERE)
    house.clock.advance(60)
    codes = await house.desk.new_recovery_codes(ana.token, ana.app.at(house.clock.now()), HERE)
    assert not set(codes) & set(ana.codes)
    first = await house.desk.sign_in("ana", PASSWORD, HERE)
    with pytest.raises(SignInRefused):
        await house.desk.second_factor(first.token, ana.codes[1], HERE)
    assert (await house.desk.second_factor(first.token, codes[1], HERE)).session.stage is Stage.OPEN


async def test_an_enrolment_ends_all_others_so_that_nobody_enrols_a_second_time(house: House) -> None:
    invitation = await house.invite()
    mine = await house.desk.accept_invitation(invitation.token, PASSWORD, HERE)
    anothers = await house.desk.sign_in("ana", PASSWORD, ELSEWHERE)
    assert anothers.session.stage is Stage.ENROLMENT
    secret = (await house.desk.enrolment(anothers.token)).secret
    own = (await house.desk.enrolment(mine.token)).secret
    assert secret != own
    with pytest.raises(SignInRefused, match="that code is not good"):
        await house.desk.enrol(mine.token, pyotp.TOTP(secret).at(house.clock.now()), HERE)
    await house.desk.enrol(mine.token, pyotp.TOTP(own).at(house.clock.now()), HERE)
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.enrol(anothers.token, pyotp.TOTP(secret).at(house.clock.now()), ELSEWHERE)
    assert refusal.value.reason is EXPIRED


async def test_an_invitation_ends_in_time_and_is_accepted_by_one(
    house: House, together: Callable[..., Any]
) -> None:
    invitation = await house.invite()
    with pytest.raises(SignInRefused, match="fewer than 12 characters"):
        await house.desk.accept_invitation(invitation.token, "short", HERE)
    told = await together(*(house.desk.accept_invitation(invitation.token, PASSWORD, HERE) for _ in range(4)))
    assert sum(not isinstance(one, Exception) for one in told) == 1
    late = await house.invite("ben")
    house.clock.advance(72 * 3600)
    for attempt in (house.desk.invited(late.token), house.desk.accept_invitation(late.token, PASSWORD, HERE)):
        with pytest.raises(SignInRefused) as refusal:
            await attempt
        assert refusal.value.reason is EXPIRED


async def test_a_password_is_hashed_anew_when_parameters_change(house: House) -> None:
    await house.enter()
    before = house.rows(people)[0].password_hash
    assert before.startswith("$argon2id$")
    dearer = house.another(hasher=PasswordHasher(time_cost=2, memory_cost=128, parallelism=1))
    await dearer.sign_in("ana", PASSWORD, HERE)
    after = house.rows(people)[0].password_hash
    assert "m=128,t=2" in after
    await dearer.sign_in("ana", PASSWORD, HERE)
    assert house.rows(people)[0].password_hash == after


async def test_another_key_lets_nobody_in_and_says_so_to_those_who_run_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    ana = await house.enter()
    other = house.another(key="QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    first = await other.sign_in("ana", PASSWORD, HERE)
    house.clock.advance(60)
    with pytest.raises(Busy, match="tell whoever runs this engine"):
        await other.second_factor(first.token, ana.app.at(house.clock.now()), HERE)
    keys = {"ours": FERNET, "another": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}
    readable = {
        name: house.database.read_now(lambda c, text=text: is_readable(c, Key([text])))
        for name, text in keys.items()
    }
    assert readable == {"ours": True, "another": False}  # what the engine looks at when it starts
    assert "bring that key back" in str([record.__dict__.get("pons") for record in caplog.records])


async def test_what_somebody_looks_at_is_on_the_trail(house: House) -> None:
    ana = await house.enter("ana", Role.VIEWER, "st-marys")
    await house.desk.seen(ana.issued.session, "order.viewed", "order 17", {"site": "st-marys"})
    (event,) = house.trail("order.viewed")
    assert (event.actor, event.subject) == ("person ana", "order 17")
    assert event.detail == {"site": "st-marys", "session": ana.issued.session.session_id}
