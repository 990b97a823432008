"""The web portal, mounted in the engine's ASGI app: requests of browsers in, pages out.

Every page is one `Page` of a module in ``MODULES``; `frame` is what happens around each of them. The portal
takes the paths that no other channel has: it is looked at last.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import groupby
from types import ModuleType

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from channels.inbound.portal import (
    again,
    assets,
    audit,
    batches,
    clients,
    dashboard,
    deliveries,
    enrolment,
    events,
    new_order,
    order,
    order_list,
    outside,
    people,
    places,
    profile,
    results,
    routes,
    sign_in,
    studies,
    upload_pages,
)
from channels.inbound.portal.changes import Changes
from channels.inbound.portal.frame import Frame
from channels.inbound.portal.gate import Gate
from channels.inbound.portal.page import House, Page
from channels.inbound.portal.rendering import Rendering
from channels.inbound.portal.security import Guard
from channels.inbound.portal.settings import PortalSettings
from channels.inbound.portal.shield import Shield
from channels.inbound.uploads.desk import Uploads
from engine.channel import InboundContext, InboundType, Intake

MODULES: tuple[ModuleType, ...] = (
    dashboard,
    order_list,
    new_order,
    order,
    upload_pages,
    results,
    batches,
    sign_in,
    outside,
    enrolment,
    profile,
    events,
    deliveries,
    again,
    routes,
    studies,
    places,
    people,
    clients,
    audit,
)
"""Where the pages are, in the order of the navigation."""


class Portal:
    """The mounted channel."""

    def __init__(self, settings: PortalSettings, context: InboundContext) -> None:
        self._settings = settings
        self._context = context
        self._gate = Gate(settings)
        self._changes: Changes | None = None
        self._uploads: Uploads | None = None

    @contextlib.asynccontextmanager
    async def listening(self, intake: Intake) -> AsyncIterator[None]:
        """Entered: changes are told and uploads are taken in. Left: no page waits for either."""
        assert self._changes is not None  # made by `routes`, which comes first
        assert self._uploads is not None
        async with self._uploads.working(), self._changes.following():
            yield

    def measured(self) -> dict[str, float]:
        """Requests, live pages and uploads at this moment."""
        name = self._context.name
        return self._gate.measured(name) | (self._uploads.measured(name) if self._uploads else {})

    def routes(self, intake: Intake) -> Sequence[BaseRoute]:
        """The portal as one mount."""
        pages = [page for module in MODULES for page in module.PAGES]
        settings = self._settings
        self._changes = Changes(intake.orders)
        self._uploads = Uploads(settings.uploads, self._context, intake)
        house = House(
            settings,
            self._context,
            intake,
            Rendering(settings, self._context.sites),
            Guard(settings, self._context.public_url),
            Shield(),
            tuple(page for page in pages if page.label),
            self._changes,
            self._uploads,
        )
        routes = [Route("/static/{name}", _static_of(house.guard), methods=["GET"])]
        by_path = sorted(pages, key=_place)
        routes += [
            Route(path, Frame(house, self._gate, list(same)))
            for path, same in groupby(by_path, key=lambda page: page.path)
        ]
        mount = Mount(
            settings.path, app=Router(routes, redirect_slashes=False, default=Frame(house, self._gate, []))
        )
        # Starlette's own ends at a line's end, and a path may hold one: it is ours all the same.
        mount.path_regex = re.compile(rf"^{re.escape(settings.base)}/(?P<path>.*)\Z", re.DOTALL)
        return [mount, *([Route(settings.base, _to_its_slash)] if settings.base else [])]


def _place(page: Page) -> tuple[bool, str]:
    """Names before patterns."""
    return "{" in page.path, page.path


def _static_of(guard: Guard) -> Callable[[Request], Awaitable[Response]]:
    async def static(request: Request) -> Response:
        answer = assets.answered(request, request.path_params["name"])
        if answer is None:
            answer = PlainTextResponse("nothing of this name is here", 404)
        for name, value in guard.headers().items():
            answer.headers.setdefault(name, value)
        return answer

    return static


async def _to_its_slash(request: Request) -> Response:
    return RedirectResponse(f"{request.scope['path']}/", 307)


def _build(settings: PortalSettings, context: InboundContext) -> Portal:
    return Portal(settings, context)


CHANNEL = InboundType("portal", PortalSettings, _build)
