"""What a page of the portal is, and one visit to it.

Enter: a request that was let in (`frame`). Leaves: the answer. A module of pages has ``PAGES``, which
`channel.MODULES` lists; a page declares its path and the role that it needs; the frame has checked both and
the CSRF token before it performs. What is of a site where somebody has no role is not there: `Visit.require`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from channels.inbound.portal import body, security
from channels.inbound.portal.changes import Changes
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.rendering import Rendering
from channels.inbound.portal.security import Guard
from channels.inbound.portal.settings import PortalSettings
from channels.inbound.portal.shield import Shield
from channels.inbound.uploads.desk import Uploads
from engine.channel import InboundContext, Intake, Issued, PeopleDesk, Person, Role, Session, Stage
from engine.errors import Busy
from engine.model import Site, Submitter

SAID_FOR = 60.0  # seconds that a message waits for its page
_LONGEST_SAID = 400


@dataclass(frozen=True, slots=True)
class Page:
    """One path of the portal, for some methods."""

    path: str  # below the portal's own, in Starlette's syntax
    perform: Callable[[Visit], Awaitable[Response]]
    role: Role | None = Role.VIEWER  # held anywhere; None: nobody needs to be signed in
    methods: tuple[str, ...] = ("GET",)  # all but GET pass the checks of `security` before they perform
    label: str = ""  # in the navigation, where it is there
    section: str = ""  # of the navigation
    max_body: int = 64 << 10
    shields: bool = False  # GET only: has the button that reveals identifiers; `Visit.sees_identifiers`
    streams: bool = False  # answers for as long as the browser stays: takes no place of the others
    own_body: bool = (
        False  # reads ``request.stream()`` itself; the token is in `X-CSRF-Token`, never in a form
    )


@dataclass(frozen=True, slots=True)
class House:
    """What all pages of one portal share."""

    settings: PortalSettings
    context: InboundContext
    intake: Intake
    rendering: Rendering
    guard: Guard
    shield: Shield
    navigation: tuple[Page, ...]
    changes: Changes  # of orders, for pages that are kept up to date
    uploads: Uploads

    @property
    def people(self) -> PeopleDesk:
        """Who signs people in; Busy where no engine runs behind the portal."""
        if self.context.people is None:
            raise Busy("no engine runs behind this portal")
        return self.context.people


@dataclass(slots=True)
class Visit:
    """One request, as far as it was let in."""

    request: Request
    portal: House
    page: Page
    address: str  # who asks, for the trail
    token: str | None = None  # the secret of the session
    session: Session | None = None
    visitor: str = ""  # the secret of a browser that is not signed in
    cookies: dict[str, tuple[str, float] | None] = field(default_factory=dict)  # given with the answer
    lifted: bool = False  # identifiers were asked for by this very request
    content: bytes | None = None

    # ── who ──

    @property
    def signed_in(self) -> bool:
        """Whether every step of a sign-in was taken."""
        return self.session is not None and self.session.stage is Stage.OPEN

    @property
    def person(self) -> Person:
        """Who is signed in; the frame has seen to it on every page that needs a role."""
        if self.session is None:
            raise PageRaised(401, "sign in to see this")
        return self.session.person

    @property
    def actor(self) -> Session:
        """The session in whose name something is done."""
        if self.session is None:
            raise PageRaised(401, "sign in to do this")
        return self.session

    @property
    def submitter(self) -> Submitter:
        """The person, as what he gives and asks for is signed."""
        return Submitter(kind="person", name=self.person.username)

    @property
    def csrf(self) -> str:
        """What every form of the answer carries."""
        return self.session.csrf_token if self.session is not None else self.visitor

    def sites(self, role: Role = Role.VIEWER) -> Collection[str] | None:
        """The sites where a role is his, as the desks of the engine take them; None for every one."""
        return self.person.sites(role)

    def named_sites(self, role: Role = Role.VIEWER) -> list[Site]:
        """The sites of the table where a role is his, by name: for lists to choose from."""
        own = self.sites(role)
        every = self.portal.context.sites.every()
        return sorted((one for one in every if own is None or one.key in own), key=lambda one: one.name)

    def require(self, role: Role, site: str | None = None) -> None:
        """End the visit with 403 where a role is not his; with 404 where he sees nothing of the site."""
        if site is not None and not self.person.may(Role.VIEWER, site):
            raise PageRaised(404, "nothing of this name is here for you; look at the address again")
        if not self.person.may(role, site):
            raise PageRaised(403, f"this needs the role {role}; an admin of yours can give it to you")

    def sees_identifiers(self, site: str, of: str | None = None) -> bool:
        """Whether what patients of a site are called is shown to him here.

        Args:
            of: path of the page that it is part of, for what is fetched by a script; this one when absent.
        """
        if self.lifted or self.person.sees_identifiers(site):
            return True
        path = self.path if of is None else of
        return self.session is not None and self.portal.shield.is_lifted(self.session.session_id, path)

    async def seen(self, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Put on the audit trail what he looks at, before it is shown; never with an identifier."""
        if self.session is not None:
            await self.portal.people.seen(self.session, action, subject, detail)

    # ── what was asked ──

    @property
    def path(self) -> str:
        """Below the portal's own."""
        return str(self.request.scope["path"]).removeprefix(self.portal.settings.base) or "/"

    @property
    def parts(self) -> Mapping[str, str]:
        """Of the path: what its pattern names."""
        return self.request.path_params

    @property
    def query(self) -> Mapping[str, str]:
        """Of the address; the frame refuses control characters in it."""
        return self.request.query_params

    async def body(self) -> bytes:
        """All of it; `page.max_body` at most, PageRaised past that."""
        if self.content is None:
            patience = self.portal.settings.receive_timeout
            self.content = await body.read(self.request, self.page.max_body, patience)
        return self.content

    async def form(self) -> FormData:
        """Its fields: text without control characters; no files."""
        return await body.parsed(self.request, await self.body())

    async def field(self, name: str) -> str:
        """One field of the form, stripped; empty where it is not there."""
        return str((await self.form()).get(name, "")).strip()

    # ── what is answered ──

    def url(self, path: str) -> str:
        """An address below the portal's own path."""
        return self.portal.settings.base + path

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page in the frame that all share (`templates/base.html`)."""
        text = self.portal.rendering.text(template, visit=self, said=self._said(), **values)
        return HTMLResponse(text, status)

    def fragment(self, template: str, **values: Any) -> Response:
        """A part of a page, for a script that puts it in place."""
        return HTMLResponse(self.portal.rendering.text(template, visit=self, said="", **values))

    def redirect(self, path: str, said: str = "") -> Response:
        """On to another page, with a message that it shows once (RFC 9110 15.4.4)."""
        if said:
            self.cookies[self.portal.guard.said_cookie] = (quote(said[:_LONGEST_SAID]), SAID_FOR)
        return RedirectResponse(self.url(path), 303)

    def local(self, target: str) -> str:
        """An address that the browser brought along where it is one of the portal; else the first page's."""
        return security.local(target, self.portal.settings.base) or self.url("/")

    def onward(self, target: str, said: str = "") -> Response:
        """On to an address of the portal that the browser brought along; to the first page from any other."""
        answer = self.redirect("/", said)
        answer.headers["location"] = self.local(target)
        return answer

    def with_next(self, path: str, target: str, said: str = "") -> Response:
        """On to a page that leads on to an address afterwards, where that is one of the portal."""
        answer = self.redirect(path, said)
        if security.local(target, self.portal.settings.base) is not None:
            answer.headers["location"] += f"?next={quote(target, safe='')}"
        return answer

    def sign(self, issued: Issued) -> None:
        """The browser shows this session from now on."""
        self.token, self.session = issued.token, issued.session
        left = max(1.0, issued.session.expires_at - time.time())
        self.cookies[self.portal.guard.session_cookie] = (issued.token, left)

    def unsign(self) -> None:
        """The browser shows no session any more."""
        self.token, self.session = None, None
        self.cookies[self.portal.guard.session_cookie] = None

    def seconds_left(self) -> int:
        """Until the session is over."""
        return max(0, int(self.session.expires_at - time.time())) if self.session is not None else 0

    def navigation(self) -> list[tuple[str, list[tuple[str, str, bool]]]]:
        """By section: label, address, and whether it is where he is."""
        sections: dict[str, list[tuple[str, str, bool]]] = {}
        for page in self.portal.navigation:
            if page.role is None or self.person.may(page.role):
                here = self.path == page.path or (page.path != "/" and self.path.startswith(f"{page.path}/"))
                sections.setdefault(page.section, []).append((page.label, self.url(page.path), here))
        return list(sections.items())

    def _said(self) -> str:
        cookie = self.portal.guard.said_cookie
        shown = self.request.cookies.get(cookie, "")
        if not shown:
            return ""
        self.cookies[cookie] = None
        said = unquote(shown)[:_LONGEST_SAID]
        return said if not security.has_control(said) else ""
