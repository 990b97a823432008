"""What happens around every page: who asks, may he, is it his own browser; and what an error looks like.

Enter: a request for one path of the portal. Leaves: what its page answers, with the headers and cookies that
all answers have, or an error page; programs get problem details (RFC 9457) in its place. Who is not signed in
is sent to the sign-in page, and back from there. What no page foresaw is logged as a defect without anything
of the request.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from channels.inbound.portal import body
from channels.inbound.portal.failure import PageRaised, raised_by
from channels.inbound.portal.gate import Gate
from channels.inbound.portal.page import House, Page, Visit
from channels.inbound.portal.security import has_control, new_visitor, same
from engine.channel import Stage
from engine.errors import PonsError

logger = logging.getLogger("pons.portal")

SAFE = ("GET", "HEAD")
REVEAL = "reveal"  # field of the form that asks for identifiers: yes, no
VISITOR_FOR = 24 * 3600.0  # seconds that the cookie of somebody who is not signed in is kept
_NEXT_STEP = {Stage.SECOND_FACTOR: "/sign-in/second-factor", Stage.ENROLMENT: "/enrolment"}


async def _nothing(_visit: Visit) -> Response:
    raise PageRaised(404, "nothing of this name is here for you; look at the address again")


_NOTHING = Page("/", _nothing, role=None)  # what a visit is of where there is no page


class Frame:
    """One path: the pages of its methods."""

    def __init__(self, house: House, gate: Gate, pages: Sequence[Page]) -> None:
        self._house = house
        self._gate = gate
        self._pages = {method: page for page in pages for method in page.methods}
        self._any = next(iter(pages), _NOTHING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        page = self._pages.get("GET" if request.method == "HEAD" else request.method)
        visit = Visit(request, self._house, page or self._any, self._house.guard.address(request))
        with contextlib.suppress(ClientDisconnect):
            async with contextlib.AsyncExitStack() as held:
                answer = await self._answered(visit, page, held)
                self._finish(visit, answer)
                await answer(scope, receive, send)

    async def _answered(self, visit: Visit, page: Page | None, held: contextlib.AsyncExitStack) -> Response:
        try:
            await held.enter_async_context(self._entered(visit))
            self._check_words(visit.request)
            if page is None:
                return await self._without_page(visit)
            return await self._performed(visit, page)
        except PageRaised as raised:
            return await self._told(visit, raised)
        except HTTPException as error:
            return await self._told(visit, PageRaised(error.status_code, "the request cannot be used"))
        except PonsError as error:
            foreseen = raised_by(error)
            return await (self._told(visit, foreseen) if foreseen is not None else self._broken(visit))
        except ClientDisconnect:
            raise
        except Exception:
            return await self._broken(visit)

    @contextlib.asynccontextmanager
    async def _entered(self, visit: Visit) -> AsyncIterator[None]:
        """With a place, and with the session that its cookie is for."""
        guard, request = self._house.guard, visit.request
        if not guard.is_reachable_by(request):
            said = (
                "the portal answers at this address on its own machine only; set public_url of its block in"
                " the table to the https:// address at which browsers reach it"
            )
            raise PageRaised(400, said)
        with contextlib.ExitStack() as seats:
            if not visit.page.streams:
                seats.enter_context(self._gate.all.taking())
            token = guard.token(request.cookies)
            if token is not None:
                visit.session = await self._house.people.session(token)
                visit.token = token if visit.session is not None else None
            if visit.page.streams:
                seats.enter_context(self._gate.streams.taking())
            session = visit.session
            if session is None:
                seats.enter_context(self._gate.visitors.taking())
                self._greet(visit)
            self._gate.pace(session.person.person_id if session is not None else visit.address)
            yield

    def _greet(self, visit: Visit) -> None:
        """Who is not signed in has a secret of his own, too: his forms show it."""
        guard = self._house.guard
        visit.visitor = guard.visitor(visit.request.cookies) or ""
        if not visit.visitor:
            visit.visitor = new_visitor()
            visit.cookies[guard.visitor_cookie] = (visit.visitor, VISITOR_FOR)

    @staticmethod
    def _check_words(request: Request) -> None:
        if has_control(request.scope["path"]) or any(
            has_control(name + value) for name, value in request.query_params.multi_items()
        ):
            raise PageRaised(400, "the address holds characters that belong in none")

    async def _without_page(self, visit: Visit) -> Response:
        """Of a path that has no page of this method, but perhaps a page that shows more when asked."""
        page = self._pages.get("GET")
        if not self._pages:
            return await _nothing(visit)
        if visit.request.method == "POST" and page is not None and page.shields:
            visit.page = page
            return await self._revealed(visit, page)
        allowed = {*self._pages, *({"HEAD"} if page is not None else set())}
        raise PageRaised(405, "this address does not take that", {"Allow": ", ".join(sorted(allowed))})

    async def _performed(self, visit: Visit, page: Page) -> Response:
        get = self._pages.get("GET")
        if visit.request.method == "POST" and get is not None and get.shields and not page.own_body:
            form = await visit.form()
            if REVEAL in form:
                visit.page = get
                return await self._revealed(visit, get)
        step = self._step(visit, page)
        if step is not None:
            return step
        if visit.request.method not in SAFE:
            await self._check_source(visit)
        return await page.perform(visit)

    async def _revealed(self, visit: Visit, page: Page) -> Response:
        """The page with identifiers, or without them again; the first is on the trail before it is shown."""
        step = self._step(visit, page)
        if step is not None:
            return step
        await self._check_source(visit)
        assert visit.session is not None
        wanted = await visit.field(REVEAL)
        if wanted == "yes":
            await visit.seen("identifiers.revealed", visit.path)
            self._house.shield.lift(visit.session.session_id, visit.path)
            visit.lifted = True
        else:
            self._house.shield.lower(visit.session.session_id, visit.path)
        return await page.perform(visit)

    def _step(self, visit: Visit, page: Page) -> Response | None:
        """What somebody must do before he sees a page; None where he may see it."""
        if page.role is None:
            return None
        if visit.session is None:
            raise PageRaised(401, "sign in to see this")
        if visit.session.stage is not Stage.OPEN:
            if not _is_for_people(visit.request):
                raise PageRaised(401, "the sign-in is not complete")
            return visit.redirect(_NEXT_STEP[visit.session.stage])
        visit.require(page.role)
        return None

    async def _check_source(self, visit: Visit) -> None:
        """Refuse what another site makes a browser send (CSRF)."""
        shown = visit.request.headers.get("x-csrf-token")
        if shown is None and not visit.page.own_body and body.media_type(visit.request) in body.FORMS:
            shown = await visit.field("csrf")
        if not self._house.guard.is_from_us(visit.request) or not same(shown or "", visit.csrf):
            await visit.seen("request.refused", visit.path, {"reason": "not from a page of the portal"})
            facts = {"inbound": self._house.context.name, "remote_address": visit.address}
            logger.warning("request from elsewhere", extra={"pons": facts})
            raise PageRaised(403, "this form was of another sign-in, or of another site: open its page anew")

    async def _told(self, visit: Visit, raised: PageRaised) -> Response:
        """The error, in the form that fits who asked."""
        if raised.status == 403 and visit.signed_in:
            try:
                await visit.seen("access.refused", visit.path)
            except PonsError as error:
                away = raised_by(error)
                raised = away if away is not None else raised
        if raised.status == 401 and _is_for_people(visit.request) and visit.page.role is not None:
            return self._to_sign_in(visit)
        if not _is_for_people(visit.request):
            problem = {"type": "about:blank", "status": raised.status}
            problem |= {"title": raised.title, "detail": str(raised)}
            return JSONResponse(problem, raised.status, raised.headers, "application/problem+json")
        return self._error_page(visit, raised)

    def _error_page(self, visit: Visit, raised: PageRaised) -> Response:
        answer = visit.render("error.html", raised.status, raised=raised)
        answer.headers.update(raised.headers)
        return answer

    def _to_sign_in(self, visit: Visit) -> Response:
        """Sign in first, and come back here."""
        guard, request = self._house.guard, visit.request
        visit.session = None
        was_there = guard.session_cookie in request.cookies
        if was_there:
            visit.unsign()
        said = "Your session is over. Sign in again." if was_there else ""
        address = quote(request.scope["path"], safe="/:@!$&'()*+,;=-._~")
        asked = request.scope.get("query_string", b"").decode("latin-1")
        address += f"?{asked}" if asked else ""
        if request.method not in SAFE or visit.path == "/":
            return visit.redirect("/sign-in", said)
        return visit.with_next("/sign-in", address, said)

    async def _broken(self, visit: Visit) -> Response:
        """Nobody foresaw it: the log has where, and nothing of what."""
        facts = {"inbound": self._house.context.name, "method": visit.request.method, "path": visit.page.path}
        logger.exception("a page of the portal broke", extra={"pons": facts})
        raised = PageRaised(500, "something broke on our side; it is in the log. Try again in a while")
        try:
            return await self._told(visit, raised)
        except Exception:
            logger.exception("and so did its error page", extra={"pons": facts})
            return PlainTextResponse(f"{raised.title}: {raised}", 500)

    def _finish(self, visit: Visit, answer: Response) -> None:
        guard = self._house.guard
        for name, value in guard.headers().items():
            answer.headers.setdefault(name, value)
        for name, given in visit.cookies.items():
            if given is None:
                guard.drop_cookie(answer, name)
            else:
                guard.set_cookie(answer, name, *given)


def _is_for_people(request: Request) -> bool:
    """Whether what asks is a browser that shows what it gets."""
    wanted = request.headers.get("sec-fetch-dest")
    if wanted is not None:
        return wanted in ("document", "iframe", "frame")
    return "application/json" not in request.headers.get("accept", "") and "text/event-stream" not in (
        request.headers.get("accept", "")
    )
