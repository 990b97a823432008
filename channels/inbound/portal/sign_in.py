"""Signing in and out: name and password, then a code of the second factor; each refusal in the same words.

Enter: forms (RFC 6238 codes, recovery codes). Leave: a session in a cookie, or the form again with what to
do; the engine decides (`engine.channel.PeopleDesk`).
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal.failure import raised_by, status_of
from channels.inbound.portal.page import Page, Visit
from engine.channel import Issued, SignInRefused, Stage

_LONGEST = 1024  # characters of a password or a code that are passed on


async def show(visit: Visit) -> Response:
    """The form; on to where he wanted for who is signed in already."""
    if visit.signed_in:
        return visit.onward(visit.query.get("next", "/"))
    over = "Your session is over. Sign in again." if "over" in visit.query else ""
    return sign_in_form(visit, visit.query.get("next", ""), over=over)


async def sign_in(visit: Visit) -> Response:
    """Name and password."""
    form = await visit.form()
    username, password = str(form.get("username", "")).strip(), str(form.get("password", ""))
    target = str(form.get("next", ""))
    try:
        issued = await visit.portal.people.sign_in(username[:_LONGEST], password[:_LONGEST], visit.address)
    except SignInRefused as refused:
        return sign_in_form(visit, target, username=username[:200], refused=refused)
    return step(visit, issued, target)


async def show_second(visit: Visit) -> Response:
    """The form of the second step."""
    if visit.session is None or visit.session.stage is not Stage.SECOND_FACTOR:
        return visit.redirect("/" if visit.signed_in else "/sign-in")
    return _second(visit, visit.query.get("next", ""))


async def second(visit: Visit) -> Response:
    """A code of the authenticator, or a recovery code."""
    if visit.session is None or visit.token is None or visit.session.stage is not Stage.SECOND_FACTOR:
        return visit.redirect("/sign-in", "That took too long. Sign in again.")
    target, code = await visit.field("next"), await visit.field("code")
    try:
        issued = await visit.portal.people.second_factor(visit.token, code[:_LONGEST], visit.address)
    except SignInRefused as refused:
        return _second(visit, target, refused)
    return step(visit, issued, target)


async def sign_out(visit: Visit) -> Response:
    """Ends the session, here and on the engine."""
    if visit.token is not None:
        await visit.portal.people.sign_out(visit.token)
    visit.unsign()
    return visit.redirect("/sign-in", "You are signed out.")


def step(visit: Visit, issued: Issued, target: str) -> Response:
    """On to the next step of a sign-in, or to where he wanted."""
    visit.sign(issued)
    if issued.session.stage is Stage.OPEN:
        return visit.onward(target)
    path = "/sign-in/second-factor" if issued.session.stage is Stage.SECOND_FACTOR else "/enrolment"
    return visit.with_next(path, target)


def sign_in_form(
    visit: Visit, target: str, *, username: str = "", refused: SignInRefused | None = None, over: str = ""
) -> Response:
    errors = {} if refused is None else {"": str(refused)}
    answer = visit.render(
        "sign_in.html",
        200 if refused is None else status_of(refused),
        target=target,
        username=username,
        errors=errors,
        over=over,
        outside=visit.portal.people.outside,
    )
    return _waiting(answer, refused)


def _second(visit: Visit, target: str, refused: SignInRefused | None = None) -> Response:
    errors = {} if refused is None else {"code": str(refused)}
    status = 200 if refused is None else status_of(refused)
    return _waiting(visit.render("second_factor.html", status, target=target, errors=errors), refused)


def _waiting(answer: Response, refused: SignInRefused | None) -> Response:
    raised = raised_by(refused) if refused is not None else None
    if raised is not None:
        answer.headers.update(raised.headers)
    return answer


PAGES = (
    Page("/sign-in", show, role=None),
    Page("/sign-in", sign_in, role=None, methods=("POST",), max_body=8 << 10),
    Page("/sign-in/second-factor", show_second, role=None),
    Page("/sign-in/second-factor", second, role=None, methods=("POST",), max_body=8 << 10),
    Page("/sign-out", sign_out, role=None, methods=("POST",)),
)
