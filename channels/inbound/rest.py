"""The REST API: orders, uploads, batches and results for programs, at `/api/v1` of the engine's HTTP address.

Enter: HTTP requests with an access token (RFC 6750). Leave: JSON, or problem details (RFC 9457); the API
describes itself at `openapi.json` (OpenAPI 3.1) and, for people, at `docs`. What a client may see is its
site's; what lies elsewhere is not there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from itertools import groupby

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from channels.inbound import (
    rest_batches,
    rest_files,
    rest_openapi,
    rest_orders,
    rest_page,
    rest_results,
    rest_uploads,
)
from channels.inbound.places import Places
from channels.inbound.rest_gate import Buckets, Gate
from channels.inbound.rest_operation import Operation
from channels.inbound.rest_problem import ProblemRaised
from channels.inbound.rest_resource import Resource
from channels.inbound.uploads.desk import Uploads
from channels.inbound.uploads.settings import UploadSettings
from engine.channel import Duration, InboundContext, InboundType, Intake, Settings, Size

OPERATIONS: tuple[Operation, ...] = (
    *rest_orders.OPERATIONS,
    *rest_uploads.OPERATIONS,
    *rest_results.OPERATIONS,
    *rest_batches.OPERATIONS,
    *rest_files.OPERATIONS,
)


class RestSettings(Settings):
    """`type: rest`"""

    path: str = Field("/api/v1", pattern=r"^(/[A-Za-z0-9._~-]+)+$")
    """Where the API is mounted."""
    site: str | None = Field(None, examples=["harbour"])
    """Key of the only site whose clients may use this path; those of any site when absent."""
    max_requests: int = Field(64, ge=1, le=1000)
    """Requests served at once; one more is answered with 503 and Retry-After."""
    max_requests_per_site: int | None = Field(None, ge=1, le=1000, examples=[16])
    """Requests of one site; three quarters of `max_requests` when absent, so that none has all."""
    requests_per_second: float = Field(50.0, gt=0, le=10_000)
    """What one client may ask in the long run, with bursts of twice as many; more is answered with 429."""
    max_body: Size = 256 << 10
    """Largest body of JSON."""
    max_depth: int = Field(16, ge=4, le=100)
    """How deep a body of JSON may be nested."""
    receive_timeout: Duration = 30.0
    """How long a body of JSON may take to arrive."""
    uploads: UploadSettings = UploadSettings()
    """How [uploads](../uploads.md) are taken in, and what one may be."""


class Rest:
    """The mounted channel."""

    def __init__(self, settings: RestSettings, context: InboundContext) -> None:
        self._settings = settings
        self._context = context
        self._places = Places(settings.max_requests, settings.max_requests_per_site)
        self._bodies = Places(settings.uploads.max_bodies, None)
        self._uploads: Uploads | None = None

    def measured(self) -> dict[str, float]:
        """Requests and uploads by site, and what was kept within its limits."""
        name = self._context.name
        samples = self._places.measured("pons_requests", f'inbound="{name}"')
        samples |= self._bodies.measured("pons_upload_bodies", f'inbound="{name}"')
        return samples | (self._uploads.measured(name) if self._uploads is not None else {})

    @contextlib.asynccontextmanager
    async def listening(self, intake: Intake) -> AsyncIterator[None]:
        """Entered: complete uploads are taken in. Left: they rest, and go on at the next start."""
        async with self._desk(intake).working():
            yield

    def _desk(self, intake: Intake) -> Uploads:
        if self._uploads is None:
            self._uploads = Uploads(self._settings.uploads, self._context, intake)
        return self._uploads

    def routes(self, intake: Intake) -> Sequence[BaseRoute]:
        """The API as one mount."""
        settings, base = self._settings, self._settings.path
        buckets = Buckets(settings.requests_per_second)
        gate = Gate(
            self._context,
            intake,
            base,
            settings.site,
            self._places,
            self._bodies,
            buckets,
            self._desk(intake),
        )
        document = rest_openapi.document(OPERATIONS, base)
        page = rest_page.page(document)

        async def openapi(_request: Request) -> Response:
            return JSONResponse(document, headers={"Cache-Control": "no-cache"})

        async def docs(_request: Request) -> Response:
            return Response(page, headers=rest_page.HEADERS, media_type="text/html")

        async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
            problem = ProblemRaised("not-found", f"the API has no such path; {base}/docs lists what it has")
            await problem.response(base)(scope, receive, send)

        by_path = sorted(OPERATIONS, key=lambda one: ("{" in one.path, one.path))
        resources = [
            Route(
                path,
                Resource(
                    base, [*operations], gate, settings.max_body, settings.max_depth, settings.receive_timeout
                ),
            )
            for path, operations in groupby(by_path, key=lambda one: one.path)
        ]
        own = [Route("/openapi.json", openapi), Route("/docs", docs)]
        mount = Mount(base, app=Router([*own, *resources], redirect_slashes=False, default=nothing))
        # Starlette's own ends at a line's end, and a path may hold one: it is ours all the same.
        mount.path_regex = re.compile(rf"^{re.escape(base)}/(?P<path>.*)\Z", re.DOTALL)
        return [mount]


def _build(settings: RestSettings, context: InboundContext) -> Rest:
    return Rest(settings, context)


CHANNEL = InboundType("rest", RestSettings, _build)
