"""Wrong tries: counted in the database, by account and address; nobody guesses, nobody locks others out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from engine.people_section import LockOutSettings, PeopleSettings
from engine.person import Role, SignInRefused, SignInRefusedReason, Stage
from engine.store.people_tables import sign_in_tries
from tests.engine.people.conftest import ELSEWHERE, HERE, PASSWORD, House

WRONG, LOCKED = SignInRefusedReason.WRONG, SignInRefusedReason.LOCKED


async def refusals(
    house: House, name: str, times: int, address: str = ELSEWHERE
) -> list[SignInRefusedReason]:
    """What each of several wrong passwords is answered."""
    found = []
    for _ in range(times):
        with pytest.raises(SignInRefused) as refusal:
            await house.desk.sign_in(name, "violet harbour sings softly", address)
        found.append(refusal.value.reason)
    return found


@pytest.mark.parametrize("name", ["ana", "nobody", "not a name\x00"])
async def test_the_sixth_try_is_not_looked_at_whoever_it_is_for(house: House, name: str) -> None:
    await house.enter()
    assert await refusals(house, name, 6) == [WRONG] * 5 + [LOCKED]
    with pytest.raises(SignInRefused, match="too many wrong tries: wait 1 minute,") as refusal:
        await house.desk.sign_in(name, PASSWORD, ELSEWHERE)
    assert refusal.value.retry_after == 60
    house.clock.advance(60)
    assert await refusals(house, name, 6) == [WRONG] * 5 + [LOCKED]
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.sign_in(name, PASSWORD, "203.0.113.77")  # from anywhere
    assert refusal.value.retry_after == 120


async def test_strangers_lock_nobody_out_where_he_works(house: House) -> None:
    ana = await house.enter()
    await refusals(house, "ana", 6)
    assert house.person("ana").locked_until == house.clock.now() + 60
    assert (await house.again(ana)).issued.session.stage is Stage.OPEN
    assert (await refusals(house, "ana", 6, HERE))[-1] is LOCKED  # what is tried there counts there


async def test_a_new_engine_counts_on(house: House) -> None:
    await house.enter()
    await refusals(house, "ana", 5)
    with pytest.raises(SignInRefused) as refusal:
        await house.another().sign_in("ana", PASSWORD, ELSEWHERE)
    assert refusal.value.reason is LOCKED


async def test_of_many_at_once_a_few_are_looked_at(house: House, together: Callable[..., Any]) -> None:
    await house.enter()
    desks = [house.desk, house.another(), house.another()]
    told = await together(*(desks[one % 3].sign_in("ana", f"guess {one}", ELSEWHERE) for one in range(30)))
    reasons = [one.reason for one in told]
    assert reasons.count(WRONG) == 5
    assert reasons.count(LOCKED) == 25


async def test_right_passwords_are_no_wrong_tries_and_forgive_none(house: House) -> None:
    await house.enter()
    for _ in range(8):
        first = await house.desk.sign_in("ana", PASSWORD, ELSEWHERE)
        assert first.session.stage is Stage.SECOND_FACTOR
    await refusals(house, "ana", 4)
    await house.desk.sign_in("ana", PASSWORD, ELSEWHERE)  # who has the password alone wins no further tries
    assert await refusals(house, "ana", 2) == [WRONG, LOCKED]


async def test_codes_are_counted_as_passwords_are(house: House) -> None:
    ana = await house.enter()
    first = await house.desk.sign_in("ana", PASSWORD, ELSEWHERE)
    house.clock.advance(60)
    for number in range(5):
        with pytest.raises(SignInRefused, match="that code is not good") as refusal:
            await house.desk.second_factor(first.token, f"{number:06d}", ELSEWHERE)
        assert refusal.value.reason is WRONG
    with pytest.raises(SignInRefused) as refusal:
        await house.desk.second_factor(first.token, ana.app.at(house.clock.now()), ELSEWHERE)
    assert refusal.value.reason is LOCKED
    last = house.trail("person.sign_in_refused")[-1]
    assert (last.detail["reason"], last.detail["locked_for"]) == ("second factor", 60)
    house.clock.advance(60)
    await house.desk.second_factor(first.token, ana.app.at(house.clock.now()), ELSEWHERE)
    assert not [row for row in house.rows(sign_in_tries) if row.kind == "person"]  # he is in: forgotten


async def test_an_address_that_tries_many_names_is_locked(house: House) -> None:
    await house.enter()
    house.settings = PeopleSettings(lock_out=LockOutSettings(address_failures=6))
    desk = house.desk = house.another()
    for number in range(6):
        await refusals(house, f"name{number}", 1)
    assert await refusals(house, "name7", 1) == [LOCKED]
    with pytest.raises(SignInRefused) as refusal:
        await desk.sign_in("ana", PASSWORD, ELSEWHERE)
    assert refusal.value.reason is LOCKED
    assert (await desk.sign_in("ana", PASSWORD, HERE)).session.stage is Stage.SECOND_FACTOR


async def test_an_ipv6_network_is_one_address(house: House) -> None:
    house.settings = PeopleSettings(lock_out=LockOutSettings(address_failures=5))
    house.desk = house.another()
    for number in range(5):
        await refusals(house, f"name{number}", 1, f"2001:db8::{number}:1")
    assert await refusals(house, "name9", 1, "2001:db8::ffff") == [LOCKED]
    assert await refusals(house, "name9", 1, "2001:db8:0:1::1") == [WRONG]


async def test_an_admin_unlocks(house: House) -> None:
    ana, ben = await house.enter(), await house.enter("ben", Role.VIEWER)
    await refusals(house, "ben", 5)
    await refusals(house, "ben", 5, HERE)
    await house.desk.enable(ben.person.person_id, actor=ana.issued.session)
    assert house.person("ben").locked_until is None
    assert (await house.desk.sign_in("ben", PASSWORD, ELSEWHERE)).session.stage is Stage.SECOND_FACTOR
    assert (await house.desk.sign_in("ben", PASSWORD, HERE)).session.stage is Stage.SECOND_FACTOR
    assert house.trail("person.unlocked")[0].actor == "person ana"


async def test_names_that_nobody_has_are_written_nowhere(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "correct-horse-typed-in-the-wrong-field"
    with caplog.at_level(logging.DEBUG):
        await refusals(house, secret, 6)
    await house.strangers.tell()
    kept = [tuple(row) for row in (*house.rows(sign_in_tries), *house.trail())]
    assert kept
    assert secret not in str(kept)
    assert secret not in caplog.text
    told = [(one.detail["unknown"], one.detail["times"]) for one in house.trail("peer turned away")]
    assert sorted(told) == [("person", 5), ("too often", 1)]


async def test_what_counts_no_more_is_removed(house: House) -> None:
    for number in range(4):
        await refusals(house, f"name{number}", 1)
    house.clock.advance(901)
    await refusals(house, "name9", 1)
    assert {row.kind for row in house.rows(sign_in_tries)} == {"name", "address"}
    assert len(house.rows(sign_in_tries)) == 2
