"""SMART Backend Services against a token server that verifies with a library that is not ours.

The server reads each assertion with joserfc; the channel signs with PyJWT. Both ends speak over
real sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from channels.outbound import smart_backend
from channels.outbound.fhir_diagnostic_report import Settings
from engine.errors import Refused, TryAgain
from engine.model import Delivery, History, Result
from tests.contract.web import Seen, WebPeer, receiving

CLIENT = "pons-st-marys"
SCOPE = "system/DiagnosticReport.cus system/Observation.cus"


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return content


RSA = rsa.generate_private_key(65537, 2048)
P384 = ec.generate_private_key(ec.SECP384R1())
KEYS = {"RS384": pem(RSA), "ES384": pem(P384)}


@dataclass
class TokenServer:
    """Gives out tokens for assertions that it can verify, and FHIR answers for those tokens."""

    url: str = ""
    life: Any = 300
    revoked: set[str] = field(default_factory=set)
    given: list[str] = field(default_factory=list)
    assertions: list[dict[str, Any]] = field(default_factory=list)
    algorithms: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # tokens that the FHIR side saw
    answer: Response | None = None  # instead of a token

    def __call__(self, seen: Seen) -> Response:
        return self._token(seen) if seen.path == "/auth/token" else self._fhir(seen)

    def _token(self, seen: Seen) -> Response:
        if self.answer is not None:
            return self.answer
        form = parse_qs(seen.body.decode(), strict_parsing=True)
        assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
        assert form["grant_type"] == ["client_credentials"]
        assert form["scope"] == [SCOPE]
        assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        [assertion] = form["client_assertion"]
        keys = KeySet(
            [
                RSAKey.import_key(KEYS["RS384"], {"kid": "key-RS384"}),
                ECKey.import_key(KEYS["ES384"], {"kid": "key-ES384"}),
            ]
        )
        registry = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": CLIENT},
            sub={"essential": True, "value": CLIENT},
            aud={"essential": True, "value": f"{self.url}/auth/token"},
            exp={"essential": True},
            jti={"essential": True},
        )
        try:
            token = jwt.decode(assertion, keys, algorithms=["RS384", "ES384"])
            registry.validate(token.claims)
        except JoseError:
            return JSONResponse({"error": "invalid_client", "error_description": "Síle Murphy"}, 401)
        if token.claims["jti"] in {one["jti"] for one in self.assertions}:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.assertions.append(token.claims)
        self.algorithms.append(token.header["alg"])
        self.given.append(f"token-{len(self.given) + 1}")
        body = {"access_token": self.given[-1], "token_type": "Bearer", "scope": SCOPE}
        return JSONResponse(body if self.life is None else {**body, "expires_in": self.life})

    def _fhir(self, seen: Seen) -> Response:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        self.used.append(token)
        good = token in self.given and token not in self.revoked
        return Response(status_code=201 if good else 401)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    answers = TokenServer()
    with receiving(answers) as peer:
        assert isinstance(peer, WebPeer)
        answers.url = peer.url
        yield answers


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def channel(
    make: Callable[..., Any], server: TokenServer, key_file: Callable[[bytes], Path]
) -> Callable[..., Any]:
    """A function: the channel with one of the keys."""

    def build(algorithm: str = "ES384", content: bytes = b"", **changes: Any) -> Any:
        auth = {
            "type": "smart_backend",
            "token_url": f"{server.url}/auth/token",
            "client_id": CLIENT,
            "key": {"file": str(key_file(content or KEYS[algorithm]))},
            "key_id": f"key-{algorithm}",
            "scope": SCOPE,
        }
        return make("fhir_diagnostic_report", url=f"{server.url}/r4", mode="report", auth=auth | changes)

    return build


@pytest.fixture
def send(result: Result, history: History, delivery: Delivery) -> Callable[..., Any]:
    async def attempt(channel: Any) -> str:
        code: str = (await channel.deliver(channel.render(result, history), delivery)).code
        return code

    return attempt


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_an_independent_library_verifies_the_assertion(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer, algorithm: str
) -> None:
    before = int(time.time())
    assert await send(channel(algorithm)) == "201"

    [claims] = server.assertions
    assert server.algorithms == [algorithm]
    assert server.used == ["token-1"]
    assert before <= claims["iat"] <= time.time()
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert len(claims["jti"]) >= 32


async def test_one_token_serves_all_deliveries_until_shortly_before_it_expires(
    channel: Callable[..., Any],
    send: Callable[..., Any],
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(smart_backend, "monotonic", lambda: now)
    sender = channel()
    assert await asyncio.gather(*(send(sender) for _ in range(4))) == ["201"] * 4
    assert len(server.given) == 1

    now += 300 - 31
    await send(sender)
    assert len(server.given) == 1
    now += 2  # half a minute before the end
    await send(sender)
    assert server.given == ["token-1", "token-2"]
    assert server.assertions[0]["jti"] != server.assertions[1]["jti"]


@pytest.mark.parametrize(("life", "good_for"), [(None, 270), (8, 6), ("soon", 270), (-5, 270), (True, 270)])
async def test_a_life_that_is_short_or_unsaid_is_kept_to(
    channel: Callable[..., Any],
    send: Callable[..., Any],
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    life: Any,
    good_for: int,
) -> None:
    server.life = life
    now = 1000.0
    monkeypatch.setattr(smart_backend, "monotonic", lambda: now)
    sender = channel()
    await send(sender)
    now += good_for - 1
    await send(sender)
    assert len(server.given) == 1
    now += 2
    await send(sender)
    assert len(server.given) == 2


async def test_a_401_is_met_once_with_a_new_token(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer
) -> None:
    sender = channel()
    await send(sender)
    server.revoked = {"token-1"}
    assert await send(sender) == "201"
    assert server.used == ["token-1", "token-1", "token-2"]

    server.revoked = {f"token-{number}" for number in range(10)}
    with pytest.raises(Refused) as caught:
        await send(sender)
    assert caught.value.code == "401"
    assert server.used[3:] == ["token-2", "token-3"]


async def test_deliveries_that_meet_a_401_together_ask_for_one_new_token(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer
) -> None:
    sender = channel()
    await send(sender)
    server.revoked = {"token-1"}
    assert await asyncio.gather(*(send(sender) for _ in range(4))) == ["201"] * 4
    assert server.given == ["token-1", "token-2"]


async def test_a_key_that_the_server_does_not_know_is_told_by_its_code_alone(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer
) -> None:
    stranger = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(TryAgain, match=r"answered 401: invalid_client$") as caught:
        await send(channel(content=pem(stranger)))
    assert caught.value.code == "token"
    assert server.used == []


UNUSABLE = [
    JSONResponse({"access_token": "t", "token_type": "mac"}),
    JSONResponse({"access_token": "t\r\nX-Header: 1", "token_type": "bearer"}),
    JSONResponse({"access_token": "t" * (16 * 1024 + 1), "token_type": "bearer"}),
    JSONResponse({"access_token": 7, "token_type": "bearer"}),
    JSONResponse({"token_type": "bearer"}),
    JSONResponse(["token"]),
    Response("<html>"),
    JSONResponse({"error": "Síle Murphy"}, 400),
    Response(status_code=503, headers={"Retry-After": "7"}),
    Response(status_code=302, headers={"Location": "http://127.0.0.1:1/"}),
]


@pytest.mark.parametrize("answer", UNUSABLE)
async def test_without_a_usable_token_nothing_is_sent(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer, answer: Response
) -> None:
    server.answer = answer
    with pytest.raises(TryAgain, match=r"^token server 127\.0\.0\.1:") as caught:
        await send(channel())
    assert server.used == []
    assert "Murphy" not in str(caught.value)
    assert caught.value.after == (7 if answer.status_code == 503 else None)


BAD_KEYS = {
    "no key": b"hello",
    "an encrypted key": pem(P384, b"secret"),
    "another curve": pem(ec.generate_private_key(ec.SECP256R1())),
    "a short RSA key": pem(rsa.generate_private_key(65537, 1024)),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("what", list(BAD_KEYS))
async def test_a_key_that_cannot_sign_is_named_by_its_file(
    channel: Callable[..., Any], send: Callable[..., Any], server: TokenServer, what: str
) -> None:
    with pytest.raises(TryAgain, match=r"key\.pem is ") as caught:
        await send(channel(content=BAD_KEYS[what]))
    assert caught.value.code == "secret"
    assert server.assertions == []


async def test_a_probe_shows_who_we_are(channel: Callable[..., Any], server: TokenServer) -> None:
    with pytest.raises(Refused):  # this server has no capability statement
        await channel().probe()
    assert server.used == ["token-1"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": {"env": "KEY"}}, "a private key is given as {file: path}"),
        ({"key": "-----BEGIN"}, "by reference"),
        ({"scope": ""}, "match pattern"),
        ({"scope": "a\nb"}, "match pattern"),
        ({"client_id": "a b"}, "match pattern"),
        ({"token_url": "https://u:p@auth.example/token"}, "no user or password"),
        ({"algorithm": "HS256"}, "not permitted"),
    ],
)
def test_a_block_that_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    auth = {
        "type": "smart_backend",
        "token_url": "https://auth.example/token",
        "client_id": CLIENT,
        "key": {"file": "key.pem"},
        "key_id": "k",
        "scope": SCOPE,
    }
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"site": "st-marys", "url": "https://h.example", "auth": auth | changes})
    assert words in str(caught.value.errors()[0]["msg"])
