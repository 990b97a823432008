"""The first steps of somebody who was invited, or whose account was reset: a password, then a second factor.

Enter: the one-time secret of an invitation, a password, a code of the authenticator (RFC 6238). Leave: a
session, and the recovery codes, which are shown this once and kept nowhere.
"""

from __future__ import annotations

import segno
from starlette.responses import Response

from channels.inbound.portal import sign_in
from channels.inbound.portal.failure import status_of
from channels.inbound.portal.page import Page, Visit
from engine.channel import SignInRefused, SignInRefusedReason, Stage

_LONGEST = 1024  # characters of what is passed on
DIFFERENT = "this is not the same as above: type both again"


async def show_invitation(visit: Visit) -> Response:
    """Who is invited, and the form of the first password."""
    return await _invitation(visit)


async def accept(visit: Visit) -> Response:
    """The first password; the second factor is next."""
    form = await visit.form()
    password, again = str(form.get("password", "")), str(form.get("again", ""))
    if password != again:
        return await _invitation(visit, {"again": DIFFERENT}, 422)
    try:
        issued = await visit.portal.people.accept_invitation(
            visit.parts["token"][:_LONGEST], password[:_LONGEST], visit.address
        )
    except SignInRefused as refused:
        if refused.reason is not SignInRefusedReason.WEAK:
            raise
        return await _invitation(visit, {"password": str(refused)}, status_of(refused))
    return sign_in.step(visit, issued, "")


async def _invitation(visit: Visit, errors: dict[str, str] | None = None, status: int = 200) -> Response:
    invited = await visit.portal.people.invited(visit.parts["token"][:_LONGEST])
    return visit.render("invitation.html", status, invited=invited, errors=errors or {})


async def show(visit: Visit) -> Response:
    """The secret for the authenticator, to scan and to type; the same until it is confirmed."""
    if visit.session is None or visit.session.stage is not Stage.ENROLMENT:
        return visit.redirect("/" if visit.signed_in else "/sign-in")
    return await _form(visit, visit.query.get("next", ""))


async def enrol(visit: Visit) -> Response:
    """A code shows that the authenticator has the secret."""
    if visit.session is None or visit.token is None or visit.session.stage is not Stage.ENROLMENT:
        return visit.redirect("/sign-in", "That took too long. Sign in again.")
    target, code = await visit.field("next"), await visit.field("code")
    try:
        issued, codes = await visit.portal.people.enrol(visit.token, code[:_LONGEST], visit.address)
    except SignInRefused as refused:
        if refused.reason is SignInRefusedReason.EXPIRED:
            raise
        return await _form(visit, target, refused)
    visit.sign(issued)
    return visit.render("recovery_codes.html", codes=codes, target=visit.local(target), first=True)


async def _form(visit: Visit, target: str, refused: SignInRefused | None = None) -> Response:
    assert visit.token is not None
    enrolment = await visit.portal.people.enrolment(visit.token)
    picture = segno.make(enrolment.uri, error="m", micro=False)
    return visit.render(
        "enrolment.html",
        200 if refused is None else status_of(refused),
        target=target,
        secret=" ".join(enrolment.secret[place : place + 4] for place in range(0, len(enrolment.secret), 4)),
        picture=picture.svg_data_uri(scale=4, border=4, dark="#000", light="#fff"),
        errors={} if refused is None else {"code": str(refused)},
    )


PAGES = (
    Page("/invitation/{token}", show_invitation, role=None),
    Page("/invitation/{token}", accept, role=None, methods=("POST",), max_body=8 << 10),
    Page("/enrolment", show, role=None),
    Page("/enrolment", enrol, role=None, methods=("POST",), max_body=8 << 10),
)
