"""An authorization server on a socket of its own, and a resource that lets in whoever has a token."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt
from joserfc.errors import SecurityWarning
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.bearer import TokenRefused
from engine.oauth import register
from engine.oauth.client import Client, hash_of, new_secret
from engine.oauth.client_keys import read_key_set
from engine.oauth.key_store import KeyStore, key_store
from engine.oauth.server import AuthorizationServer
from engine.oauth.verifier import Verifier
from engine.oauth_section import OAuthSettings
from engine.store.database import Database
from engine.store.tables import audit_events
from engine.strangers import Strangers
from engine.web import serving

ISSUER = "https://pons.example"


@dataclass
class House:
    """The server, its database, and what a client needs."""

    database: Database
    clock: Any
    keys: KeyStore
    strangers: Strangers
    sites: set[str] = field(default_factory=lambda: {"st-marys", "st-johns"})
    client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    life: float = 3600.0

    def app(self) -> Starlette:
        """What is served: the authorization server, and a resource for orders of St. Mary's."""
        server = AuthorizationServer(
            ISSUER, self.life, self.keys, self.database, self.clock, self.strangers, self.sites.__contains__
        )
        verifier = Verifier(ISSUER, self.keys, self.database, self.clock, self.sites.__contains__)

        async def orders(request: Request) -> Response:
            try:
                grant = await verifier.verify(
                    request.headers.get("authorization"), scope="orders:read", site="st-marys"
                )
            except TokenRefused as refused:
                headers = {"WWW-Authenticate": refused.challenge}
                return JSONResponse({"detail": str(refused)}, status_code=refused.status, headers=headers)
            return JSONResponse({"client": grant.client_id, "site": grant.site})

        return Starlette(routes=[*server.routes(), Route("/orders", orders)])

    def add(
        self,
        client_id: str = "his",
        *,
        site: str | None = "st-marys",
        scopes: tuple[str, ...] = ("orders:read", "orders:write"),
        key_set: dict[str, Any] | None = None,
    ) -> str:
        """A client; its secret."""
        secret = new_secret() if key_set is None else ""
        keys = read_key_set(json.dumps(key_set).encode()) if key_set else ()
        made = Client(
            client_id, client_id, site, scopes, hash_of(client_id, secret) if secret else "", keys=keys,
            created_at=self.clock.now(), created_by="somebody",
        )  # fmt: skip
        self.database.write_now(lambda c: register.add(c, made))
        return secret

    async def ask(self, client_id: str, secret: str, **form: str) -> httpx.Response:
        """A token request with Basic authentication."""
        form = {"grant_type": "client_credentials", **form}
        return await self.client.post("/oauth2/token", data=form, auth=(client_id, secret))

    async def token(self, client_id: str, secret: str, **form: str) -> str:
        """An access token."""
        answer = await self.ask(client_id, secret, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def orders(self, token: str) -> httpx.Response:
        """Ask the resource."""
        return await self.client.get("/orders", headers={"Authorization": f"Bearer {token}"})

    def trail(self) -> list[Any]:
        """The events, oldest first."""
        query = audit_events.select().order_by(audit_events.c.id)
        return list(self.database.read_now(lambda c: c.execute(query).all()))


@contextlib.asynccontextmanager
async def _opened(database: Database, clock: Any, data: Path) -> AsyncIterator[House]:
    keys = key_store(OAuthSettings(), data, clock.now())
    made = House(database, clock, keys, Strangers(database, clock))
    async with (
        serving(made.app(), "127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
    ):
        made.client = client
        yield made


@pytest.fixture
async def house(database: Database, clock: Any, tmp_path: Path) -> AsyncIterator[House]:
    """On either database: what the database has a part in is tested on both."""
    async with _opened(database, clock, tmp_path / "data") as made:
        yield made


@pytest.fixture
async def local(sqlite_database: Database, clock: Any, tmp_path: Path) -> AsyncIterator[House]:
    """On SQLite: for what is decided before a database is asked."""
    async with _opened(sqlite_database, clock, tmp_path / "data") as made:
        yield made


class Signer:
    """A client that signs, by a library that the engine does not use (joserfc)."""

    def __init__(self, algorithm: str = "ES384", kid: str = "k1") -> None:
        self.algorithm = algorithm
        parameters = {"kid": kid, "alg": algorithm, "use": "sig"}
        if algorithm.startswith(("RS", "PS")):
            self.key: Any = jwk.RSAKey.generate_key(2048, parameters)
        elif algorithm == "EdDSA":
            self.key = jwk.OKPKey.generate_key("Ed25519", parameters)
        else:
            self.key = jwk.ECKey.generate_key("P-384" if algorithm == "ES384" else "P-256", parameters)

    @property
    def key_set(self) -> dict[str, Any]:
        """What its people hand over."""
        return {"keys": [self.key.as_dict(private=False)]}

    def assertion(self, claims: dict[str, Any], **header: Any) -> str:
        """A signed assertion."""
        headers = {"alg": self.algorithm, "kid": self.key.kid, **header}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 has another name for EdDSA
            return jwt.encode(headers, claims, self.key, algorithms=[headers["alg"]])


@pytest.fixture
def signer() -> Signer:
    return Signer()
