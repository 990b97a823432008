"""One order: its state, what it says of its study, what was found, where that went, and its whole story.

Enter: an order's id. Leaves: its page; the part of it that changes by itself, for a script; its metadata
changed, or the order cancelled. Whoever looks is on the audit trail before he sees anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from channels.inbound.portal import findings, metadata
from channels.inbound.portal.failure import PageRaised, raised_by
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import (
    DELIVERY_KINDS,
    ORDER_KINDS,
    ORDER_MEANS,
    OUTCOME_KINDS,
    RESULT_KINDS,
)
from engine.channel import Happening, OperationRefused, Role
from engine.errors import OrderRefused, OrderRefusedReason
from engine.model import OrderDetails, OrderResult, OrderState, Result, ResultStatus

CHANGEABLE = (OrderState.CREATED, OrderState.RECEIVING, OrderState.STABLE, OrderState.HELD)
OVER = (OrderState.DELIVERED, OrderState.FAILED, OrderState.CANCELLED)
UPLOADABLE = (OrderState.CREATED, OrderState.RECEIVING, OrderState.FAILED)
LONGEST_REASON = 200


async def details_of(visit: Visit, role: Role = Role.VIEWER) -> OrderDetails:
    """The order of the address, where it is his to see; PageRaised(403) where the role is not his."""
    found = await visit.portal.intake.orders.get(visit.parts["order_id"], visit.sites(Role.VIEWER))
    visit.require(role, found.order.site)
    return found


async def show(visit: Visit) -> Response:
    """The page."""
    found = await details_of(visit)
    await visit.seen("order.viewed", f"order {found.order.order_id}")
    values = await _values(visit, found, had=None)
    return visit.render("order.html", **values)


async def live(visit: Visit) -> Response:
    """What of it changes by itself; `had` names the result that the page shows already."""
    found = await details_of(visit)
    return visit.fragment("order_live.html", **await _values(visit, found, had=visit.query.get("had", "")))


async def show_metadata(visit: Visit) -> Response:
    """The form of its metadata."""
    found = await details_of(visit, Role.SUBMITTER)
    return _metadata_form(visit, found)


async def set_metadata(visit: Visit) -> Response:
    """Other metadata, unless somebody was faster."""
    found = await details_of(visit, Role.SUBMITTER)
    order, form = found.order, await visit.form()
    if not visit.sees_identifiers(order.site):
        raise PageRaised(403, "reveal the identifiers first: what you cannot see you would take away")
    version = str(form.get("version", ""))
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise PageRaised(400, "the form is incomplete; open its page anew")
    try:
        await visit.portal.intake.orders.set_metadata(
            order.order_id,
            metadata.given(form),
            actor=visit.submitter,
            sites=visit.sites(Role.SUBMITTER),
            version=int(version),
        )
    except OrderRefused as refused:
        if refused.reason is OrderRefusedReason.INVALID:
            return _metadata_form(visit, found, metadata.typed(form), metadata.mistakes(str(refused)))
        if refused.reason is OrderRefusedReason.VERSION:
            said = "Somebody changed this order meanwhile. This is how it is now; type your changes anew."
            return _metadata_form(visit, await details_of(visit), mistakes={"": said})
        raise
    return visit.redirect(f"/orders/{order.order_id}", "The metadata are changed.")


async def cancel(visit: Visit) -> Response:
    """Cancel it; what was delivered stays, and is told."""
    found = await details_of(visit, Role.SUBMITTER)
    reason = (await visit.field("reason"))[:LONGEST_REASON]
    told = await visit.portal.intake.orders.cancel(
        found.order.order_id, actor=visit.submitter, reason=reason, sites=visit.sites(Role.SUBMITTER)
    )
    return visit.redirect(f"/orders/{found.order.order_id}", f"The order is {told}.")


def _metadata_form(
    visit: Visit,
    found: OrderDetails,
    typed: dict[str, str] | None = None,
    mistakes: dict[str, str] | None = None,
) -> Response:
    order = found.order
    seen = visit.sees_identifiers(order.site)
    return visit.render(
        "order_metadata.html",
        422 if mistakes else 200,
        order=order,
        fields=metadata.FIELDS,
        values=typed or metadata.filled(order.metadata),
        errors=mistakes or {},
        seen=seen,
        lifted=seen and not visit.person.sees_identifiers(order.site),
        changeable=order.state in CHANGEABLE,
    )


async def _values(visit: Visit, found: OrderDetails, had: str | None) -> dict[str, Any]:
    order = found.order
    path = f"/orders/{order.order_id}"
    seen = visit.sees_identifiers(order.site, of=path)
    latest = latest_of(found.results)
    result, gone = await _result(visit, found, latest)
    if latest is not None and result is not None and latest.result_id != had:
        await visit.seen("result.viewed", f"result {latest.result_id}")
    submits = visit.person.may(Role.SUBMITTER, order.site)
    return {
        "order": order,
        "found": found,
        "seen": seen,
        "lifted": seen and not visit.person.sees_identifiers(order.site),
        "latest": latest,
        "result": result,
        "gone": gone,
        "groups": findings.rows_of(result.report.findings) if result else [],
        "pictures": findings.pictures_of(result) if result else [],
        "files": findings.files_of(result) if result else [],
        "formats": visit.portal.context.results.formats,
        "earlier": [one for one in reversed(found.results) if latest is None or one.seq != latest.seq],
        "story": await _story(visit, found),
        "kinds": ORDER_KINDS,
        "means": ORDER_MEANS,
        "delivery_kinds": DELIVERY_KINDS,
        "outcome_kinds": OUTCOME_KINDS,
        "result_kinds": RESULT_KINDS,
        "may_cancel": submits and order.state not in OVER,
        "may_change": submits and order.state in CHANGEABLE,
        "may_upload": submits and order.state in UPLOADABLE and not found.instances,
        "engineer": visit.person.may(Role.ENGINEER, order.site),
    }


def latest_of(results: Sequence[OrderResult]) -> OrderResult | None:
    """The result to show: the last one, a failure report only where there is nothing else."""
    told = [one for one in results if one.status is not ResultStatus.FAILED]
    every = told or list(results)
    return every[-1] if every else None


async def _result(visit: Visit, found: OrderDetails, latest: OrderResult | None) -> tuple[Result | None, str]:
    """The result itself, or why it cannot be shown."""
    if latest is None:
        return None, ""
    try:
        return await visit.portal.context.results.look(latest.result_id, sites=(found.order.site,)), ""
    except OrderRefused as refused:
        return None, str(raised_by(refused) or refused)


async def _story(visit: Visit, found: OrderDetails) -> Sequence[Happening]:
    """All that has happened to its study, where there is one."""
    desk, uid = visit.portal.context.operations, found.order.study_instance_uid
    if desk is None or not uid or not found.instances:
        return ()
    try:
        return await desk.trace(uid, (found.order.site,))
    except OperationRefused:
        return ()


PAGES = (
    Page("/orders/{order_id}", show, shields=True),
    Page("/orders/{order_id}/live", live),
    Page("/orders/{order_id}/metadata", show_metadata, Role.SUBMITTER, shields=True),
    Page("/orders/{order_id}/metadata", set_metadata, Role.SUBMITTER, ("POST",)),
    Page("/orders/{order_id}/cancel", cancel, Role.SUBMITTER, ("POST",)),
)
