"""The enrolment door: a token opens it once, and whoever only knocks learns nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml
from starlette.applications import Starlette

from engine.config import load
from engine.enrolment import KNOCKS, PERIOD, EnrolmentDoor
from engine.store.database import Database
from engine.store.tables import audit_events
from engine.table import Table
from engine.tunnel import folder_of
from engine.web import serving
from wg.key import make_private_key, public_key
from wg.register import admit


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
async def client(table: Table, database: Database, clock: object) -> AsyncIterator[httpx.AsyncClient]:
    door = EnrolmentDoor(table, database, clock)  # type: ignore[arg-type]
    async with (
        serving(Starlette(routes=[door.route()]), "127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as opened,
    ):
        yield opened


def invite(table: Table, site: str, clock: object) -> str:
    def work(register):  # type: ignore[no-untyped-def]
        changed, _, token = admit(register, site, clock.now())  # type: ignore[attr-defined]
        return changed, token

    token: str = folder_of(table).change(work)
    return token


async def ask(client: httpx.AsyncClient, token: object, key: object) -> tuple[int, str]:
    answer = await client.post("/tunnel/enrol", json={"token": token, "public_key": key})
    return answer.status_code, answer.text


async def test_a_gateway_gets_its_kit_for_its_token_once(
    client: httpx.AsyncClient, table: Table, database: Database, clock: object
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


async def test_what_is_wrong_with_a_token_is_not_told(
    client: httpx.AsyncClient, table: Table, clock: object
) -> None:
    token = invite(table, "north", clock)
    key = public_key(make_private_key())
    said = {await ask(client, wrong, key) for wrong in ("", "x", token[:-1], token + "A")}
    assert {status for status, _ in said} == {403}
    assert len(said) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"token": "x"}', b"[" * 3000, b" " * 5000])
async def test_a_body_that_is_no_request_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/tunnel/enrol", content=body)).status_code == 400


async def test_a_key_that_is_none_keeps_the_token_for_another_try(
    client: httpx.AsyncClient, table: Table, clock: object
) -> None:
    token = invite(table, "north", clock)
    assert (await ask(client, token, "not a key"))[0] == 400
    assert (await ask(client, token, public_key(make_private_key())))[0] == 200


async def test_the_door_stays_shut_after_too_many_knocks_and_opens_again(
    client: httpx.AsyncClient, table: Table, clock: object
) -> None:
    token, key = invite(table, "north", clock), public_key(make_private_key())
    assert [(await ask(client, "x", key))[0] for _ in range(KNOCKS)] == [403] * KNOCKS
    assert (await ask(client, token, key))[0] == 429
    clock.advance(PERIOD + 1)  # type: ignore[attr-defined]
    assert (await ask(client, token, key))[0] == 200
