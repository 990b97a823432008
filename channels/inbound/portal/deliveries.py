"""The message browser: every delivery with its attempts, and what it sends, with the patient behind a shield.

Enter: a filter, or a delivery's id. Leave: lists, and one delivery with one piece of its message as text.
That a message was looked at is on the audit trail before it is shown, and so is that it was revealed.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.portal.engineer import DELIVERY_STATES, address, desk, number, sites, word
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.portal.standing import DELIVERY_KINDS
from engine.channel import DeliveryQuery, Message, OperationRefused, OperationRefusedReason, Role

TRY_KINDS = {"delivered": "good", "stored": "busy", "again": "wait", "refused": "bad", "unknown": "wait"}


async def show(visit: Visit) -> Response:
    """The list."""
    state, destination, site = (word(visit, name) for name in ("state", "destination", "site"))
    search, before = word(visit, "q"), number(visit, "before")
    if state and state not in DELIVERY_STATES:
        raise PageRaised(400, f"a delivery is {', '.join(DELIVERY_STATES)}")
    query = DeliveryQuery(
        sites=sites(visit),
        site=site or None,
        destination=destination or None,
        states=(state,) if state else (),
        search=search or None,
        before=before,
    )
    page = await desk(visit).deliveries(query)
    here = {"q": search, "state": state, "destination": destination, "site": site}
    return visit.render(
        "deliveries.html",
        page=page,
        chosen=here,
        filtered=any(here.values()),
        states=DELIVERY_STATES,
        kinds=DELIVERY_KINDS,
        destinations=[one.destination for one in await desk(visit).destinations(sites(visit))],
        sites=visit.named_sites(Role.ENGINEER),
        first=address(visit.url("/deliveries"), **here) if before is not None else None,
        next=address(visit.url("/deliveries"), **here, before=page.next) if page.next is not None else None,
    )


async def one(visit: Visit) -> Response:
    """A delivery, and a piece of what it sends."""
    delivery_id, piece = visit.parts["delivery_id"], number(visit, "part") or 0
    details = await desk(visit).delivery(delivery_id, sites(visit))
    shown, why = await _message(visit, delivery_id, piece, details.row.site)
    carries = "result" if details.row.result_id is not None else "study"
    others = [
        one.destination
        for one in await desk(visit).destinations((details.row.site,))
        if one.carries == carries and one.destination != details.row.destination
    ]
    return visit.render(
        "delivery.html",
        details=details,
        row=details.row,
        message=shown,
        why=why,
        piece=piece,
        others=others,
        kinds=DELIVERY_KINDS,
        try_kinds=TRY_KINDS,
        seen=visit.sees_identifiers(details.row.site),
    )


async def _message(visit: Visit, delivery_id: str, piece: int, site: str) -> tuple[Message | None, str]:
    """The message, or why there is none to see."""
    revealed = visit.sees_identifiers(site)
    try:
        shown = await desk(visit).message(delivery_id, piece, revealed=revealed, sites=sites(visit))
    except OperationRefused as refused:
        if refused.reason is not OperationRefusedReason.NOT_FOUND or piece:
            raise
        return None, str(refused)
    detail = {"part": piece, "identifiers": "revealed" if revealed else "shielded"}
    await visit.seen("message.viewed", f"delivery {delivery_id}", detail)
    return shown, ""


PAGES = (
    Page("/deliveries", show, Role.ENGINEER, label="Deliveries", section="Operations"),
    Page("/deliveries/{delivery_id}", one, Role.ENGINEER, shields=True),
)
