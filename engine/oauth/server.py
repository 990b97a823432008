"""The authorization server (RFC 6749, client credentials only), mounted in the engine's one ASGI application.

`POST /oauth2/token` gives access tokens (4.4), `POST /oauth2/revoke` takes them back (RFC 7009),
`/oauth2/jwks` publishes the keys that verify them (RFC 7517 5), `/.well-known/oauth-authorization-server`
says all of that to programs (RFC 8414). People sign in elsewhere: a token of this server is a program's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.audit import append_event
from engine.bearer import SCOPES, Grant, TokenRefused
from engine.clock import Clock
from engine.oauth.access_token import issue, read
from engine.oauth.client import Client
from engine.oauth.client_authentication import METHODS
from engine.oauth.client_desk import HEADERS, ClientDesk, Visit, take_assertion
from engine.oauth.client_keys import SUPPORTED
from engine.oauth.denial import Denied, not_the_client
from engine.oauth.key_store import KeyStore
from engine.store import clients
from engine.store.database import Database
from engine.strangers import Strangers

logger = logging.getLogger("pons.oauth")

TOKEN, REVOKE, JWKS = "/oauth2/token", "/oauth2/revoke", "/oauth2/jwks"
METADATA = "/.well-known/oauth-authorization-server"
FRESH = {"Cache-Control": "max-age=300"}  # of what is public: a new key is seen before the old one ends


class AuthorizationServer:
    """One issuer's endpoints."""

    def __init__(
        self,
        issuer: str,
        life: float,
        keys: KeyStore,
        database: Database,
        clock: Clock,
        strangers: Strangers,
        knows_site: Callable[[str], bool],
    ) -> None:
        """
        Args:
            life: seconds that an access token is good.
            knows_site: whether the table that runs has a site.
        """
        self._issuer = issuer
        self._life = life
        self._keys = keys
        self._database = database
        self._clock = clock
        self._knows_site = knows_site
        self._desk = ClientDesk((issuer, issuer + TOKEN, issuer + REVOKE), database, clock, strangers)

    def routes(self) -> list[Route]:
        """What to mount."""
        own = urlsplit(self._issuer).path  # RFC 8414 3.1: an issuer with a path has it at the end
        return [
            Route(TOKEN, self.token, methods=["POST"]),
            Route(REVOKE, self.revoke, methods=["POST"]),
            Route(JWKS, self.key_set),
            *(Route(path, self.metadata) for path in dict.fromkeys((METADATA, METADATA + own))),
        ]

    async def token(self, request: Request) -> Response:
        """An access token for a client's own right."""
        return await self._desk.serve(request, self._token)

    async def revoke(self, request: Request) -> Response:
        """A client gives a token back: nobody gets in by it any more."""
        return await self._desk.serve(request, self._revoke)

    async def key_set(self, _request: Request) -> Response:
        """The keys that verify our tokens."""
        return JSONResponse({"keys": self._keys.ring().public(self._clock.now())}, headers=FRESH)

    async def metadata(self, _request: Request) -> Response:
        """What this server is and can."""
        return JSONResponse(described(self._issuer), headers=FRESH)

    async def _token(self, visit: Visit, form: Mapping[str, str]) -> Response:
        client = visit.client
        assert client is not None
        scopes = self._asked(client, form)
        ring = self._keys.ring()
        token, grant = issue(ring, self._issuer, client, scopes, visit.now, self._life)

        def work(connection: Connection) -> None:
            if not clients.take_token(connection, client.client_id, visit.now):
                raise not_the_client("the client was revoked")
            take_assertion(connection, visit)
            _record(connection, visit, "access token issued", grant, {"scope": " ".join(scopes)})

        await self._database.write(work)
        logger.info("access token issued", extra={"pons": {"client": client.client_id, **visit.facts()}})
        body = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self._life),
            "scope": " ".join(scopes),
        }
        return JSONResponse(body, headers=HEADERS)

    def _asked(self, client: Client, form: Mapping[str, str]) -> tuple[str, ...]:
        """The scopes that a client asks for, all that it has where it names none (RFC 6749 3.3)."""
        if "grant_type" not in form:
            raise Denied("invalid_request", "grant_type is missing; it is client_credentials")
        if form["grant_type"] != "client_credentials":
            raise Denied("unsupported_grant_type", "the only grant_type here is client_credentials")
        if form.get("resource", self._issuer).rstrip("/") != self._issuer:
            raise Denied("invalid_target", f"tokens of this server are for {self._issuer} only")
        if client.site is not None and not self._knows_site(client.site):
            raise Denied("unauthorized_client", "the site of this client is not in the table")
        asked = form["scope"].split(" ") if "scope" in form else list(client.scopes)
        if not set(asked) <= set(client.scopes):
            raise Denied("invalid_scope", f"this client may ask for: {' '.join(client.scopes)}")
        return tuple(one for one in SCOPES if one in asked)

    async def _revoke(self, visit: Visit, form: Mapping[str, str]) -> Response:
        if "token" not in form:
            raise Denied("invalid_request", "token is missing")
        client = visit.client
        assert client is not None
        try:
            grant = read(form["token"], self._keys.ring(), self._issuer, visit.now)
        except TokenRefused:  # RFC 7009 2.2: what opens nothing needs no revoking
            grant = None
        if grant is not None and grant.client_id != client.client_id:
            raise Denied("invalid_grant", "this token was issued to another client")

        def work(connection: Connection) -> None:
            take_assertion(connection, visit)
            if grant is not None and clients.revoke_token(
                connection, grant.token_id, grant.client_id, until=grant.expires_at, now=visit.now
            ):
                _record(connection, visit, "access token revoked", grant, {})

        await self._database.write(work)
        return Response(status_code=200, headers=HEADERS)


def described(issuer: str) -> dict[str, object]:
    """The metadata of an issuer (RFC 8414 2)."""
    authentication = {
        f"{endpoint}_endpoint_auth_{what}_supported": list(values)
        for endpoint in ("token", "revocation")
        for what, values in (("methods", METHODS), ("signing_alg_values", SUPPORTED))
    }
    return {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN,
        "revocation_endpoint": issuer + REVOKE,
        "jwks_uri": issuer + JWKS,
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],  # there is no authorization endpoint
        "scopes_supported": list(SCOPES),
        **authentication,
    }


def _record(
    connection: Connection, visit: Visit, action: str, grant: Grant, detail: Mapping[str, str]
) -> None:
    """On the trail: which client, which token by its identifier; the token itself is nowhere."""
    facts = {"token_id": grant.token_id, "site": grant.site or "all sites", **detail, **visit.facts()}
    subject = f"client {grant.client_id}"
    append_event(connection, visit.now, actor=subject, action=action, subject=subject, detail=facts)
