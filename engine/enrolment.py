"""The door at which a site's gateway fetches its kit: `POST /tunnel/enrol`.

Enter: a one-time token and the public key that the gateway made for itself. Leave: the files of its kit,
once, as JSON or, where `Accept: application/x-tar` asks for it, ready to be unpacked; the token is used up.
Whoever knocks without a valid token hears the same answer whatever is wrong with it, not more often than a
person types, and is on the audit trail. The private key never leaves the gateway.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import tarfile
from collections import deque

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.audit import append_event
from engine.clock import Clock
from engine.model import Site
from engine.store.database import Database
from engine.strangers import Knock, Strangers
from engine.table import Table
from engine.tunnel import folder_of, kit
from wg.kit import Kit
from wg.register import Register, RegisterError, SiteTunnel, enrol
from wg.store import TunnelFolder

logger = logging.getLogger("pons.enrolment")

LONGEST = 4096  # bytes of a request
KNOCKS, PERIOD = 20, 60.0  # refused requests of an address in so many seconds before its door stays shut
MOST = 1000  # addresses that are remembered
TAR = "application/x-tar"
NO_STORE = {"Cache-Control": "no-store"}


class _SiteMissing(Exception):
    """The token is good, and the table lacks its site: nothing has been changed."""


class EnrolmentDoor:
    """Serves one table's sites."""

    def __init__(self, table: Table, database: Database, clock: Clock, strangers: Strangers) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._strangers = strangers
        self._folder: TunnelFolder = folder_of(table)
        self._refused: dict[str, deque[float]] = {}

    def take(self, table: Table) -> None:
        """Another table's sites; its tunnels are the same, or the engine would have been restarted."""
        self._table = table

    def route(self) -> Route:
        """Where it is."""
        return Route("/tunnel/enrol", self.enrol, methods=["POST"])

    async def enrol(self, request: Request) -> Response:
        """Take a key for a token."""
        now, address = self._clock.now(), _address(request)
        if self._shut(address, now):
            return _problem(429, "too many refused requests; try again in a minute")
        body = await _body(request)
        try:
            asked = json.loads(body)
            token, key = str(asked["token"]), str(asked["public_key"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return _problem(400, 'the body is {"token": …, "public_key": …} in JSON, of at most 4096 bytes')
        try:
            entry = await asyncio.to_thread(self._taken, token, key, now)
        except ValueError as error:
            return _problem(400, str(error))
        except _SiteMissing:
            return _problem(409, "the table lacks the site; its operator must add it, then try again")
        except RegisterError as error:
            self._remember(address, now)
            self._strangers.note(Knock("enrolment", "token", address))
            logger.warning("enrolment refused", extra={"pons": {"remote_address": address}})
            return _problem(403, str(error))
        detail = {"address": entry.ipv4, "public_key": key, "by": "token", "remote_address": address}
        await self._database.write(
            lambda c: append_event(
                c, now, actor=f"site {entry.site}", action="tunnel key taken", subject=f"site {entry.site}",
                detail=detail,
            )
        )  # fmt: skip
        made = await asyncio.to_thread(self._kit, self._table.sites[entry.site])
        logger.info("site enrolled", extra={"pons": {"site": entry.site}})
        if TAR in request.headers.get("accept", ""):
            return Response(_tar(made, now), media_type=TAR, headers=NO_STORE)
        files = {name: text.decode() for name, text in made.files.items()}
        return JSONResponse({"site": entry.site, "files": files}, headers=NO_STORE)

    def _taken(self, token: str, key: str, now: float) -> SiteTunnel:
        """Use the token up; what is refused changes nothing."""

        def work(register: Register) -> tuple[Register, SiteTunnel]:
            changed, entry = enrol(register, token, key, now)
            if entry.site not in self._table.sites:
                raise _SiteMissing
            return changed, entry

        self._folder.hub_public_key()  # a folder that cannot make a kit must not cost a token
        work(self._folder.load())  # whoever only knocks does not keep others from the lock
        entry: SiteTunnel = self._folder.change(work)
        return entry

    def _kit(self, site: Site) -> Kit:
        return kit(self._table, self._folder, self._folder.load(), site)

    def _shut(self, address: str, now: float) -> bool:
        refused = self._refused.get(address, deque())
        while refused and now - refused[0] > PERIOD:
            refused.popleft()
        return len(refused) >= KNOCKS

    def _remember(self, address: str, now: float) -> None:
        refused = self._refused.pop(address, None) or deque(maxlen=KNOCKS)
        refused.append(now)
        self._refused[address] = refused  # the latest last
        if len(self._refused) > MOST:
            del self._refused[next(iter(self._refused))]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            return b""
    return body


def _tar(made: Kit, now: float) -> bytes:
    """The kit as `tar -x` unpacks it: files of mode 0600, no folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(made.files.items()):
            facts = tarfile.TarInfo(name)
            facts.mode, facts.size, facts.mtime = 0o600, len(content), int(now)
            archive.addfile(facts, io.BytesIO(content))
    return stream.getvalue()


def _problem(status: int, detail: str) -> Response:
    """RFC 9457."""
    return JSONResponse(
        {"status": status, "detail": detail}, status_code=status, media_type="application/problem+json"
    )
