"""The door at which a site's gateway fetches its kit: `POST /tunnel/enrol`.

Enter: a one-time token and the public key that the gateway made for itself. Leave: the files of its
kit, once; the token is used up. Whoever knocks without a valid token hears the same answer whatever is
wrong with it, and not more often than a person types. The private key never leaves the gateway.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.audit import append_event
from engine.clock import Clock
from engine.store.database import Database
from engine.table import Table
from engine.tunnel import folder_of, kit
from wg.register import RegisterError, SiteTunnel, enrol
from wg.store import TunnelFolder

logger = logging.getLogger("pons.enrolment")

LONGEST = 4096  # bytes of a request
KNOCKS, PERIOD = 20, 60.0  # refused requests in so many seconds before the door stays shut


class EnrolmentDoor:
    """Serves one table's sites."""

    def __init__(self, table: Table, database: Database, clock: Clock) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._folder: TunnelFolder = folder_of(table)
        self._refused: deque[float] = deque()

    def route(self) -> Route:
        """Where it is."""
        return Route("/tunnel/enrol", self.enrol, methods=["POST"])

    async def enrol(self, request: Request) -> Response:
        """Take a key for a token."""
        now = self._clock.now()
        while self._refused and now - self._refused[0] > PERIOD:
            self._refused.popleft()
        if len(self._refused) >= KNOCKS:
            return _problem(429, "too many refused requests; try again in a minute")
        body = await _body(request)
        try:
            asked = json.loads(body)
            token, key = str(asked["token"]), str(asked["public_key"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return _problem(400, 'the body is {"token": …, "public_key": …} in JSON, of at most 4096 bytes')
        try:
            entry: SiteTunnel = await asyncio.to_thread(
                self._folder.change, lambda register: enrol(register, token, key, now)
            )
        except ValueError as error:
            return _problem(400, str(error))
        except RegisterError as error:
            self._refused.append(now)
            logger.warning("enrolment refused", extra={"pons": {"remote_address": _address(request)}})
            return _problem(403, str(error))
        site = self._table.sites.get(entry.site)
        if site is None:
            return _problem(409, "the key is taken, and the table lacks the site; its operator must add it")
        detail = {"address": entry.ipv4, "public_key": key, "by": "token"}
        await self._database.write(
            lambda c: append_event(
                c, now, actor=f"site {entry.site}", action="tunnel key taken", subject=f"site {entry.site}",
                detail=detail,
            )
        )  # fmt: skip
        made = await asyncio.to_thread(lambda: kit(self._table, self._folder, self._folder.load(), site))
        logger.info("site enrolled", extra={"pons": {"site": entry.site}})
        return JSONResponse(
            {"site": entry.site, "files": {name: text.decode() for name, text in made.files.items()}},
            headers={"Cache-Control": "no-store"},
        )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            return b""
    return body


def _problem(status: int, detail: str) -> Response:
    """RFC 9457."""
    return JSONResponse(
        {"status": status, "detail": detail}, status_code=status, media_type="application/problem+json"
    )
