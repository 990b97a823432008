"""The enrolment door: a token opens it once, and whoever only knocks learns nothing."""

from __future__ import annotations

import hmac
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.applications import Starlette

from engine.config import load
from engine.enrolment import KNOCKS, PERIOD, EnrolmentDoor
from engine.store.database import Database
from engine.store.tables import audit_events
from engine.strangers import Strangers
from engine.table import Table
from engine.tunnel import folder_of
from engine.web import serving
from wg.key import make_private_key, public_key
from wg.register import TOKEN_LIFE, admit


@pytest.fixture
def table(tmp_path: Path) -> Table:
    path = tmp_path / "routes.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "tunnel": {"endpoint": "hub.example:51820"},
                "sites": {"north": {"tunnel": "100.64.0.2", "forwards": {104: "10.0.0.20:104"}}},
            }
        )
    )
    return load(path)


@pytest.fixture
def strangers(database: Database, clock: Any) -> Strangers:
    return Strangers(database, clock)


@pytest.fixture
async def client(
    table: Table, database: Database, clock: Any, strangers: Strangers
) -> AsyncIterator[httpx.AsyncClient]:
    door = EnrolmentDoor(table, database, clock, strangers)
    async with (
        serving(Starlette(routes=[door.route()]), "127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as opened,
    ):
        yield opened


def invite(table: Table, site: str, clock: Any) -> str:
    def work(register):  # type: ignore[no-untyped-def]
        changed, _, token = admit(register, site, clock.now())
        return changed, token

    token: str = folder_of(table).change(work)
    return token


async def ask(client: httpx.AsyncClient, token: object, key: object) -> tuple[int, str]:
    answer = await client.post("/tunnel/enrol", json={"token": token, "public_key": key})
    return answer.status_code, answer.text


async def test_a_gateway_gets_its_kit_for_its_token_once(
    client: httpx.AsyncClient, table: Table, database: Database, clock: Any
) -> None:
    token, key = invite(table, "north", clock), public_key(make_private_key())
    answer = await client.post("/tunnel/enrol", json={"token": token, "public_key": key})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    files = answer.json()["files"]
    assert "Endpoint = hub.example:51820" in files["pons0.conf"]
    assert "PrivateKey" not in files["pons0.conf"]
    assert "dnat ip to 10.0.0.20:104" in files["pons-site.nft"]
    assert folder_of(table).load().site("north").public_key == key
    events = database.read_now(lambda c: c.execute(audit_events.select()).all())
    assert [(event.actor, event.action) for event in events] == [("site north", "tunnel key taken")]
    assert token not in str([event.detail for event in events])
    assert (await ask(client, token, public_key(make_private_key())))[0] == 403


async def test_the_kit_comes_ready_to_be_unpacked_where_that_is_asked_for(
    client: httpx.AsyncClient, table: Table, clock: Any
) -> None:
    asked = {"token": invite(table, "north", clock), "public_key": public_key(make_private_key())}
    answer = await client.post("/tunnel/enrol", json=asked, headers={"Accept": "application/x-tar"})
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert {(one.name, one.mode) for one in archive} == {
            ("README.txt", 0o600),
            ("pons-site.nft", 0o600),
            ("pons0.conf", 0o600),
        }


async def test_what_is_wrong_with_a_token_is_not_told(
    client: httpx.AsyncClient, table: Table, clock: Any
) -> None:
    key = public_key(make_private_key())
    used = invite(table, "north", clock)
    assert (await ask(client, used, public_key(make_private_key())))[0] == 200
    token = invite(table, "north", clock)
    said = {await ask(client, wrong, key) for wrong in ("", "x", token[:-1], token + "A", used)}
    clock.advance(TOKEN_LIFE)
    said.add(await ask(client, token, key))
    assert {status for status, _ in said} == {403}
    assert len(said) == 1


async def test_a_token_is_compared_with_every_sites_in_constant_time(
    client: httpx.AsyncClient, table: Table, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    real = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append(len(one))
        return real(one, other)

    tokens = [invite(table, site, clock) for site in ("north", "south", "west")]
    monkeypatch.setattr(hmac, "compare_digest", compare)
    await ask(client, "guessed", public_key(make_private_key()))
    assert compared == [64] * 3, "no difference between the first site's token and none at all"
    compared.clear()
    await ask(client, tokens[0], "no key, and the token is not even looked at")
    assert compared == []


async def test_who_was_turned_away_is_counted_and_on_the_trail_without_the_token(
    client: httpx.AsyncClient, database: Database, strangers: Strangers
) -> None:
    for guess in ("guess-1", "guess-2"):
        await ask(client, guess, public_key(make_private_key()))
    assert strangers.measured() == {'pons_peers_turned_away_total{inbound="enrolment",unknown="token"}': 2.0}
    await strangers.tell()
    (event,) = database.read_now(lambda c: c.execute(audit_events.select()).all())
    assert (event.actor, event.action, event.subject) == (
        "127.0.0.1",
        "peer turned away",
        "inbound enrolment",
    )
    assert event.detail["times"] == 2
    assert "guess" not in str(event)


async def test_a_site_that_the_table_lacks_keeps_its_token(
    client: httpx.AsyncClient, table: Table, clock: Any
) -> None:
    token = invite(table, "west", clock)
    for _ in range(2):
        assert (await ask(client, token, public_key(make_private_key())))[0] == 409
    assert folder_of(table).load().site("west").state == "invited"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"token": "x"}', b"[" * 3000, b" " * 5000])
async def test_a_body_that_is_no_request_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/tunnel/enrol", content=body)).status_code == 400


async def test_a_key_that_is_none_keeps_the_token_for_another_try(
    client: httpx.AsyncClient, table: Table, clock: Any
) -> None:
    token = invite(table, "north", clock)
    assert (await ask(client, token, "not a key"))[0] == 400
    assert (await ask(client, token, public_key(make_private_key())))[0] == 200


async def test_the_door_stays_shut_after_too_many_knocks_and_opens_again(
    client: httpx.AsyncClient, table: Table, clock: Any
) -> None:
    token, key = invite(table, "north", clock), public_key(make_private_key())
    assert [(await ask(client, "x", key))[0] for _ in range(KNOCKS)] == [403] * KNOCKS
    assert (await ask(client, token, key))[0] == 429
    async with httpx.AsyncClient(
        base_url=client.base_url,
        trust_env=False,
        transport=httpx.AsyncHTTPTransport(local_address="127.0.0.2"),
    ) as elsewhere:
        assert (await ask(elsewhere, "x", key))[0] == 403, "who knocks from there is no reason to stay shut"
    clock.advance(PERIOD + 1)
    assert (await ask(client, token, key))[0] == 200
