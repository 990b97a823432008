"""Managing people: who may give what to whom, and somebody who manages everybody is always left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.person import Membership, PersonState, Role, SignInRefused, SignInRefusedReason
from engine.store.people_tables import invitations
from tests.engine.people.conftest import HERE, PASSWORD, House, Somebody

MARYS, JOHNS = "st-marys", "st-johns"
FORBIDDEN, CONFLICT = SignInRefusedReason.FORBIDDEN, SignInRefusedReason.CONFLICT
INVALID, NOT_FOUND = SignInRefusedReason.INVALID, SignInRefusedReason.NOT_FOUND


@pytest.fixture
async def ana(house: House) -> Somebody:
    """Admin of every site."""
    return await house.enter("ana")


@pytest.fixture
async def mia(house: House, ana: Somebody) -> Somebody:
    """Admin of St. Mary's."""
    return await house.enter("mia", Role.ADMIN, MARYS)


async def refused(work: Any) -> SignInRefusedReason:
    with pytest.raises(SignInRefused) as refusal:
        await work
    return refusal.value.reason


async def test_an_admin_invites_and_gives_roles_that_count_at_once(house: House, ana: Somebody) -> None:
    invitation = await house.desk.invite(
        "Ben", " Ben\tBrown ", [Membership(Role.VIEWER, MARYS)], actor=ana.issued.session
    )
    assert (invitation.person.username, invitation.person.display_name) == ("ben", "Ben Brown")
    accepted = await house.desk.accept_invitation(invitation.token, PASSWORD, HERE)
    roles = [Membership(Role.ENGINEER, JOHNS), Membership(Role.VIEWER, JOHNS)]
    person = await house.desk.set_memberships(
        accepted.session.person.person_id, roles, actor=ana.issued.session
    )
    assert set(person.memberships) == set(roles)  # an engineer who is a viewer, too
    seen = await house.desk.session(accepted.token)
    assert seen is not None
    assert not seen.person.may(Role.VIEWER, MARYS)
    assert seen.person.may(Role.ENGINEER, JOHNS)
    event = house.trail("person.roles_changed")[0]
    assert (event.actor, event.subject) == ("person ana", "person ben")
    assert event.detail == {"before": ["viewer@st-marys"], "after": ["viewer@st-johns", "engineer@st-johns"]}


async def test_whoever_is_no_admin_manages_nobody(house: House, ana: Somebody) -> None:
    eva = await house.enter("eva", Role.ENGINEER)
    actor, person_id = eva.issued.session, ana.person.person_id
    desk = house.desk
    for work in (
        desk.people(actor=actor),
        desk.invite("zoe", "", [Membership(Role.VIEWER)], actor=actor),
        desk.set_memberships(person_id, [Membership(Role.VIEWER)], actor=actor),
        desk.disable(person_id, actor=actor),
        desk.enable(person_id, actor=actor),
        desk.reset(person_id, actor=actor),
    ):
        assert await refused(work) is FORBIDDEN


async def test_who_was_an_admin_a_moment_ago_is_none(house: House, ana: Somebody, mia: Somebody) -> None:
    await house.desk.set_memberships(
        mia.person.person_id, [Membership(Role.VIEWER, MARYS)], actor=ana.issued.session
    )
    assert await refused(house.desk.people(actor=mia.issued.session)) is FORBIDDEN
    await house.desk.disable(mia.person.person_id, actor=ana.issued.session)
    assert await refused(house.desk.people(actor=mia.issued.session)) is FORBIDDEN


async def test_an_admin_of_a_site_sees_what_people_are_there_and_nothing_else(
    house: House, ana: Somebody, mia: Somebody
) -> None:
    await house.invite("ben", Role.VIEWER, JOHNS)
    both = await house.invite("cid", Role.VIEWER, MARYS)
    await house.desk.set_memberships(
        both.person.person_id,
        [Membership(Role.VIEWER, MARYS), Membership(Role.ENGINEER, JOHNS)],
        actor=ana.issued.session,
    )
    seen = await house.desk.people(actor=mia.issued.session)
    assert [(one.username, one.memberships) for one in seen] == [
        ("cid", (Membership(Role.VIEWER, MARYS),)), ("mia", (Membership(Role.ADMIN, MARYS),)),
    ]  # fmt: skip
    ben = next(one for one in await house.desk.people(actor=ana.issued.session) if one.username == "ben")
    for work in (
        house.desk.disable(ben.person_id, actor=mia.issued.session),
        house.desk.reset(ben.person_id, actor=mia.issued.session),
        house.desk.set_memberships(ben.person_id, [Membership(Role.ADMIN, MARYS)], actor=mia.issued.session),
        house.desk.disable("no such id", actor=mia.issued.session),
    ):
        assert await refused(work) is NOT_FOUND


async def test_an_admin_of_a_site_gives_roles_there_and_leaves_the_others(
    house: House, ana: Somebody, mia: Somebody
) -> None:
    actor = mia.issued.session
    cid = (await house.invite("cid", Role.VIEWER, MARYS)).person.person_id
    kept = Membership(Role.ENGINEER, JOHNS)
    await house.desk.set_memberships(cid, [Membership(Role.VIEWER, MARYS), kept], actor=ana.issued.session)
    person = await house.desk.set_memberships(cid, [Membership(Role.SUBMITTER, MARYS)], actor=actor)
    assert person.memberships == (Membership(Role.SUBMITTER, MARYS),)
    assert set(house.person("cid").memberships) == {kept, Membership(Role.SUBMITTER, MARYS)}
    for roles in ([Membership(Role.VIEWER)], [Membership(Role.VIEWER, JOHNS)], [Membership(Role.ADMIN)]):
        assert await refused(house.desk.set_memberships(cid, roles, actor=actor)) is FORBIDDEN
        assert await refused(house.desk.invite("zoe", "", roles, actor=actor)) is FORBIDDEN
    # The account as a whole is St. John's as well.
    for work in (house.desk.disable(cid, actor=actor), house.desk.reset(cid, actor=actor)):
        assert await refused(work) is FORBIDDEN
    assert await refused(house.desk.disable(ana.person.person_id, actor=actor)) is NOT_FOUND
    again = house.desk.invite("cid", "", [Membership(Role.ADMIN, MARYS)], actor=actor)
    assert await refused(again) is FORBIDDEN  # with the invitation she would be him at St. John's


@pytest.mark.parametrize(
    ("username", "roles", "reason"),
    [
        ("ana", [Membership(Role.VIEWER)], CONFLICT),
        ("two words", [Membership(Role.VIEWER)], INVALID),
        ("", [Membership(Role.VIEWER)], INVALID),
        ("zoë", [Membership(Role.VIEWER)], INVALID),
        ("zoe", [], INVALID),
        ("zoe", [Membership(Role.VIEWER, "st-lukes")], INVALID),
        ("zoe", [Membership(Role.VIEWER, "st-lukes\x00")], INVALID),
    ],
)
async def test_what_invites_nobody(
    house: House, ana: Somebody, username: str, roles: list[Membership], reason: SignInRefusedReason
) -> None:
    assert await refused(house.desk.invite(username, "", roles, actor=ana.issued.session)) is reason
    assert house.rows(invitations) == []


async def test_who_signs_in_elsewhere_needs_a_provider_in_the_table(house: House, ana: Somebody) -> None:
    work = house.desk.invite(
        "zoe", "", [Membership(Role.VIEWER)], actor=ana.issued.session, identity="zoe@st-marys.example"
    )
    assert await refused(work) is INVALID


async def test_who_is_disabled_is_out_at_once_and_comes_back_enabled(house: House, ana: Somebody) -> None:
    ben = await house.enter("ben", Role.VIEWER)
    half = await house.desk.sign_in("ben", PASSWORD, HERE)
    person = await house.desk.disable(ben.person.person_id, actor=ana.issued.session)
    assert person.state is PersonState.DISABLED
    assert await house.desk.session(ben.token) is None
    with pytest.raises(SignInRefused, match="your session is over"):
        await house.desk.second_factor(half.token, "123456", HERE)
    with pytest.raises(SignInRefused, match="username or password is wrong"):
        await house.desk.sign_in("ben", PASSWORD, HERE)
    assert house.trail("person.sign_in_refused")[-1].detail["reason"] == "disabled"
    await house.desk.disable(ben.person.person_id, actor=ana.issued.session)  # again: nothing more
    assert len(house.trail("person.disabled")) == 1
    await house.desk.enable(ben.person.person_id, actor=ana.issued.session)
    assert (await house.again(ben)).person.state is PersonState.ACTIVE


async def test_an_invitation_of_somebody_disabled_is_over(house: House, ana: Somebody) -> None:
    invitation = await house.invite("ben", Role.VIEWER)
    await house.desk.disable(invitation.person.person_id, actor=ana.issued.session)
    assert await refused(house.desk.invited(invitation.token)) is SignInRefusedReason.EXPIRED
    await house.desk.enable(invitation.person.person_id, actor=ana.issued.session)
    assert await refused(house.desk.invited(invitation.token)) is SignInRefusedReason.EXPIRED


async def test_a_reset_sets_everything_anew(house: House, ana: Somebody) -> None:
    ben = await house.enter("ben", Role.VIEWER)
    invitation = await house.desk.reset(ben.person.person_id, actor=ana.issued.session)
    assert (invitation.person.state, invitation.person.second_factor) == (PersonState.INVITED, False)
    assert await house.desk.session(ben.token) is None
    with pytest.raises(SignInRefused):
        await house.desk.sign_in("ben", PASSWORD, HERE)
    accepted = await house.desk.accept_invitation(invitation.token, "seven giraffes read the news", HERE)
    assert (await house.desk.enrolment(accepted.token)).secret != ben.app.secret
    with pytest.raises(SignInRefused):  # an old code of recovery, at another step
        await house.desk.second_factor(accepted.token, ben.codes[0], HERE)


async def test_the_last_who_manages_everybody_stays(
    house: House, ana: Somebody, mia: Somebody, together: Callable[..., Any]
) -> None:
    actor, person_id = ana.issued.session, ana.person.person_id
    await house.invite("ben")  # invited is not there yet
    for roles in ([Membership(Role.ENGINEER)], [Membership(Role.ADMIN, MARYS)]):
        assert await refused(house.desk.set_memberships(person_id, roles, actor=actor)) is CONFLICT
    assert await refused(house.desk.disable(person_id, actor=actor)) is CONFLICT
    eva = await house.enter("eva")
    # Two who shut each other out at once: one of them is left.
    told = await together(
        house.desk.disable(person_id, actor=eva.issued.session),
        house.another().disable(eva.person.person_id, actor=actor),
    )
    assert sum(isinstance(one, SignInRefused) for one in told) == 1
    left = [house.person(name).state for name in ("ana", "eva")]
    assert sorted(left) == [PersonState.ACTIVE, PersonState.DISABLED]


async def test_roles_are_taken_from_who_is_left_with_others(house: House, ana: Somebody) -> None:
    await house.enter("eva")
    person = await house.desk.set_memberships(
        ana.person.person_id, [Membership(Role.VIEWER)], actor=ana.issued.session
    )
    assert person.memberships == (Membership(Role.VIEWER),)
