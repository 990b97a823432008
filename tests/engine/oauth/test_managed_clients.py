"""Clients as people manage them from the portal: each admin his own, and all of it on the trail."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from engine.client_register import ClientRefused, ClientRefusedReason
from engine.oauth.client import hash_of
from engine.oauth.managed_clients import ManagedClients
from engine.person import Membership, Person, PersonState, Role, Session, Stage
from engine.store import clients
from tests.engine.oauth.conftest import House

SCOPES = ["orders:read", "results:read"]


def session(*memberships: Membership) -> Session:
    person = Person(
        "p1", "ada", "Ada", memberships, PersonState.ACTIVE, True, "password", time.time(), None, None
    )
    return Session("s1", person, Stage.OPEN, "csrf", "127.0.0.1", time.time(), time.time() + 3600)


OF_ALL = session(Membership(Role.ADMIN))
OF_ST_MARYS = session(Membership(Role.ADMIN, "st-marys"))


@pytest.fixture
def managed(house: House) -> ManagedClients:
    return ManagedClients(house.database, house.clock, house.sites.__contains__)


async def test_a_client_that_was_added_has_the_secret_that_was_shown_once(
    house: House, managed: ManagedClients
) -> None:
    issued = await managed.add("pacs", name="", site="st-marys", scopes=SCOPES, actor=OF_ALL)
    row = house.database.read_now(lambda c: clients.find(c, "pacs"))
    assert row is not None
    assert row.secret_hash == hash_of("pacs", issued.secret)
    assert (issued.client.created_by, issued.client.scopes) == ("person ada", tuple(SCOPES))
    assert [one.client_id for one in await managed.clients(actor=OF_ALL)] == ["pacs"]
    assert house.trail()[-1].actor == "person ada"
    assert issued.secret not in json.dumps([str(one) for one in house.trail()])


async def test_an_admin_of_a_site_sees_and_changes_nothing_of_another(
    house: House, managed: ManagedClients
) -> None:
    await managed.add("johns", name="", site="st-johns", scopes=SCOPES, actor=OF_ALL)
    await managed.add("all", name="", site=None, scopes=SCOPES, actor=OF_ALL)
    before = len(house.trail())
    assert await managed.clients(actor=OF_ST_MARYS) == []
    for name in ("johns", "all", "nobody"):
        for refused in (
            managed.client(name, actor=OF_ST_MARYS),
            managed.rotate(name, keep=0, actor=OF_ST_MARYS),
            managed.revoke(name, "leaked", actor=OF_ST_MARYS),
        ):
            with pytest.raises(ClientRefused) as raised:
                await refused
            assert raised.value.reason is ClientRefusedReason.NOT_FOUND
    assert len(house.trail()) == before


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        ({"site": "st-johns"}, ClientRefusedReason.FORBIDDEN, "site"),
        ({"site": None}, ClientRefusedReason.FORBIDDEN, "site"),
        ({"scopes": ["admin"]}, ClientRefusedReason.FORBIDDEN, "scopes"),
        ({"scopes": []}, ClientRefusedReason.INVALID, "scopes"),
        ({"scopes": ["everything"]}, ClientRefusedReason.INVALID, "scopes"),
        ({"client_id": "No Name"}, ClientRefusedReason.INVALID, "client_id"),
        ({"key_set": "{}"}, ClientRefusedReason.INVALID, "key_set"),
        ({"client_id": "taken"}, ClientRefusedReason.CONFLICT, "client_id"),
    ],
)
async def test_what_cannot_be_is_said_at_its_field(
    managed: ManagedClients, asked: dict[str, Any], reason: ClientRefusedReason, field: str
) -> None:
    await managed.add("taken", name="", site="st-johns", scopes=SCOPES, actor=OF_ALL)
    wanted = {"client_id": "pacs", "name": "", "site": "st-marys", "scopes": SCOPES, **asked}
    with pytest.raises(ClientRefused) as raised:
        await managed.add(wanted.pop("client_id"), **wanted, actor=OF_ST_MARYS)
    assert (raised.value.reason, raised.value.field) == (reason, field)


async def test_the_secret_before_is_honoured_as_long_as_was_said(managed: ManagedClients) -> None:
    first = await managed.add("pacs", name="", site="st-marys", scopes=SCOPES, actor=OF_ST_MARYS)
    second = await managed.rotate("pacs", keep=3600, actor=OF_ST_MARYS)
    assert second.secret != first.secret
    assert second.client.previous_until is not None
    with pytest.raises(ClientRefused, match="30 days"):
        await managed.rotate("pacs", keep=31 * 86400, actor=OF_ST_MARYS)


async def test_a_revoked_client_stays_in_the_list_and_is_over(managed: ManagedClients) -> None:
    await managed.add("pacs", name="", site="st-marys", scopes=SCOPES, actor=OF_ST_MARYS)
    with pytest.raises(ClientRefused, match="reason"):
        await managed.revoke("pacs", " ", actor=OF_ST_MARYS)
    revoked = await managed.revoke("pacs", "leaked", actor=OF_ST_MARYS)
    assert revoked.revoked_at is not None
    assert [one.revoked_at for one in await managed.clients(actor=OF_ST_MARYS)] == [revoked.revoked_at]
    with pytest.raises(ClientRefused, match="revoked"):
        await managed.rotate("pacs", keep=0, actor=OF_ST_MARYS)


async def test_only_an_admin_manages_clients(managed: ManagedClients) -> None:
    with pytest.raises(ClientRefused) as raised:
        await managed.clients(actor=session(Membership(Role.ENGINEER)))
    assert raised.value.reason is ClientRefusedReason.FORBIDDEN
