"""One's own account: name and roles, where one is signed in, another password, other recovery codes.

Enter: forms. Leave: pages, and changes that `engine.channel.PeopleDesk` makes and records. Who signs in with
an outside identity provider has neither password nor codes here.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal.enrolment import DIFFERENT
from channels.inbound.portal.failure import PageRaised, status_of
from channels.inbound.portal.page import Page, Visit
from engine.channel import SignInRefused, SignInRefusedReason

_LONGEST = 1024  # characters of what is passed on


async def show(visit: Visit) -> Response:
    """The account."""
    sessions = await visit.portal.people.sessions(visit.person.person_id)
    return visit.render("profile.html", sessions=sessions)


async def show_password(visit: Visit) -> Response:
    """The form of another password."""
    _has_password(visit)
    return visit.render("password.html", errors={})


async def change_password(visit: Visit) -> Response:
    """Another password; every other session ends."""
    token, form = _has_password(visit), await visit.form()
    old, new, again = (str(form.get(name, "")) for name in ("old", "new", "again"))
    if new != again:
        return visit.render("password.html", 422, errors={"again": DIFFERENT})
    try:
        issued = await visit.portal.people.change_password(
            token, old[:_LONGEST], new[:_LONGEST], visit.address
        )
    except SignInRefused as refused:
        if refused.reason not in (SignInRefusedReason.WRONG, SignInRefusedReason.WEAK):
            raise
        wrong = "old" if refused.reason is SignInRefusedReason.WRONG else "new"
        return visit.render("password.html", status_of(refused), errors={wrong: str(refused)})
    visit.sign(issued)
    return visit.redirect("/profile", "Your password is changed; you are signed out everywhere else.")


async def show_recovery_codes(visit: Visit) -> Response:
    """The form that makes other codes."""
    _has_password(visit)
    return visit.render("new_recovery_codes.html", errors={})


async def new_recovery_codes(visit: Visit) -> Response:
    """Other codes, shown this once."""
    token, code = _has_password(visit), await visit.field("code")
    try:
        codes = await visit.portal.people.new_recovery_codes(token, code[:_LONGEST], visit.address)
    except SignInRefused as refused:
        if refused.reason is not SignInRefusedReason.WRONG:
            raise
        return visit.render("new_recovery_codes.html", status_of(refused), errors={"code": str(refused)})
    return visit.render("recovery_codes.html", codes=codes, target=visit.url("/profile"), first=False)


def _has_password(visit: Visit) -> str:
    """The session's token, where the account is one of ours."""
    if visit.person.identity != "password" or visit.token is None:
        raise PageRaised(404, "you sign in with an outside identity provider: password and codes are its")
    return visit.token


PAGES = (
    Page("/profile", show),
    Page("/profile/password", show_password),
    Page("/profile/password", change_password, methods=("POST",), max_body=8 << 10),
    Page("/profile/recovery-codes", show_recovery_codes),
    Page("/profile/recovery-codes", new_recovery_codes, methods=("POST",), max_body=8 << 10),
)
