"""Pages that are kept up to date: changes of orders as server-sent events (WHATWG HTML 9.2).

Enter: who listens, and to what. Leaves: a stream with `orders` as they change, `missed` where the page must
look for itself, a comment now and then, for proxies drop what is silent, and `over` at the session's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import ORDER_KINDS
from engine.channel import Role
from engine.errors import PonsError
from engine.model import OrderChange

HEARTBEAT = 15.0  # seconds until it is looked whether the session is still one
AGAIN = 3000  # milliseconds until a browser connects again


async def events(visit: Visit) -> Response:
    """The changes of orders that he may see: all, of one batch, or of one order."""
    order, batch = visit.query.get("order"), visit.query.get("batch")
    sites = visit.sites(Role.VIEWER)

    def concerns(one: OrderChange) -> bool:
        return (
            (sites is None or one.site in sites)
            and order in (None, one.order_id)
            and batch in (None, one.batch_id)
        )

    stack = contextlib.ExitStack()
    listener = stack.enter_context(visit.portal.changes.listening(visit.person.person_id))

    async def stream() -> AsyncIterator[str]:
        with stack:
            yield f"retry: {AGAIN}\nevent: hello\ndata: {{}}\n\n"
            while (left := _left(visit)) > 0:
                try:
                    async with asyncio.timeout(min(HEARTBEAT, left)):
                        news = await listener.news.get()
                except TimeoutError:
                    if not await _goes_on(visit):
                        break
                    yield ": still here\n\n"
                    continue
                if news is None:
                    return
                told = [_told(one) for one in news if concerns(one)]
                if listener.missed:
                    listener.missed = False
                    yield "event: missed\ndata: {}\n\n"
                elif told:
                    yield f"event: orders\ndata: {json.dumps(told, separators=(',', ':'))}\n\n"
            yield "event: over\ndata: {}\n\n"

    headers = {"X-Accel-Buffering": "no"}  # proxies pass it on as it comes
    return _Stream(stream(), stack, headers)


class _Stream(StreamingResponse):
    """Ends what it listens to also where not one byte of it was ever sent."""

    def __init__(
        self, content: AsyncIterator[str], stack: contextlib.ExitStack, headers: dict[str, str]
    ) -> None:
        super().__init__(content, headers=headers, media_type="text/event-stream")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        with self._stack:
            await super().__call__(scope, receive, send)


def _told(one: OrderChange) -> dict[str, str | int]:
    return {
        "id": one.order_id,
        "batch": one.batch_id or "",
        "state": one.state.value,
        "kind": ORDER_KINDS[one.state],
        "version": one.version,
    }


def _left(visit: Visit) -> float:
    return visit.session.expires_at - time.time() if visit.session is not None else 0.0


async def _goes_on(visit: Visit) -> bool:
    """Whether the session is still one: he may have signed out elsewhere, or been disabled."""
    if visit.token is None:
        return False
    try:
        return await visit.portal.people.session(visit.token) is not None
    except PonsError:
        return True  # the database is away: that ends nobody's session


PAGES = (Page("/events", events, streams=True),)
