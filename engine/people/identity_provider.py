"""An outside identity provider over HTTP: its addresses and keys in, an ID token for a code out.

OpenID Connect Discovery 1.0 4, Core 3.1.3, RFC 7517. Answers are bounded in time and size, redirects are not
followed, every address must be https or of this machine, and what the provider says of itself must be under
the issuer that the table names. Addresses and keys are kept for a while; a key that is not known is looked
for anew, but not as fast as somebody may make them up.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from engine.errors import PonsError
from engine.oauth_section import LOOPBACK
from engine.people.id_token import NoIdentity
from engine.people_section import OutsideSettings

LONGEST_ANSWER = 256 << 10  # bytes
TIMEOUT = 10.0  # seconds for a whole answer
KEPT = 3600.0  # seconds until addresses and keys are asked for again
AGAIN = 10.0  # seconds between two looks for a key that is not known, or for a provider that is away
AT_ONCE = 16  # codes that are exchanged at once


class ProviderAway(PonsError):
    """The provider does not answer, or not as one; the message is for the log."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is asked what."""

    issuer: str  # as it writes itself, perhaps with a slash at its end
    authorization: str
    token: str
    keys: str
    secret_in_form: bool  # client_secret_post is all that it takes


class IdentityProvider:
    """One provider; lives on the event loop."""

    def __init__(self, settings: OutsideSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._endpoints: Endpoints | None = None
        self._keys: Mapping[str | None, Mapping[str, Any]] = {}
        self._found_at = self._keys_at = self._away_at = float("-inf")
        self._under_way = 0
        self._tls: ssl.SSLContext | None = None

    async def endpoints(self) -> Endpoints:
        """Its addresses; ProviderAway, at once where it was away a moment ago."""
        async with self._turn:
            if self._endpoints is None or time.monotonic() - self._found_at > KEPT:
                if time.monotonic() - self._away_at < AGAIN:
                    raise ProviderAway("the provider was away a moment ago")
                try:
                    self._endpoints = await self._discovered()
                except ProviderAway:
                    self._away_at = time.monotonic()
                    raise
                self._found_at = time.monotonic()
            return self._endpoints

    async def keys(self, key_id: str | None) -> Mapping[str | None, Mapping[str, Any]]:
        """Its keys by their ids; asked for again where this one is not among them. ProviderAway."""
        where = (await self.endpoints()).keys
        async with self._turn:
            age = time.monotonic() - self._keys_at
            if age > KEPT or (key_id not in self._keys and age > AGAIN):
                self._keys = _by_id(await self._asked("GET", where))
                self._keys_at = time.monotonic()
            return self._keys

    async def id_token(self, code: str, verifier: str, redirect_uri: str) -> str:
        """What a code stands for.

        Raises:
            NoIdentity: it takes the code for none.
            ProviderAway: it does not answer.
        """
        where, settings = await self.endpoints(), self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        secret = self._secret()
        if secret is None or where.secret_in_form:
            form["client_id"] = settings.client_id
            form |= {"client_secret": secret} if secret is not None else {}
        else:  # RFC 6749 2.3.1: both are form-encoded first
            auth = httpx.BasicAuth(quote(settings.client_id, safe=""), quote(secret, safe=""))
        if self._under_way >= AT_ONCE:
            raise ProviderAway("too many sign-ins wait for the provider")
        self._under_way += 1
        try:
            answer = await self._asked("POST", where.token, form, auth)
        finally:
            self._under_way -= 1
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise NoIdentity("the token endpoint gave no ID token")
        return token

    def _certificates(self) -> ssl.SSLContext:
        """Whom to believe that he is the provider; reading the authorities once costs 30 ms."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._tls

    def _secret(self) -> str | None:
        if self._settings.client_secret is None:
            return None
        try:
            return self._settings.client_secret.reveal()
        except (LookupError, ValueError) as error:
            raise ProviderAway(f"people.oidc.client_secret: {error}") from None

    async def _discovered(self) -> Endpoints:
        issuer = self._settings.issuer
        told = await self._asked("GET", f"{issuer}/.well-known/openid-configuration")
        if str(told.get("issuer", "")).rstrip("/") != issuer:  # Discovery 4.3
            raise ProviderAway("the provider goes by another issuer than the table says")
        methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        in_form = isinstance(methods, list) and "client_secret_basic" not in methods
        authorization, token = _safe(told.get("authorization_endpoint")), _safe(told.get("token_endpoint"))
        return Endpoints(told["issuer"], authorization, token, _safe(told.get("jwks_uri")), in_form)

    async def _asked(
        self, method: str, url: str, form: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> dict[str, Any]:
        """One answer, a JSON object. A code that is refused (RFC 6749 5.2) is no fault of the provider's."""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=self._certificates()) as client,
            ):
                request = client.build_request(
                    method,
                    url,
                    data=form,
                    headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                )
                answer = await client.send(request, stream=True, auth=auth or httpx.USE_CLIENT_DEFAULT)
                try:
                    body = await _bounded(answer)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderAway(f"{_place(url)} does not answer: {type(error).__name__}") from None
        if form is not None and answer.status_code == 400:
            raise NoIdentity("the token endpoint refuses the code: 400")
        if answer.status_code != 200:
            raise ProviderAway(f"{_place(url)} answers {answer.status_code}")
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise ProviderAway(f"{_place(url)} answers no JSON object")
        return told


async def _bounded(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise httpx.DecodingError("the answer is too long")
    return bytes(body)


def _by_id(told: Mapping[str, Any]) -> dict[str | None, Mapping[str, Any]]:
    found = told.get("keys")
    keys = (
        [one for one in found if isinstance(one, dict) and one.get("use", "sig") == "sig"]
        if isinstance(found, list)
        else []
    )
    known: dict[str | None, Mapping[str, Any]] = {
        one["kid"]: one for one in keys[:100] if isinstance(one.get("kid"), str)
    }
    if len(keys) == 1:  # then a token need not name it (Core 10.1)
        known[None] = keys[0]
    return known


def _safe(url: Any) -> str:
    """An address that may be asked; ProviderAway."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:
        safe = False
    if not safe or not parts.hostname or parts.username is not None or parts.fragment:
        raise ProviderAway("an address of the provider is not https")
    return str(url)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
