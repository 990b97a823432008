"""The authorization server on a real socket and both databases: who gets a token, and who does not."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import httpx
import pytest

from engine.audit import verify
from engine.oauth import register
from engine.oauth.client import hash_of, new_secret
from engine.oauth.client_authentication import ASSERTION_TYPE
from engine.oauth.form import CONTENT_TYPE, LARGEST
from engine.oauth.patience import OF_ADDRESS, PERIOD
from tests.engine.oauth.conftest import ISSUER, House, Signer

GRANT = {"grant_type": "client_credentials"}


def basic(client_id: str, secret: str) -> dict[str, str]:
    both = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {both}"}


def error(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()["error"]


# ── who gets one ────────────────────────────────────────────────────────────────────────────────


async def test_a_client_gets_a_token_for_an_hour_and_is_let_in(house: House, clock: Any) -> None:
    secret = house.add()
    answer = await house.ask("his", secret)
    assert (answer.status_code, answer.headers["cache-control"], answer.headers["pragma"]) == (
        200, "no-store", "no-cache",
    )  # fmt: skip
    told = answer.json()
    assert (told["token_type"], told["expires_in"], told["scope"]) == (
        "Bearer",
        3600,
        "orders:read orders:write",
    )
    let_in = await house.orders(told["access_token"])
    assert (let_in.status_code, let_in.json()) == (200, {"client": "his", "site": "st-marys"})
    clock.advance(3600)
    late = await house.orders(told["access_token"])
    assert (late.status_code, "has expired" in late.headers["www-authenticate"]) == (401, True)


async def test_the_secret_may_stand_in_the_form(house: House) -> None:
    secret = house.add()
    answer = await house.client.post(
        "/oauth2/token", data={**GRANT, "client_id": "his", "client_secret": secret}
    )
    assert answer.status_code == 200


async def test_a_client_asks_for_less_than_it_may(house: House) -> None:
    secret = house.add()
    assert (await house.ask("his", secret, scope="orders:write")).json()["scope"] == "orders:write"
    token = await house.token("his", secret, scope="orders:write")
    refused = await house.orders(token)
    assert refused.status_code == 403
    assert 'scope="orders:read"' in refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


async def test_a_client_that_signs_shows_each_assertion_once(
    house: House, signer: Signer, clock: Any
) -> None:
    house.add("ris", key_set=signer.key_set)
    now = int(clock.now())
    claims = {
        "iss": "ris", "sub": "ris", "aud": f"{ISSUER}/oauth2/token", "jti": "1", "iat": now, "exp": now + 300
    }  # fmt: skip
    form = {**GRANT, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signer.assertion(claims)}
    assert (await house.client.post("/oauth2/token", data=form)).status_code == 200
    assert error(await house.client.post("/oauth2/token", data=form)) == (401, "invalid_client")
    assert house.trail()[-1].detail["reason"] == "the assertion was used before"

    both = await asyncio.gather(  # of two at once, one
        *(
            house.client.post(
                "/oauth2/token", data={**form, "client_assertion": signer.assertion({**claims, "jti": "2"})}
            )
            for _ in range(2)
        )
    )
    assert sorted(answer.status_code for answer in both) == [200, 401]


async def test_a_used_assertion_is_remembered_by_the_database(
    house: House, signer: Signer, clock: Any
) -> None:
    house.add("ris", key_set=signer.key_set)
    now = int(clock.now())
    claims = {"iss": "ris", "sub": "ris", "aud": ISSUER, "jti": "1", "exp": now + 60}
    form = {**GRANT, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signer.assertion(claims)}
    assert (await house.client.post("/oauth2/token", data=form)).status_code == 200
    transport = httpx.ASGITransport(house.app())  # another engine, which has nothing but the database
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as other:
        assert error(await other.post("/oauth2/token", data=form)) == (401, "invalid_client")


async def test_after_a_rotation_both_secrets_serve_for_a_while(house: House, clock: Any) -> None:
    before, after = house.add(), new_secret()
    kept = hash_of("his", after)
    house.database.write_now(
        lambda c: register.rotate_secret(c, "his", kept, clock.now(), "somebody", keep=60.0)
    )
    assert (await house.ask("his", before)).status_code == 200
    assert (await house.ask("his", after)).status_code == 200
    clock.advance(60)
    assert error(await house.ask("his", before)) == (401, "invalid_client")
    assert (await house.ask("his", after)).status_code == 200


# ── who does not ────────────────────────────────────────────────────────────────────────────────


async def test_whatever_is_wrong_with_a_client_sounds_the_same(house: House, signer: Signer) -> None:
    secret = house.add()
    house.add("gone")
    house.add("ris", key_set=signer.key_set)
    house.database.write_now(lambda c: register.revoke(c, "gone", 1.0, "somebody", "why"))
    answers = [
        await house.ask(client_id, shown)
        for client_id, shown in (
            ("his", "wrong"), ("nobody", secret), ("gone", secret), ("ris", secret), ("his", ""),
        )
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Basic realm="pons"'}
    reasons = [row.detail["reason"] for row in house.trail() if row.action == "client denied"]
    assert reasons == [
        "not the client's secret", "the client was revoked", "not the client's secret",
        "not the client's secret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "headers", "expected"),
    [
        ({}, {}, (400, "invalid_request")),
        ({"grant_type": "password", "username": "a", "password": "b"}, {}, (400, "unsupported_grant_type")),
        ({"grant_type": "authorization_code", "code": "x"}, {}, (400, "unsupported_grant_type")),
        ({**GRANT, "scope": "admin"}, {}, (400, "invalid_scope")),
        ({**GRANT, "scope": "orders:read  orders:write"}, {}, (400, "invalid_scope")),
        ({**GRANT, "resource": "https://other.example"}, {}, (400, "invalid_target")),
        ({**GRANT, "client_id": "ris"}, {}, (400, "invalid_request")),
        ({**GRANT, "client_secret": "x"}, {}, (400, "invalid_request")),  # two ways at once
        ({**GRANT, "client_assertion": "x"}, {}, (400, "invalid_request")),
        (GRANT, {"Authorization": "Bearer x"}, (401, "invalid_client")),
        (GRANT, {"Authorization": "Basic %%%"}, (401, "invalid_client")),
        (GRANT, {"Authorization": "Basic aGlz"}, (401, "invalid_client")),
        (GRANT, {"Authorization": ""}, (401, "invalid_client")),
    ],
    ids=str,
)
async def test_what_a_token_request_must_be(
    local: House, form: dict[str, str], headers: dict[str, str], expected: tuple[int, str]
) -> None:
    secret = local.add()
    sent = headers or basic("his", secret)
    assert error(await local.client.post("/oauth2/token", data=form, headers=sent)) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"grant_type=client_credentials", "application/json", 400),
        (b"grant_type=client_credentials&grant_type=client_credentials", CONTENT_TYPE, 400),
        (b"grant_type=%ff", CONTENT_TYPE, 400),
        (b"\xff\xfe", CONTENT_TYPE, 400),
        (b"&".join(b"a%d=1" % number for number in range(60)), CONTENT_TYPE, 400),
        (b"a" * (LARGEST + 1), CONTENT_TYPE, 413),
    ],
)
async def test_what_is_no_form_is_refused(local: House, body: bytes, content_type: str, status: int) -> None:
    secret = local.add()
    headers = {**basic("his", secret), "Content-Type": content_type}
    answer = await local.client.post("/oauth2/token", content=body, headers=headers)
    assert error(answer) == (status, "invalid_request")


async def test_a_secret_in_the_address_is_refused(local: House) -> None:
    secret = local.add()
    address = f"/oauth2/token?client_id=his&client_secret={secret}"
    answer = await local.client.post(address, data=GRANT)
    assert error(answer) == (400, "invalid_request")
    assert (await local.client.get("/oauth2/token")).status_code == 405


async def test_a_site_that_the_table_lost_gets_no_token_and_lets_none_in(house: House) -> None:
    secret = house.add()
    token = await house.token("his", secret)
    house.sites.remove("st-marys")
    assert error(await house.ask("his", secret)) == (400, "unauthorized_client")
    assert (await house.orders(token)).status_code == 403


async def test_whoever_guesses_waits_and_the_client_does_not(local: House, clock: Any) -> None:
    secret = local.add()
    for _ in range(OF_ADDRESS):
        assert error(await local.ask("his", "guess")) == (401, "invalid_client")
    answer = await local.ask("his", secret)
    assert error(answer) == (429, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "60"
    events = len(local.trail())
    await local.ask("his", "guess")
    assert len(local.trail()) == events  # it fills no trail
    clock.advance(PERIOD)
    assert (await local.ask("his", secret)).status_code == 200
    for _ in range(OF_ADDRESS):
        await local.ask("his", "guess")
    assert (await local.ask("his", "guess")).status_code == 429
    assert (await local.ask("his", secret)).status_code == 200  # it was here before: it goes on
    malformed = await local.client.post("/oauth2/token", content=b"x")
    assert malformed.status_code == 429


# ── who is let in, and who is not any more ──────────────────────────────────────────────────────


async def test_a_token_of_another_site_is_refused_and_one_for_all_is_not(house: House) -> None:
    foreign = await house.token("jhn", house.add("jhn", site="st-johns"))
    refused = await house.orders(foreign)
    assert (refused.status_code, refused.json()["detail"]) == (403, "this token is for another site")
    everywhere = await house.token("root", house.add("root", site=None))
    assert (await house.orders(everywhere)).json() == {"client": "root", "site": None}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Basic aGlzOng=", 401),
        ("Bearer", 400),
        ("Bearer a b", 400),
        ("Bearer " + "a" * 9000, 400),
    ],
    ids=["none", "basic", "empty", "two", "long"],
)
async def test_a_request_without_a_token_is_asked_for_one(
    local: House, header: str | None, status: int
) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await local.client.get("/orders", headers=headers)
    assert answer.status_code == status
    assert answer.headers["www-authenticate"].startswith('Bearer realm="pons", scope="orders:read"')
    assert ("error=" in answer.headers["www-authenticate"]) is (status == 400)  # RFC 6750 3


async def test_a_revoked_client_is_out_at_once_and_so_are_its_tokens(house: House) -> None:
    secret = house.add()
    token = await house.token("his", secret)
    house.database.write_now(lambda c: register.revoke(c, "his", 1.0, "somebody", "left"))
    refused = await house.orders(token)
    assert (refused.status_code, refused.json()["detail"]) == (401, "this access token was revoked")
    assert error(await house.ask("his", secret)) == (401, "invalid_client")


async def test_a_client_gives_a_token_back_and_keeps_the_others(house: House) -> None:
    secret = house.add()
    first, second = await house.token("his", secret), await house.token("his", secret)
    for _ in range(2):  # RFC 7009 2.2: what is revoked may be revoked
        answer = await house.client.post("/oauth2/revoke", data={"token": first}, auth=("his", secret))
        assert (answer.status_code, answer.content) == (200, b"")
    assert (await house.orders(first)).status_code == 401
    assert (await house.orders(second)).status_code == 200


async def test_only_its_own_token_is_a_clients_to_revoke(house: House) -> None:
    mine, other = house.add(), house.add("ris")
    token = await house.token("his", mine)
    answer = await house.client.post("/oauth2/revoke", data={"token": token}, auth=("ris", other))
    assert error(answer) == (400, "invalid_grant")
    assert (await house.orders(token)).status_code == 200
    nothing = await house.client.post("/oauth2/revoke", data={"token": "x"}, auth=("ris", other))
    assert nothing.status_code == 200
    without = await house.client.post("/oauth2/revoke", data={}, auth=("ris", other))
    assert error(without) == (400, "invalid_request")
    stranger = await house.client.post("/oauth2/revoke", data={"token": token}, auth=("ris", mine))
    assert error(stranger) == (401, "invalid_client")


# ── what is written down ────────────────────────────────────────────────────────────────────────


async def test_all_of_it_is_on_the_trail_and_no_secret_is_anywhere(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        secret = house.add()
        token = await house.token("his", secret)
        await house.ask("his", "a-wrong-guess")
        await house.ask(secret, "his")  # the two confused
        await house.client.post("/oauth2/revoke", data={"token": token}, auth=("his", secret))
        await house.orders(token)
    await house.strangers.tell()
    trail = house.trail()
    assert [row.action for row in trail] == [
        "client added", "access token issued", "client denied", "access token revoked", "peer turned away",
    ]  # fmt: skip
    assert trail[1].detail["scope"] == "orders:read orders:write"
    assert house.database.read_now(verify) is None
    written = str([list(row) for row in trail]) + str([record.__dict__ for record in caplog.records])
    for word in (secret, secret.removeprefix("pons_")[:20], token, token.split(".")[2], "a-wrong-guess"):
        assert word not in written
    stored = str(house.database.read_now(lambda c: c.exec_driver_sql("SELECT * FROM clients").all()))
    assert secret not in stored


async def test_the_server_says_what_it_is(local: House) -> None:
    told = (await local.client.get("/.well-known/oauth-authorization-server")).json()
    assert told["issuer"] == ISSUER
    assert told["token_endpoint"] == f"{ISSUER}/oauth2/token"
    assert told["response_types_supported"] == []
    assert told["token_endpoint_auth_methods_supported"] == [
        "client_secret_basic", "client_secret_post", "private_key_jwt",
    ]  # fmt: skip
    keys = (await local.client.get("/oauth2/jwks")).json()["keys"]
    assert [key["kid"] for key in keys] == [local.keys.ring().signer.key_id]


async def test_while_the_database_is_away_nobody_is_let_in_and_all_may_come_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.errors import Busy, DatabaseUnavailable
    from engine.oauth.verifier import Verifier

    secret = house.add()
    token = await house.token("his", secret)

    async def away(_work: Any) -> Any:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(house.database, "read", away)
    answer = await house.ask("his", secret)
    assert (error(answer), answer.headers["retry-after"]) == ((503, "temporarily_unavailable"), "5")
    verifier = Verifier(ISSUER, house.keys, house.database, house.clock, house.sites.__contains__)
    with pytest.raises(Busy):
        await verifier.verify(f"Bearer {token}", scope="orders:read")
