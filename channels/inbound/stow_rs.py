"""Receive instances by STOW-RS: `POST …/studies` and `POST …/studies/{study}` (PS3.18 10.5).

Enter: multipart/related requests of application/dicom parts from the table's sites. Leave: each
part, streamed into the engine's intake, and an answer that names what is durable and what is not.
No part is ever held whole in memory. What was stored before a client went away stays stored.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from channels.inbound import stow_response
from channels.inbound.http_peer import Auth, PeerRefused, peer_of
from channels.inbound.places import Places
from channels.inbound.stow_response import Failed, Outcome, Stored
from channels.inbound.stow_transaction import THREADS, Transaction
from channels.transport.multipart import MalformedMultipart, MediaType, MultipartParser
from channels.transport.pace import Pace
from engine.channel import Duration, InboundContext, InboundType, Intake, Settings, Size

logger = logging.getLogger("pons.stow_rs")

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DRAIN = (
    64 << 20
)  # bytes (in 2 s at most) of a refused body read on, so that the client gets to read our answer
_RETRY_AFTER = "30"  # seconds
_BUSY = 503
SCOPE = "uploads:write"  # what an access token must allow


class StowRsSettings(Settings):
    """`type: stow_rs`"""

    path: str = Field("/dicomweb", pattern=r"^(/[A-Za-z0-9._~-]+)+$")
    """Where the service is mounted; instances are posted to `studies` below it."""
    site: str | None = Field(None, examples=["harbour"])
    """Key of the only site that may use this path; any site of the table when absent."""
    auth: Auth = "address"
    """What proves a client's site: `address`, access `token`, or `either`: a token where it shows one."""
    max_requests: int = Field(64, ge=1, le=1000)
    """Requests served at once; one more is answered with 503 and Retry-After."""
    max_requests_per_site: int | None = Field(None, ge=1, le=1000, examples=[16])
    """Requests of one site; three quarters of `max_requests` when absent, so that none has all."""
    max_request: Size = 64 << 30
    """Largest request body, in bytes; one instance is limited by the engine's own setting."""
    max_parts: int = Field(20_000, ge=1)
    """Most instances in one request."""
    max_part_header: Size = 16 << 10
    """Most bytes of headers before one part."""
    receive_timeout: Duration = 60.0
    """How long the client may be silent inside a request."""
    min_rate: Size = 1024
    """Bytes per second that a client must keep up over each `receive_timeout` of waiting for it; 0: any."""


class StowRs:
    """The mounted channel."""

    def __init__(self, settings: StowRsSettings, context: InboundContext) -> None:
        self._settings = settings
        self._context = context
        self._places = Places(settings.max_requests, settings.max_requests_per_site)
        self._too_slow = 0
        self._threads = ThreadPoolExecutor(THREADS, "pons-stow")  # its threads end with the channel

    def measured(self) -> dict[str, float]:
        """Requests by site, and what was kept within its limits."""
        named = f'inbound="{self._context.name}"'
        samples = self._places.measured("pons_requests", named)
        samples[f"pons_requests_too_slow_total{{{named}}}"] = float(self._too_slow)
        return samples

    def routes(self, intake: Intake) -> Sequence[BaseRoute]:
        """Both resources of the store transaction."""

        async def store(request: Request) -> Response:
            return await self._store(request, intake)

        path = self._settings.path
        return [
            Route(f"{path}/studies", store, methods=["POST"]),
            Route(f"{path}/studies/{{study}}", store, methods=["POST"]),
        ]

    async def _store(self, request: Request, intake: Intake) -> Response:
        body = _Body(request, self._settings)
        try:
            answer = await self._transact(request, body, intake)
        except _HttpError as error:
            logger.warning(
                "request refused",
                extra={"pons": {"inbound": self._context.name, "status": error.status, "reason": str(error)}},
            )
            self._too_slow += isinstance(error, _TooSlow)
            headers = error.headers | ({"Retry-After": _RETRY_AFTER} if error.status == _BUSY else {})
            answer = PlainTextResponse(f"{error}\n", error.status, headers)
        except ClientDisconnect:
            logger.warning("client went away", extra={"pons": {"inbound": self._context.name}})
            return Response(status_code=400)  # for nobody
        if not body.is_awaited:
            await body.drain()
        return answer

    async def _transact(self, request: Request, body: _Body, intake: Intake) -> Response:
        try:
            address, site = await peer_of(
                request,
                self._context,
                intake,
                auth=self._settings.auth,
                scope=SCOPE,
                only=self._settings.site,
            )
        except PeerRefused as refused:
            raise _HttpError(refused.status, str(refused), refused.headers) from None
        accept = ",".join(request.headers.getlist("accept"))
        media_type = stow_response.preferred_media_type(accept)
        if media_type is None:
            raise _HttpError(406, f"the answer can be {stow_response.JSON} or {stow_response.XML}")
        study = request.path_params.get("study")
        if study is not None and (len(study) > 64 or not _UID.fullmatch(study)):
            raise _HttpError(400, "the path does not end with a Study Instance UID (PS3.5 9.1)")
        parser = self._parser(request)
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_request:
            raise _HttpError(413, f"a request may have {self._settings.max_request} bytes")
        full = self._places.take(site)
        if full is not None:
            raise _HttpError(_BUSY, f"too many requests: {full}; try again later")
        session = f"{self._context.name}-{uuid.uuid4().hex}"
        transaction = Transaction(self._context, intake, self._threads, site, address, session, study)
        try:
            await transaction.receive(body, parser)
        except MalformedMultipart as error:
            kept = sum(isinstance(outcome, Stored) for outcome in transaction.outcomes)
            raise _HttpError(400, f"{error}; {kept} instances before that are stored") from None
        finally:
            self._places.leave(site)
            intake.leave(session)
        return self._answer(transaction.outcomes, media_type)

    def _parser(self, request: Request) -> MultipartParser:
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise _HttpError(415, "a request body with a content encoding is not supported")
        content_type = MediaType.parse(request.headers.get("content-type", ""))
        if content_type.essence != "multipart/related":
            raise _HttpError(415, 'the Content-Type must be multipart/related; type="application/dicom"')
        if content_type.parameters.get("type", "application/dicom").lower() != "application/dicom":
            raise _HttpError(415, "only multipart/related of type application/dicom is supported")
        boundary = content_type.parameters.get("boundary")
        if not boundary:
            raise _HttpError(400, "the Content-Type names no boundary")
        try:
            return MultipartParser(
                boundary, max_header=self._settings.max_part_header, max_parts=self._settings.max_parts
            )
        except MalformedMultipart as error:
            raise _HttpError(400, str(error)) from None

    def _answer(self, outcomes: Sequence[Outcome], media_type: str) -> Response:
        status = stow_response.status_code(outcomes)
        if not outcomes:
            raise _HttpError(status, "the request holds no instance")
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        headers = {"Retry-After": _RETRY_AFTER} if status in (_BUSY, 507) else {}
        if failures:  # what the codes of the document cannot say (RFC 7234 5.5, PS3.18 10.5.3)
            headers["Warning"] = '299 pons "{}"'.format(failures[0].message.replace('"', "'"))
        logger.info(
            "request answered",
            extra={
                "pons": {
                    "inbound": self._context.name,
                    "status": status,
                    "outcome": f"{len(outcomes) - len(failures)} stored, {len(failures)} failed",
                }
            },
        )
        return Response(
            stow_response.render(outcomes, media_type), status, headers=headers, media_type=media_type
        )


class _HttpError(Exception):
    """The request as a whole is refused."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class _TooSlow(_HttpError):
    """The client is silent, or too slow."""

    def __init__(self, message: str) -> None:
        super().__init__(408, message)


class _Body:
    """The request body in chunks, within its limits of size and time."""

    def __init__(self, request: Request, settings: StowRsSettings) -> None:
        self._chunks = request.stream()
        self._waits = request.headers.get("expect", "").lower() == "100-continue"
        self._settings = settings
        self._size = 0
        self._begun = self._over = False
        self._pace = Pace(settings.min_rate, settings.receive_timeout)

    @property
    def is_awaited(self) -> bool:
        """Whether the client sends nothing before it hears from us (RFC 9110 10.1.1)."""
        return self._waits and not self._begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        settings = self._settings
        self._begun = True
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(settings.receive_timeout):
                    chunk = await anext(self._chunks, None)
            except TimeoutError:
                raise _TooSlow(f"silent for {settings.receive_timeout:g} s inside a request") from None
            if chunk is None:
                self._over = True
                return
            self._size += len(chunk)
            if self._size > settings.max_request:
                raise _HttpError(413, f"a request may have {settings.max_request} bytes")
            if self._pace.is_too_slow(time.monotonic() - began, len(chunk)):
                raise _TooSlow(f"slower than {settings.min_rate} bytes per second")
            yield chunk

    async def drain(self) -> None:
        """Read on a little: an answer to a client that still sends is lost with the connection."""
        if self._over:
            return
        drained = 0
        try:
            async with asyncio.timeout(2):
                while drained < _DRAIN and (chunk := await anext(self._chunks, None)) is not None:
                    drained += len(chunk)
        except (TimeoutError, ClientDisconnect):
            return


def _build(settings: StowRsSettings, context: InboundContext) -> StowRs:
    return StowRs(settings, context)


CHANNEL = InboundType("stow_rs", StowRsSettings, _build)
