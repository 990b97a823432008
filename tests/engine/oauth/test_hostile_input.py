"""Whatever is sent, the answer is one of those that the standards know, and nothing breaks."""

from __future__ import annotations

import base64
import json
import logging
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bearer import TokenRefused, presented
from engine.errors import PonsError
from engine.oauth.access_token import issue, read
from engine.oauth.assertion import subject_of, verified
from engine.oauth.client import Client
from engine.oauth.client_authentication import shown_by
from engine.oauth.client_keys import read_key_set
from engine.oauth.denial import Denied
from engine.oauth.signing_key import KeyRing, new_pem, read_pem
from tests.engine.oauth.conftest import House, Signer

NOW = 1_700_000_000.0
RING = KeyRing((read_pem(new_pem(), "test", signs=True),))
TOKEN, _ = issue(RING, "https://pons.example", Client("his", "", "a", ("admin",)), ("admin",), NOW, 60)
SIGNER = Signer()

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5c"]), JSON)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "site"]), JSON
)


def encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=200) | st.builds("{}.{}.{}".format, HEADERS.map(encoded), CLAIMS.map(encoded), st.text())
)
def test_no_text_is_a_token_or_breaks_anything(text: str) -> None:
    with pytest.raises(TokenRefused):
        read(text, RING, "https://pons.example", NOW)
    with pytest.raises(Denied):
        verified(text, "his", SIGNER.key_set["keys"], {"https://pons.example"}, NOW)
    for look in (lambda: presented(text, "admin"), lambda: subject_of(text), lambda: shown_by(text, {})):
        try:
            look()
        except (TokenRefused, Denied):
            continue


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda one: json.dumps({"keys": [one]}).encode()))
def test_no_bytes_are_a_key_set_by_chance(content: bytes) -> None:
    with pytest.raises(PonsError):
        read_key_set(content)


@settings(max_examples=200, deadline=None)
@given(CLAIMS)
def test_what_a_client_signs_may_be_anything(claims: dict[str, Any]) -> None:
    try:
        assertion = SIGNER.assertion(claims)
    except (TypeError, ValueError):
        return  # the signer's own library makes no such thing
    with pytest.raises(Denied):
        verified(assertion, "his", SIGNER.key_set["keys"], {"https://pons.example"}, NOW)


async def test_no_request_gets_a_500(local: House, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    secret = local.add()
    chance = random.Random(20261130)
    good = (
        b"grant_type=client_credentials&client_id=his&client_secret="
        + secret.encode()
        + b"&scope=orders:read"
    )
    statuses = set()
    with caplog.at_level(logging.ERROR):
        for _ in range(200):
            clock.advance(60)  # the patience of the server is another test's
            body = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(body))
                body[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            answer = await local.client.post(
                chance.choice(("/oauth2/token", "/oauth2/revoke")),
                content=bytes(body),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            statuses.add(answer.status_code)
            assert answer.status_code in (200, 400, 401), (answer.status_code, bytes(body))
            if answer.status_code != 200:
                assert {"error", "error_description"} == answer.json().keys()
    assert {400, 401} <= statuses
    assert caplog.records == []
