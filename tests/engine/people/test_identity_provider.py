"""What a provider's answers may be: bounded, JSON, under its own name, and nothing but https."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.people.id_token import NoIdentity
from engine.people.identity_provider import AT_ONCE, LONGEST_ANSWER, IdentityProvider, ProviderAway
from engine.people_section import OutsideSettings
from engine.settings import Secret
from engine.web import serving

KEY = {"kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB"}


class Answers:
    """A provider that answers what a test wants, on a socket of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.discovery: dict[str, Any] | Response = {}
        self.keys: dict[str, Any] | Response = {"keys": [KEY]}
        self.token: dict[str, Any] | Response = {"id_token": "a.b.c"}
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.seen = asyncio.Semaphore(0)  # one more for each request
        self.gate = asyncio.Event()
        self.gate.set()

    def app(self) -> Starlette:
        async def discovery(request: Request) -> Response:
            told: dict[str, Any] = {
                "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
            }  # fmt: skip
            return await self._answer(request, self.discovery if isinstance(self.discovery, Response) else
                                      told | self.discovery)  # fmt: skip

        async def keys(request: Request) -> Response:
            return await self._answer(request, self.keys)

        async def token(request: Request) -> Response:
            return await self._answer(request, self.token)

        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", discovery),
                Route("/keys", keys),
                Route("/token", token, methods=["POST"]),
            ]
        )

    async def _answer(self, request: Request, answer: dict[str, Any] | Response) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.asked.append((request.url.path, form, request.headers.get("authorization", "")))
        self.seen.release()
        await asyncio.wait_for(self.gate.wait(), 60)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@asynccontextmanager
async def running() -> AsyncIterator[Answers]:
    answers = Answers()
    async with serving(answers.app(), "127.0.0.1:0") as port:
        answers.url = f"http://127.0.0.1:{port}"
        yield answers


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    async with running() as found:
        yield found


def provider(answers: Answers, **changed: Any) -> IdentityProvider:
    return IdentityProvider(OutsideSettings(issuer=answers.url, client_id="pons site", **changed))


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"issuer": "https://login.example"}, "goes by another issuer"),
        ({"issuer": None}, "goes by another issuer"),
        ({"token_endpoint": "http://login.example/token"}, "is not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "is not https"),
        ({"authorization_endpoint": None}, "is not https"),
        ({"jwks_uri": "https://user@login.example/keys"}, "is not https"),
        ({"jwks_uri": "https://[login"}, "is not https"),
        ({"jwks_uri": "ftp://127.0.0.1/keys"}, "is not https"),
        (Response("no JSON"), "answers no JSON object"),
        (Response("[]"), "answers no JSON object"),
        (Response("[" * 100_000), "answers no JSON object"),
        (Response("{}" + " " * LONGEST_ANSWER), "does not answer: DecodingError"),
        (Response("{}", 404), "answers 404"),
        (RedirectResponse("/keys"), "answers 307"),
    ],
)
async def test_what_is_no_provider_is_not_asked_further(
    answers: Answers, told: dict[str, Any] | Response, says: str
) -> None:
    answers.discovery = told
    with pytest.raises(ProviderAway, match=says):
        await provider(answers).endpoints()
    assert answers.paths() == ["/.well-known/openid-configuration"]


async def test_an_answer_that_never_ends_is_cut_off(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    monkeypatch.setattr("engine.people.identity_provider.TIMEOUT", 1.0)
    answers.discovery = StreamingResponse(dripping())
    async with asyncio.timeout(60):
        with pytest.raises(ProviderAway, match="does not answer: TimeoutError"):
            await provider(answers).endpoints()


async def test_one_that_was_away_is_not_asked_by_everybody(answers: Answers) -> None:
    answers.discovery = Response("{}", 503)
    asked = provider(answers)
    told = await asyncio.gather(*(asked.endpoints() for _ in range(10)), return_exceptions=True)
    assert {type(one) for one in told} == {ProviderAway}
    assert len(answers.asked) == 1


async def test_addresses_and_keys_are_asked_for_once(answers: Answers) -> None:
    asked = provider(answers)
    found = await asyncio.gather(*(asked.keys("1") for _ in range(10)))
    assert all(one == {"1": KEY, None: KEY} for one in found)
    assert sorted(answers.paths()) == ["/.well-known/openid-configuration", "/keys"]
    for _ in range(5):  # whoever makes key ids up makes no requests
        assert "made up" not in await asked.keys("made up")
    assert len(answers.asked) == 2


@pytest.mark.parametrize(
    "told", [{}, {"keys": None}, {"keys": [None, 7, {"kid": 7}, {"kid": "2", "use": "enc"}]}]
)
async def test_keys_that_are_none_are_passed_over(answers: Answers, told: dict[str, Any]) -> None:
    answers.keys = told
    found = await provider(answers).keys("2")
    assert "2" not in found


@pytest.mark.parametrize(
    ("methods", "basic"),
    [(None, True), (["client_secret_basic"], True), (["client_secret_post", "client_secret_basic"], True),
     (["client_secret_post"], False)],
)  # fmt: skip
async def test_a_secret_is_shown_as_the_provider_takes_it(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, methods: list[str] | None, basic: bool
) -> None:
    monkeypatch.setenv("PONS_OIDC", "a:b/c d")
    answers.discovery = {"token_endpoint_auth_methods_supported": methods} if methods else {}
    asked = provider(answers, client_secret=Secret(env="PONS_OIDC"))
    assert await asked.id_token("code", "verifier", "https://pons.example/back") == "a.b.c"
    _, form, authorization = answers.asked[-1]
    if basic:  # each part form-encoded, RFC 6749 2.3.1
        shown = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        assert shown == "pons%20site:a%3Ab%2Fc%20d"
        assert "client_secret" not in form
    else:
        assert (form["client_id"], form["client_secret"], authorization) == ("pons site", "a:b/c d", "")
    assert (form["code"], form["code_verifier"]) == ("code", "verifier")


async def test_a_secret_that_is_not_there_is_told_to_those_who_run_it(answers: Answers) -> None:
    asked = provider(answers, client_secret=Secret(env="PONS_NO_SUCH_SECRET"))
    with pytest.raises(ProviderAway, match=r"people\.oidc\.client_secret: environment variable PONS_NO_SUCH"):
        await asked.id_token("code", "verifier", "https://pons.example/back")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (Response('{"error": "invalid_grant"}', 400), NoIdentity),
        (Response("{}", 500), ProviderAway),
        (Response('{"error": "invalid_client"}', 401), ProviderAway),
        ({"id_token": None}, NoIdentity),
        ({"id_token": ["a"]}, NoIdentity),
        (RedirectResponse("https://elsewhere.example"), ProviderAway),
    ],
)
async def test_a_code_is_refused_or_the_provider_is_away(
    answers: Answers, told: dict[str, Any] | Response, kind: type[Exception]
) -> None:
    answers.token = told
    with pytest.raises(kind):
        await provider(answers).id_token("code", "verifier", "https://pons.example/back")


async def test_no_more_codes_than_a_few_are_exchanged_at_once(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.people.identity_provider.TIMEOUT", 120.0)
    asked = provider(answers)
    await asked.endpoints()
    answers.gate.clear()
    back = "https://pons.example/back"
    under_way = [asyncio.create_task(asked.id_token("code", "verifier", back)) for _ in range(AT_ONCE)]
    async with asyncio.timeout(60):
        for _ in range(1 + AT_ONCE):
            await answers.seen.acquire()
    with pytest.raises(ProviderAway, match="too many sign-ins"):
        await asked.id_token("code", "verifier", back)
    answers.gate.set()
    assert await asyncio.gather(*under_way) == ["a.b.c"] * AT_ONCE
