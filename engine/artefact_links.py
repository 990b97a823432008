"""Signed addresses that hand out the files of a result for a time.

Enter: GET `/artefacts/<result_id>/<name>?expires=<unix seconds>&signature=<hex>`. Leave: one file, an
artefact that the processor made or an export made on the spot. The signature is HMAC-SHA256 (RFC 2104)
over result, name and expiry, by a key that never leaves the data folder; who has the address has the
file until it expires, so it is shared over TLS only. Expired or tampered is 403, a file that is not
there 404, a version whose result was retracted since 410. Each hand-out is on the audit trail before
the first byte leaves. No path is made from the request: a name is looked up in the stored result.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.audit import append_event
from engine.channel import ExportType, Link
from engine.clock import Clock, at
from engine.errors import ConfigurationError
from engine.exported import exported
from engine.model import Artefact, Result, ResultStatus
from engine.spool import write_durably
from engine.store import work
from engine.store.database import Database
from engine.stored_result import stored_versions

logger = logging.getLogger("pons.links")

KEY_BYTES = 32
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)
_SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def signing_key(data: Path) -> bytes:
    """The key of this data folder, made at the first call and private (0600)."""
    path = data / "link.key"
    if not path.exists():
        write_durably(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path}: not a key of {KEY_BYTES} bytes; remove it and every link ends")
    return key


def signature(key: bytes, result_id: str, name: str, expires: int) -> str:
    """HMAC-SHA256 in hex; the newlines keep the three apart, for no part holds one."""
    return hmac.new(key, f"{result_id}\n{name}\n{expires}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class ArtefactLinks:
    """Makes links; `ArtefactDoor` opens them. ``public_url`` has no slash at its end."""

    public_url: str
    key: bytes
    exports: tuple[ExportType, ...]

    def links(self, result: Result, expires: datetime) -> Sequence[Link]:
        """A link to each artefact, and to the result in each installed format."""
        found = [self._link(result, one.name, one.media_type, expires, one.sha256) for one in _filed(result)]
        taken = {link.name for link in found}
        found += [
            self._link(result, name, one.media_type, expires)
            for one in self.exports
            if (name := export_name(one)) not in taken
        ]
        return found

    def _link(self, result: Result, name: str, media_type: str, expires: datetime, sha256: str = "") -> Link:
        until = int(expires.timestamp())
        path = f"artefacts/{quote(result.result_id, safe='')}/{quote(name, safe='')}"
        query = urlencode({"expires": until, "signature": signature(self.key, result.result_id, name, until)})
        return Link(name, media_type, f"{self.public_url}/{path}?{query}", at(until), sha256)


def export_name(export: ExportType) -> str:
    """What an export is called among the files of a result."""
    return f"result{export.suffix}"


class ArtefactDoor:
    """Opens what the links name."""

    def __init__(
        self, database: Database, clock: Clock, data: Path, key: bytes, exports: Sequence[ExportType]
    ) -> None:
        self._database = database
        self._clock = clock
        self._data = data
        self._key = key
        self._exports = {export_name(one): one for one in exports}

    def route(self) -> Route:
        """The route to mount."""
        return Route("/artefacts/{result_id}/{name}", self.hand_out, methods=["GET"])

    async def hand_out(self, request: Request) -> Response:
        """One file, or why not."""
        result_id, name = request.path_params["result_id"], request.path_params["name"]
        if not self._is_signed(request, result_id, name):
            return _answer(403, "this link has expired or is not one of ours")
        found = await self._database.read(lambda c: _result(c, result_id, self._data))
        if found is None:
            return _answer(404, "no such file")
        versions, retracted = found
        if retracted:
            return _answer(410, "this result was retracted")
        try:
            made = await asyncio.to_thread(self._file, versions, name)
        except (OSError, ValueError) as error:  # removed from the disk, or changed there
            logger.error(
                "an artefact cannot be read",
                extra={"pons": {"what": result_id, "error": type(error).__name__}},
            )
            made = None
        if made is None:
            return _answer(404, "no such file")
        content, media_type = made
        await self._record(request, result_id, name)
        return Response(
            content,
            media_type=media_type,
            headers={**_SAFE, "Content-Disposition": f'attachment; filename="{name}"'},
        )

    def _is_signed(self, request: Request, result_id: str, name: str) -> bool:
        expires = request.query_params.get("expires", "")
        shown = request.query_params.get("signature", "")
        until = int(expires) if _EXPIRES.fullmatch(expires) else 0
        expected = signature(self._key, result_id, name, until)
        genuine = hmac.compare_digest(shown.encode("utf-8", "replace"), expected.encode())
        return genuine and self._clock.now() < until

    def _file(self, versions: Sequence[Result], name: str) -> tuple[bytes, str] | None:
        for artefact in _filed(versions[-1]):
            if artefact.name == name:
                return artefact.read(), artefact.media_type
        export = self._exports.get(name)
        content = exported(export, versions) if export else None
        return (content, export.media_type) if export and content is not None else None

    async def _record(self, request: Request, result_id: str, name: str) -> None:
        address = request.client.host if request.client else ""
        now = self._clock.now()
        await self._database.write(
            lambda c: append_event(
                c,
                now,
                actor=f"link holder at {address}",
                action="artefact handed out",
                subject=f"result {result_id}",
                detail={"name": name, "method": request.method},
            )
        )
        logger.info(
            "artefact handed out", extra={"pons": {"what": f"{result_id}/{name}", "address": address}}
        )


def _filed(result: Result) -> list[Artefact]:
    return [one for one in result.report.artefacts if one.path is not None]


def _result(connection: Connection, result_id: str, data: Path) -> tuple[tuple[Result, ...], bool] | None:
    """The stored result after its earlier versions, and whether a later one was retracted."""
    row = work.result_row(connection, result_id)
    if row is None:
        return None
    latest = work.latest_result(connection, row.study_id, row.lineage)
    retracted = (
        latest is not None and latest.result_id != result_id and latest.status == ResultStatus.RETRACTED.value
    )
    rows = work.versions_of(connection, row.study_id, row.lineage)
    return stored_versions(rows, row.revision, data), retracted


def _answer(status: int, words: str) -> Response:
    return PlainTextResponse(words + "\n", status_code=status, headers=_SAFE)
