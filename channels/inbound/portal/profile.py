"""One's own account: name and roles, where one is signed in, another password, other recovery codes.

Enter: forms. Leave: pages, and changes that `engine.channel.PeopleDesk` makes and records.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal.page import Page, Visit


async def show(visit: Visit) -> Response:
    """The account."""
    sessions = await visit.portal.people.sessions(visit.person.person_id)
    return visit.render("profile.html", sessions=sessions)


PAGES = (Page("/profile", show),)
