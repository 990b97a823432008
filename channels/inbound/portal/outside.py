"""Signing in with an outside identity provider: there, and back (OpenID Connect Core 3.1).

Enter: a click, and later what the provider sends the browser back with. Leave: a redirect there, a session.
The state is in a cookie of the browser that began, and compared in constant time when it returns: nobody is
signed in as somebody else by a link (RFC 6749 10.12).
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.responses import RedirectResponse, Response

from channels.inbound.portal import sign_in
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.security import same
from engine.channel import SignInRefused

RETURN = "/sign-in/outside/return"
_LIFE = 600.0  # seconds that somebody may take at the provider
_LONGEST = 4096


async def leave(visit: Visit) -> Response:
    """To the provider."""
    people = visit.portal.people
    if people.outside is None:
        raise PageRaised(404, "nobody signs in from outside here: no identity provider is set up")
    begun = await people.begin_outside(_address(visit))
    target = quote(visit.query.get("next", ""), safe="")
    visit.cookies[visit.portal.guard.outside_cookie] = (f"{begun.state}~{target}", _LIFE)
    return RedirectResponse(begun.url, 303)


async def back(visit: Visit) -> Response:
    """From the provider: the state that left must be the one that returns, in this browser."""
    cookie = visit.portal.guard.outside_cookie
    state, _, target = visit.request.cookies.get(cookie, "").partition("~")
    visit.cookies[cookie] = None
    shown, code = visit.query.get("state", ""), visit.query.get("code", "")
    if not same(shown[:_LONGEST], state):
        return visit.redirect(
            "/sign-in", "This sign-in did not begin in this browser, or is over. Begin again."
        )
    if not code:
        return visit.redirect("/sign-in", f"{visit.portal.people.outside} did not sign you in.")
    try:
        issued = await visit.portal.people.complete_outside(state, code, _address(visit), visit.address)
    except SignInRefused as refused:
        return sign_in.sign_in_form(visit, unquote(target), refused=refused)
    return sign_in.step(visit, issued, unquote(target))


def _address(visit: Visit) -> str:
    return visit.portal.guard.origin(visit.request) + visit.url(RETURN)


PAGES = (Page("/sign-in/outside", leave, role=None), Page(RETURN, back, role=None))
