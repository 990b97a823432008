"""A batch: how its orders stand, each of them, and the report of all.

Enter: a batch's id, or a name for a new one. Leaves: its page, kept up to date by the changes of its orders.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import ORDER_KINDS, ORDER_MEANS
from engine.channel import Role
from engine.model import NewBatch, OrderQuery

ROWS = 100
LONGEST_NAME = 200


async def show(visit: Visit) -> Response:
    """The page."""
    return visit.render("batch.html", **await _values(visit, told=True))


async def live(visit: Visit) -> Response:
    """What of it changes by itself."""
    return visit.fragment("batch_live.html", **await _values(visit, told=False))


async def show_new(visit: Visit) -> Response:
    """The form of a new one."""
    return visit.render(
        "batch_new.html", sites=visit.named_sites(Role.SUBMITTER), name="", site="", errors={}
    )


async def create(visit: Visit) -> Response:
    """Begin one."""
    site, name = await visit.field("site"), await visit.field("name")
    if not visit.person.may(Role.SUBMITTER, site) or site not in {
        one.key for one in visit.named_sites(Role.SUBMITTER)
    }:
        raise PageRaised(
            403, "batches are begun at the sites where you are a submitter; choose one of the list"
        )
    if len(name) > LONGEST_NAME:
        errors = {"name": f"has more than {LONGEST_NAME} characters; shorten it"}
        sites = visit.named_sites(Role.SUBMITTER)
        return visit.render("batch_new.html", 422, sites=sites, name=name, site=site, errors=errors)
    new = NewBatch(site=site, submitter=visit.submitter, name=name)
    batch = await visit.portal.intake.orders.create_batch(new)
    return visit.redirect(f"/batches/{batch.batch_id}", "The batch is begun. Give it orders.")


async def _values(visit: Visit, *, told: bool) -> dict[str, Any]:
    desk, sites = visit.portal.intake.orders, visit.sites(Role.VIEWER)
    batch = await desk.batch(visit.parts["batch_id"], sites)
    after = visit.query.get("after") or None
    if len(after or "") > 64:
        raise PageRaised(400, "after: no place in this list; begin at the first page")
    query = OrderQuery(sites=(batch.site,), batch_id=batch.batch_id, limit=ROWS, after=after)
    page = await desk.list(query)
    path = f"/batches/{batch.batch_id}"
    seen = visit.sees_identifiers(batch.site, of=path)
    if told:
        await visit.seen("batch.viewed", f"batch {batch.batch_id}", {"rows": len(page.orders)})
    return {
        "batch": batch,
        "orders": page.orders,
        "seen": seen,
        "lifted": seen and not visit.person.sees_identifiers(batch.site),
        "formats": visit.portal.context.results.batch_formats,
        "kinds": ORDER_KINDS,
        "means": ORDER_MEANS,
        "may_order": visit.person.may(Role.SUBMITTER, batch.site),
        "first": visit.url(path) if after else None,
        "next": visit.url(f"{path}?after={page.next}") if page.next else None,
        "after": after or "",
    }


PAGES = (
    Page("/batches/new", show_new, Role.SUBMITTER),
    Page("/batches", create, Role.SUBMITTER, ("POST",)),
    Page("/batches/{batch_id}", show, shields=True),
    Page("/batches/{batch_id}/live", live),
)
