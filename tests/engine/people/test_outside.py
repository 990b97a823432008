"""Signing in with an outside identity provider, a real one: right, and wrong in every way that matters."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.errors import Busy
from engine.people_section import OutsideSettings, PeopleSettings
from engine.person import Issued, PersonState, Role, SignInRefused, SignInRefusedReason, Stage
from engine.store.database import Database
from engine.store.people_tables import outside_states, person_sessions
from tests.engine.conftest import HandClock
from tests.engine.people.conftest import HERE, PASSWORD, House
from tests.peers.identity_provider import Provider

pytestmark = pytest.mark.peers
BACK = "http://127.0.0.1:8080/sign-in/outside/back"


def settings(provider: Provider, **changed: Any) -> PeopleSettings:
    facts = {"issuer": provider.url, "client_id": "pons", "name": "St. Mary's", **changed}
    return PeopleSettings(oidc=OutsideSettings.model_validate(facts))


@pytest.fixture
def house(sqlite_database: Database, identity_provider: Provider) -> House:
    """A desk whose clock shows the provider's time."""
    identity_provider.person(sub="johndoe", preferred_username="jd", email="jd@st-marys.example")
    return House(sqlite_database, HandClock(time.time()), settings(identity_provider))


@pytest.fixture
def go(house: House, identity_provider: Provider) -> Callable[..., Awaitable[Issued]]:
    """A function that goes the way of a browser: there, back, in."""

    async def there_and_back(**back: str) -> Issued:
        begun = await house.desk.begin_outside(BACK)
        came = await asyncio.to_thread(identity_provider.visit, begun.url)
        assert came["state"] == begun.state
        given = {"state": came["state"], "code": came["code"], "redirect_uri": BACK, **back}
        return await house.desk.complete_outside(**given, remote_address=HERE)

    return there_and_back


async def test_somebody_who_was_invited_by_his_name_there_is_in_and_known_from_then_on(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    invitation = await house.invite("jane", Role.VIEWER, "st-marys", identity="jd")
    assert invitation.token == ""
    assert house.desk.outside == "St. Mary's"
    issued = await go()
    assert (issued.session.stage, issued.session.person.username) == (Stage.OPEN, "jane")
    assert issued.session.person.identity == identity_provider.url
    assert issued.session.person.state is PersonState.ACTIVE
    assert [one.action for one in house.trail()] == [
        "person.invited", "person.identity_bound", "person.signed_in",
    ]  # fmt: skip
    # Names there may go to somebody else; the subject never does (Core 5.7).
    identity_provider.person(sub="another", preferred_username="jd")
    with pytest.raises(SignInRefused, match="names nobody who may sign in here"):
        await go()
    identity_provider.person(sub="johndoe", preferred_username="smith")
    assert (await go()).session.person.username == "jane"


async def test_somebody_who_was_invited_by_his_subject_is_in(
    house: House, go: Callable[..., Awaitable[Issued]]
) -> None:
    await house.invite("jane", identity="johndoe")
    assert (await go()).session.person.may_everywhere(Role.ADMIN)


async def test_what_is_asked_is_a_code_for_this_sign_in_alone(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    begun, other = await house.desk.begin_outside(BACK), await house.desk.begin_outside(BACK)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    also = {name: values[0] for name, values in parse_qs(urlsplit(other.url).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid profile email"
    assert (asked["state"], asked["redirect_uri"]) == (begun.state, BACK)
    for name in ("state", "nonce", "code_challenge"):
        assert asked[name] != also[name]
    assert house.rows(outside_states) == []  # who only begins writes nothing
    await house.invite("jane", identity="jd")
    await go()
    (kept,) = house.rows(outside_states)
    assert len(kept.state_hash) == 64
    (request,) = identity_provider.requests()
    assert request["body"]["client_id"] == "pons"
    assert len(request["body"]["code_verifier"]) == 43


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"claims": {"nonce": "of another sign-in"}}, "is of another sign-in"),
        ({"claims": {"nonce": None}}, "is of another sign-in"),
        ({"claims": {"aud": "somebody else"}}, "does not hold: InvalidAudienceError"),
        ({"claims": {"aud": ["pons", "somebody else"]}}, "issued to another party"),
        ({"claims": {"azp": "somebody else"}}, "issued to another party"),
        ({"claims": {"iss": "https://login.example"}}, "does not hold: InvalidIssuerError"),
        ({"claims": {"exp": 1_700_000_000}}, "has expired"),
        ({"claims": {"exp": None}}, "does not hold: MissingRequiredClaimError"),
        ({"claims": {"iat": 1_700_000_000}}, "is old"),
        ({"claims": {"iat": 4_000_000_000}}, "is of the future"),
        ({"claims": {"sub": ""}}, "names nobody"),
        ({"unsigned": True}, "is not signed by RS256 or ES256"),
        ({"tampered": True}, "does not hold: InvalidSignatureError"),
        ({"status": 400, "body": {"error": "invalid_grant"}}, "refuses the code: 400"),
        ({"body": {"access_token": "x"}}, "gave no ID token"),
        ({"body": {"id_token": "x.y.z"}}, "is no JWT"),
        ({"body": {"id_token": "x" * 100_000}}, "is no JWT"),
    ],
)
async def test_a_token_that_does_not_hold_lets_nobody_in(
    house: House,
    identity_provider: Provider,
    go: Callable[..., Awaitable[Issued]],
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, Any],
    reason: str,
) -> None:
    await house.invite("jane", identity="jd")
    await house.invite("root", identity="root")
    identity_provider.next(**wrong)
    with caplog.at_level(logging.WARNING, "pons.people"), pytest.raises(SignInRefused) as refusal:
        await go()
    assert refusal.value.reason is SignInRefusedReason.WRONG
    (line,) = [one for one in caplog.records if one.name == "pons.people"]
    assert reason in line.pons["reason"]  # type: ignore[attr-defined]
    assert house.rows(person_sessions) == []
    assert (await go()).session.person.username == "jane"  # the next one holds


async def test_a_sign_in_comes_back_once_in_time_and_to_where_it_began(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    await house.invite("jane", identity="jd")
    begun = await house.desk.begin_outside(BACK)
    came = await asyncio.to_thread(identity_provider.visit, begun.url)
    await house.desk.complete_outside(begun.state, came["code"], BACK, HERE)
    late = await house.desk.begin_outside(BACK)
    fresh = await house.desk.begin_outside(BACK)
    random_part, _, rest = fresh.state.partition(".")
    later = f"{random_part}.{int(rest.split('.')[0]) + 600}.{rest.split('.')[1]}"
    for state, where in (
        (begun.state, BACK),  # again
        (fresh.state, f"{BACK}/elsewhere"),
        (later, BACK),
        ("", BACK),
        ("x" * 5000, BACK),
        (fresh.state + "\n", BACK),
    ):
        with pytest.raises(SignInRefused, match="this sign-in is over") as refusal:
            await house.desk.complete_outside(state, came["code"], where, HERE)
        assert refusal.value.reason is SignInRefusedReason.EXPIRED
    house.clock.advance(600)
    with pytest.raises(SignInRefused, match="this sign-in is over"):
        await house.desk.complete_outside(late.state, came["code"], BACK, HERE)
    assert len(identity_provider.requests()) == 1
    assert len(house.rows(person_sessions)) == 1


async def test_a_code_of_another_sign_in_is_good_for_nothing(
    house: House, identity_provider: Provider
) -> None:
    """The verifier does not fit, says the provider (RFC 7636 4.6)."""
    await house.invite("jane", identity="jd")
    mine, anothers = await house.desk.begin_outside(BACK), await house.desk.begin_outside(BACK)
    came = await asyncio.to_thread(identity_provider.visit, anothers.url)
    with pytest.raises(SignInRefused, match="names nobody"):
        await house.desk.complete_outside(mine.state, came["code"], BACK, HERE)
    assert house.rows(person_sessions) == []


async def test_who_is_nobody_here_or_disabled_stays_out_however_often_he_comes(
    house: House, go: Callable[..., Awaitable[Issued]]
) -> None:
    invitation = await house.invite("jane", Role.VIEWER, identity="jd")
    await go()
    await house.database.write(lambda c: house.register(c).disable(invitation.person.person_id))
    for _ in range(30):
        with pytest.raises(SignInRefused, match="names nobody"):
            await go()
    with pytest.raises(SignInRefused, match="too many wrong tries") as refusal:
        await go()
    assert refusal.value.reason is SignInRefusedReason.LOCKED
    refused = house.trail("person.sign_in_refused")
    assert {(one.subject, one.detail["reason"]) for one in refused} == {("person jane", "disabled")}


async def test_he_has_no_password_and_a_reset_forgets_which_subject_he_was(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    await house.invite("jane", identity="jd")
    issued = await go()
    with pytest.raises(SignInRefused, match="username or password is wrong"):
        await house.desk.sign_in("jane", PASSWORD, HERE)
    with pytest.raises(SignInRefused, match="kept by your organisation"):
        await house.desk.change_password(issued.token, PASSWORD, PASSWORD + "!", HERE)
    with pytest.raises(SignInRefused, match="no authenticator of this account"):
        await house.desk.new_recovery_codes(issued.token, "123456", HERE)
    again = await house.database.write(lambda c: house.register(c).reset(issued.session.person.person_id))
    assert again.token == ""
    assert await house.desk.session(issued.token) is None
    identity_provider.person(sub="a new account", preferred_username="jd")
    assert (await go()).session.person.username == "jane"


@pytest.mark.parametrize("verified", [True, False, None])
async def test_an_address_counts_only_where_the_provider_has_verified_it(
    house: House, identity_provider: Provider, verified: bool | None
) -> None:
    by_address = settings(identity_provider, username_claim="email")
    desk = house.another(settings=by_address)
    await house.invite("jane", identity="jd@st-marys.example")
    claims = {} if verified is None else {"email_verified": verified}
    identity_provider.person(sub="1", email="jd@st-marys.example", **claims)
    begun = await desk.begin_outside(BACK)
    came = await asyncio.to_thread(identity_provider.visit, begun.url)
    if verified:
        issued = await desk.complete_outside(begun.state, came["code"], BACK, HERE)
        assert issued.session.person.username == "jane"
    else:
        with pytest.raises(SignInRefused, match="names nobody"):
            await desk.complete_outside(begun.state, came["code"], BACK, HERE)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_provider_may_sign_with_another_key(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]], algorithm: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("engine.people.identity_provider.AGAIN", 0.0)
    await house.invite("jane", identity="jd")
    await go()
    identity_provider.other_key(algorithm)
    assert (await go()).session.stage is Stage.OPEN


async def test_a_provider_may_call_itself_with_a_slash_at_the_end(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    identity_provider.other_key(slash=True)
    await house.invite("jane", identity="jd")
    assert (await go()).session.person.identity == identity_provider.url


async def test_algorithms_that_are_not_ours_are_not_tried(
    house: House, identity_provider: Provider, go: Callable[..., Awaitable[Issued]]
) -> None:
    await house.invite("jane", identity="jd")
    identity_provider.other_key("RS512")
    with pytest.raises(SignInRefused, match="names nobody"):
        await go()


async def test_a_secret_is_shown_to_the_provider_and_to_nobody_else(
    house: House, identity_provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONS_OIDC", "a:secret/of ours")
    desk = house.another(settings=settings(identity_provider, client_secret={"env": "PONS_OIDC"}))
    await house.invite("jane", identity="jd")
    begun = await desk.begin_outside(BACK)
    assert "secret" not in begun.url
    came = await asyncio.to_thread(identity_provider.visit, begun.url)
    await desk.complete_outside(begun.state, came["code"], BACK, HERE)
    (request,) = identity_provider.requests()
    # This provider does not offer client_secret_basic.
    assert request["body"]["client_secret"] == "a:secret/of ours"
    assert "a:secret" not in str([tuple(row) for row in house.trail()])


async def test_a_provider_that_is_away_is_no_wrong_try(
    house: House, identity_provider: Provider, caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]
) -> None:
    begun = await house.desk.begin_outside(BACK)
    came = await asyncio.to_thread(identity_provider.visit, begun.url)
    identity_provider.next(status=503, body={})
    with pytest.raises(Busy, match="cannot be asked who you are"):
        await house.desk.complete_outside(begun.state, came["code"], BACK, HERE)
    nobody = settings(identity_provider, issuer=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Busy), caplog.at_level(logging.ERROR, "pons.people"):
        await house.another(settings=nobody).begin_outside(BACK)
    assert "does not answer: ConnectError" in str(caplog.records[-1].pons)  # type: ignore[attr-defined]
    digest = hashlib.sha256(begun.state.encode()).hexdigest()
    assert [row.state_hash for row in house.rows(outside_states)] == [digest]
    assert house.trail("person.sign_in_refused") == []


async def test_without_a_provider_nobody_comes_from_outside(sqlite_database: Database) -> None:
    house = House(sqlite_database, HandClock())
    assert house.desk.outside is None
    with pytest.raises(SignInRefused, match="nobody signs in from outside here"):
        await house.desk.begin_outside(BACK)
    with pytest.raises(SignInRefused, match="nobody signs in from outside here"):
        await house.desk.complete_outside("state", "code", BACK, HERE)
