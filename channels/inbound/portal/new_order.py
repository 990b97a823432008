"""A new order: what it says of its study, the batch that it joins, and the files that are to be uploaded.

Enter: a form. Leaves: an order and the page where its study is uploaded; or, for the script that sends the
files from the very page, the order's id. The form's own key makes a second click give the same order.
"""

from __future__ import annotations

import secrets

from starlette.responses import JSONResponse, Response

from channels.inbound.portal import metadata
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from engine.channel import Role
from engine.errors import OrderRefused, OrderRefusedReason
from engine.model import NewOrder

BATCHES = 50  # offered to join
_MISTAKES = (OrderRefusedReason.INVALID, OrderRefusedReason.NOT_FOUND)
_KEY = 43  # characters


async def show(visit: Visit) -> Response:
    """The form."""
    batch = visit.query.get("batch", "")
    site = ""
    if batch:
        site = (await visit.portal.intake.orders.batch(batch, visit.sites(Role.SUBMITTER))).site
    return await _form(visit, {"batch": batch, "site": site, "key": secrets.token_urlsafe(32)}, {})


async def create(visit: Visit) -> Response:
    """Give it."""
    form = await visit.form()
    own = {name: str(form.get(name, "")).strip() for name in ("site", "batch", "key")}
    wants_json = "application/json" in visit.request.headers.get("accept", "")
    if own["site"] not in {one.key for one in visit.named_sites(Role.SUBMITTER)}:
        raise PageRaised(
            403, "orders are given at the sites where you are a submitter; choose one of the list"
        )
    if len(own["key"]) != _KEY:
        raise PageRaised(400, "the form is incomplete; open its page anew")
    try:
        order = await visit.portal.intake.orders.create(
            NewOrder(
                site=own["site"],
                submitter=visit.submitter,
                inbound=visit.portal.context.name,
                metadata=metadata.given(form),
                batch_id=own["batch"][:64] or None,
                idempotency_key=own["key"],
            )
        )
    except OrderRefused as refused:
        if refused.reason not in _MISTAKES:
            raise
        mistakes = metadata.mistakes(str(refused))
        if refused.reason is OrderRefusedReason.NOT_FOUND:
            mistakes = {"batch": "is of another site; choose a batch of the order's own"}
        if wants_json:
            return JSONResponse({"mistakes": mistakes}, 422)
        return await _form(visit, {**metadata.typed(form), **own}, mistakes)
    path = f"/orders/{order.order_id}/upload"
    if wants_json:
        return JSONResponse({"order_id": order.order_id, "upload": visit.url(path)}, 201)
    return visit.redirect(path, "The order is given. Now choose its files.")


async def _form(visit: Visit, values: dict[str, str], errors: dict[str, str]) -> Response:
    sites = visit.named_sites(Role.SUBMITTER)
    batches = await visit.portal.intake.orders.batches(
        None if visit.sites(Role.SUBMITTER) is None else [one.key for one in sites], limit=BATCHES
    )
    offered = [(one.batch_id, f"{one.name or one.batch_id[:8]} ({one.site})") for one in batches.batches]
    if values["batch"] and values["batch"] not in {key for key, _ in offered}:
        offered.insert(0, (values["batch"], values["batch"][:8]))
    return visit.render(
        "order_new.html",
        422 if errors else 200,
        sites=sites,
        batches=offered,
        fields=metadata.FIELDS,
        values=values,
        errors=errors,
        limits=visit.portal.settings.uploads,
        labels={keyword: label for keyword, label, _ in metadata.FIELDS} | {"others": "Other attributes"},
    )


PAGES = (
    Page("/orders/new", show, Role.SUBMITTER),
    Page("/orders", create, Role.SUBMITTER, ("POST",)),
)
