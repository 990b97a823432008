"""The files of results and reports of batches, as a browser gets them.

Enter: an order, one of its results, and a format or a file's name. Leaves: the bytes. What the engine
rendered as PDF is shown in the page; pictures are shown; all else is a download. What a processor made is in
a sandbox of its own (CSP `sandbox`), and no type but those of results is ever answered: nothing of it is a
page of ours. Who is not shown identifiers gets no file: each names its patient.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from channels.inbound.portal import order
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from engine.channel import HandedOut, Role

SHOWN = ("application/pdf", "image/png")
# A browser shows a picture that is opened alone on a page of its own making, with styles of its own.
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
_SHIELDED = "files of results name their patient: reveal the identifiers on the page that this belongs to"


async def of_order(visit: Visit) -> Response:
    """A result of an order in a format, or a file that its processor made."""
    found = await order.details_of(visit)
    site, result_id = found.order.site, visit.parts["result_id"]
    if result_id not in {one.result_id for one in found.results}:
        raise PageRaised(404, "this order has no such result; look at its page")
    if not visit.sees_identifiers(site, of=f"/orders/{found.order.order_id}"):
        raise PageRaised(403, _SHIELDED)
    shelf, name = visit.portal.context.results, visit.parts["name"]
    made = await shelf.result(result_id, name, reader=visit.submitter, sites=(site,))
    return answered(visit.query, made, ours=name in shelf.formats)


async def of_batch(visit: Visit) -> Response:
    """The report of a batch in a format."""
    sites, shelf = visit.sites(Role.VIEWER), visit.portal.context.results
    batch = await visit.portal.intake.orders.batch(visit.parts["batch_id"], sites)
    if not visit.sees_identifiers(batch.site, of=f"/batches/{batch.batch_id}"):
        raise PageRaised(403, _SHIELDED)
    name = visit.parts["name"]
    made = await shelf.batch_report(batch.batch_id, name, reader=visit.submitter, sites=(batch.site,))
    return answered(visit.query, made, ours=True)


def answered(query: Mapping[str, str], made: HandedOut, *, ours: bool) -> Response:
    """A file, in the page where that is safe and wanted.

    Args:
        ours: the engine rendered it; what a processor made may hold anything.
    """
    is_pdf = made.media_type == "application/pdf"
    shown = made.media_type in SHOWN and (ours or not is_pdf) and "download" not in query
    headers = {
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{made.name}"',
        "X-Content-Type-Options": "nosniff",
    }
    if not (shown and is_pdf):  # a browser's viewer of PDFs is a page of its own, which no sandbox lets in
        headers["Content-Security-Policy"] = _SANDBOX
    return Response(made.content, headers=headers, media_type=made.media_type)


PAGES = (
    Page("/orders/{order_id}/results/{result_id}/{name}", of_order),
    Page("/batches/{batch_id}/report/{name}", of_batch),
)
