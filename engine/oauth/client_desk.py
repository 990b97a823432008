"""Where clients say who they are: what the token and the revocation endpoint have in common.

Enter: requests. Leave: the client of each, or an answer that denies it (RFC 6749 5.2). A denial is in the
log, on the audit trail with the client that was named, and held against its address
(`engine.oauth.patience`); whoever named no client of ours, or comes too often, is counted with the other
strangers. No secret or token is written anywhere.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import DatabaseUnavailable
from engine.oauth.assertion import Used
from engine.oauth.client import Client
from engine.oauth.client_authentication import Shown, authenticated, shown_by
from engine.oauth.denial import Denied, not_the_client
from engine.oauth.form import read_form
from engine.oauth.patience import Patience
from engine.store import clients
from engine.store.database import Database
from engine.strangers import Knock, Strangers

logger = logging.getLogger("pons.oauth")

HEADERS = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 5.1
AWAY = 5  # seconds until a client may ask again whom the database could not be asked for


@dataclass(slots=True)
class Visit:
    """One request of a client, as far as it has got."""

    address: str
    client_id: str = ""  # whom it named, known or not
    client: Client | None = None
    method: str = ""
    used: Used | None = None  # the assertion that it showed
    now: float = 0.0

    def facts(self) -> dict[str, str]:
        """What is written down of it."""
        return {"method": self.method, "remote_address": self.address}


Work = Callable[[Visit, Mapping[str, str]], Awaitable[Response]]
"""What an endpoint does for a client that is authenticated; raises Denied."""


class ClientDesk:
    """Authenticates clients, for one engine."""

    def __init__(
        self, names: Collection[str], database: Database, clock: Clock, strangers: Strangers
    ) -> None:
        """
        Args:
            names: what the audience of an assertion may be: the issuer, its endpoints (RFC 7523 3).
        """
        self._names = names
        self._database = database
        self._clock = clock
        self._strangers = strangers
        self._patience = Patience()

    async def serve(self, request: Request, work: Work) -> Response:
        """Let an endpoint work for the client of a request, or say why not."""
        visit = Visit(request.client.host if request.client else "", now=self._clock.now())
        try:
            return await self._serve(request, work, visit)
        except Denied as denied:
            wait = self._patience.worn_out(visit.address, visit.client_id, visit.now)
            if wait:
                return self._too_often(visit, wait)
            try:
                await self._denied(visit, denied)
            except DatabaseUnavailable:
                return _away()
            return _answer(denied)
        except DatabaseUnavailable:
            return _away()

    async def _serve(self, request: Request, work: Work, visit: Visit) -> Response:
        form = await read_form(request)
        shown = shown_by(_only(request.headers.getlist("authorization")), form)
        visit.client_id, visit.method = shown.client_id, shown.method
        wait = self._patience.wait(visit.address, shown.client_id, visit.now)
        if wait:
            return self._too_often(visit, wait)
        await self._authenticate(visit, shown)
        answer = await work(visit, form)
        self._patience.succeeded(visit.address, shown.client_id, visit.now)
        return answer

    async def _authenticate(self, visit: Visit, shown: Shown) -> None:
        row = await self._database.read(lambda c: clients.find(c, shown.client_id))
        client = None if row is None else client_of(row)
        visit.client = client
        _, visit.used = authenticated(client, shown, self._names, visit.now)

    def _too_often(self, visit: Visit, wait: float) -> Response:
        self._strangers.note(Knock("oauth2", "too often", visit.address))
        words = "too many requests that failed; wait, and find out why they did"
        denied = Denied("temporarily_unavailable", words, status=429)
        return _answer(denied, {"Retry-After": str(math.ceil(wait))})

    async def _denied(self, visit: Visit, denied: Denied) -> None:
        self._patience.failed(visit.address, visit.client_id, visit.now)
        # What was named may be anything, a secret in the wrong place too: only a client of ours is repeated.
        named = visit.client.client_id if visit.client else "unknown"
        facts = {"client": named, "error": denied.code, "reason": denied.why, **visit.facts()}
        logger.warning("client denied", extra={"pons": facts})
        if visit.client is None:
            self._strangers.note(Knock("oauth2", "client", visit.address))
            return
        client_id, detail = visit.client.client_id, {"error": denied.code, "reason": denied.why}
        await self._database.write(
            lambda c: append_event(
                c,
                visit.now,
                actor=f"client {client_id}",
                action="client denied",
                subject=f"client {client_id}",
                detail={**detail, **visit.facts()},
            )
        )


def take_assertion(connection: Connection, visit: Visit) -> None:
    """Use up what the client showed, in the transaction that it is for; Denied where it was before."""
    assert visit.client is not None
    if visit.used is not None and not clients.use_up(
        connection, visit.client.client_id, visit.used.digest, until=visit.used.until, now=visit.now
    ):
        raise not_the_client("the assertion was used before", signed=True)


def client_of(row: Row[Any]) -> Client:
    """A client as it is stored."""
    return Client(
        row.client_id,
        row.name,
        row.site,
        tuple(row.scopes),
        row.secret_hash,
        row.previous_hash,
        row.previous_until,
        row.keys,
        row.created_at,
        row.created_by,
        row.revoked_at,
    )


def _only(headers: list[str]) -> str | None:
    if len(headers) > 1:
        raise Denied("invalid_request", "more than one Authorization header")
    return headers[0] if headers else None


def _answer(denied: Denied, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error": denied.code, "error_description": str(denied)}
    return JSONResponse(
        body, status_code=denied.status, headers={**HEADERS, **denied.headers, **(headers or {})}
    )


def _away() -> Response:
    denied = Denied("temporarily_unavailable", "the database is away; try again", status=503)
    return _answer(denied, {"Retry-After": str(AWAY)})
