"""People, for those who manage them: invited, given roles, shut out, let in again, reset.

Enter: forms of an admin. Leave: pages; `engine.channel.PeopleDesk` says what is theirs to do and records it.
The address of an invitation is shown this once, to whoever passes it on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from starlette.datastructures import FormData
from starlette.responses import Response

from channels.inbound.portal.failure import PageRaised, status_of
from channels.inbound.portal.page import Page, Visit
from engine.channel import (
    Invitation,
    Membership,
    Person,
    Role,
    SignInRefused,
    SignInRefusedReason,
)

ROLES: Sequence[tuple[Role, str]] = (
    (Role.VIEWER, "viewer: sees orders and results"),
    (Role.SUBMITTER, "submitter: gives orders and uploads, too"),
    (Role.ENGINEER, "engineer: sees how the engine works and steers it"),
    (Role.ADMIN, "admin: manages people and clients"),
)
ROWS = 3  # roles that one form can add
_AT_FORM = (SignInRefusedReason.INVALID, SignInRefusedReason.CONFLICT, SignInRefusedReason.FORBIDDEN)
_EVERYWHERE = "*"


async def show(visit: Visit) -> Response:
    """Those that the admin manages, perhaps by a part of the name."""
    everybody = await visit.portal.people.people(actor=visit.actor)
    wanted = visit.query.get("q", "").strip()
    found = [
        one for one in everybody if wanted.casefold() in f"{one.username}\n{one.display_name}".casefold()
    ]
    return visit.render("people.html", people=found, total=len(everybody), q=wanted)


async def show_one(visit: Visit) -> Response:
    """One account."""
    return _one(visit, await _person(visit))


async def show_invite(visit: Visit) -> Response:
    """The form of an invitation."""
    return _invite_form(visit)


async def invite(visit: Visit) -> Response:
    """A new person, or a new invitation for one who has not come yet."""
    form = await visit.form()
    username, display_name = str(form.get("username", "")).strip(), str(form.get("display_name", "")).strip()
    identity = str(form.get("identity", "")).strip()
    try:
        invitation = await visit.portal.people.invite(
            username, display_name, _added(form), actor=visit.actor, identity=identity
        )
    except SignInRefused as refused:
        if refused.reason not in _AT_FORM:
            raise
        return _invite_form(visit, form, refused)
    return _invited(visit, invitation)


async def set_roles(visit: Visit) -> Response:
    """Those that are kept, and those that are added."""
    person, form = await _person(visit), await visit.form()
    kept = set(form.getlist("keep"))
    try:
        wanted = [one for one in person.memberships if _key(one) in kept] + _added(form)
    except SignInRefused as refused:
        return _one(visit, person, refused)
    asked = visit.portal.people.set_memberships(person.person_id, wanted, actor=visit.actor)
    return await _settled(visit, person, asked, f"{person.username} has other roles from the next page on.")


async def disable(visit: Visit) -> Response:
    """Shut out, at once."""
    person = await _person(visit)
    asked = visit.portal.people.disable(person.person_id, actor=visit.actor)
    said = f"{person.username} is signed out and cannot sign in any more."
    return await _settled(visit, person, asked, said)


async def enable(visit: Visit) -> Response:
    """Let in again; a lock is forgotten."""
    person = await _person(visit)
    asked = visit.portal.people.enable(person.person_id, actor=visit.actor)
    return await _settled(visit, person, asked, f"{person.username} can sign in again.")


async def reset(visit: Visit) -> Response:
    """Password and second factor are forgotten; an invitation sets them anew."""
    person = await _person(visit)
    try:
        invitation = await visit.portal.people.reset(person.person_id, actor=visit.actor)
    except SignInRefused as refused:
        if refused.reason not in _AT_FORM:
            raise
        return _one(visit, person, refused)
    return _invited(visit, invitation)


async def _settled(visit: Visit, person: Person, asked: Awaitable[Person], said: str) -> Response:
    """Back to the account once it is done; or there at once with what is in the way."""
    try:
        await asked
    except SignInRefused as refused:
        if refused.reason not in _AT_FORM:
            raise
        return _one(visit, person, refused)
    return visit.redirect(f"/people/{person.person_id}", said)


async def _person(visit: Visit) -> Person:
    for one in await visit.portal.people.people(actor=visit.actor):
        if one.person_id == visit.parts["person_id"]:
            return one
    raise PageRaised(404, "nobody of this name is yours to manage")


def _one(visit: Visit, person: Person, refused: SignInRefused | None = None) -> Response:
    return visit.render(
        "person.html",
        200 if refused is None else status_of(refused),
        one=person,
        held=[(_key(one), one) for one in person.memberships],
        roles=ROLES,
        sites=_places(visit),
        errors={} if refused is None else {"": str(refused)},
    )


def _invite_form(
    visit: Visit, form: FormData | None = None, refused: SignInRefused | None = None
) -> Response:
    typed = {name: str(value) for name, value in form.items()} if form is not None else {}
    return visit.render(
        "invite.html",
        200 if refused is None else status_of(refused),
        typed=typed,
        outside=visit.portal.people.outside,
        rows=range(1, ROWS + 1),
        roles=ROLES,
        sites=_places(visit),
        errors={} if refused is None else {"": str(refused)},
    )


def _invited(visit: Visit, invitation: Invitation) -> Response:
    address = ""
    if invitation.token:
        path = visit.url(f"/invitation/{invitation.token}")
        address = visit.portal.guard.origin(visit.request) + path
    return visit.render("invited.html", invitation=invitation, address=address)


def _added(form: FormData) -> list[Membership]:
    """The roles that a form adds; a row without a role adds none, and one without a site is INVALID."""
    found = []
    for row in range(1, ROWS + 1):
        role, site = str(form.get(f"role-{row}", "")), str(form.get(f"site-{row}", ""))
        if role:
            if role not in list(Role) or not site:
                raise SignInRefused(SignInRefusedReason.INVALID, "a role needs a site: choose where it holds")
            found.append(Membership(Role(role), None if site == _EVERYWHERE else site))
    return found


def _places(visit: Visit) -> list[tuple[str, str]]:
    """Where the admin gives roles."""
    named = [(site.key, f"{site.name} ({site.key})") for site in visit.named_sites(Role.ADMIN)]
    every = [(_EVERYWHERE, "every site")] if visit.person.may_everywhere(Role.ADMIN) else []
    return [*every, *named]


def _key(membership: Membership) -> str:
    return f"{membership.role}@{membership.site or _EVERYWHERE}"


PAGES = (
    Page("/people", show, Role.ADMIN, label="People", section="Administration"),
    Page("/people/invite", show_invite, Role.ADMIN),
    Page("/people/invite", invite, Role.ADMIN, methods=("POST",)),
    Page("/people/{person_id}", show_one, Role.ADMIN),
    Page("/people/{person_id}/roles", set_roles, Role.ADMIN, methods=("POST",)),
    Page("/people/{person_id}/disable", disable, Role.ADMIN, methods=("POST",)),
    Page("/people/{person_id}/enable", enable, Role.ADMIN, methods=("POST",)),
    Page("/people/{person_id}/reset", reset, Role.ADMIN, methods=("POST",)),
)
