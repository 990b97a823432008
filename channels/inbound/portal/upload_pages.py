"""The upload of an order's study from a browser: its page, and what the page's script asks for.

Enter: an order without a study; then parts of its upload, in any order, each as often as needed
(`static/upload.js` makes one archive of many files). Leave: JSON of how the upload stands, as
`channels.inbound.uploads` has it. An upload that was interrupted is found again by its order, with the
digests of the parts that are here: the script goes on where the same files were left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from channels.inbound.portal import order
from channels.inbound.portal.failure import PageRaised
from channels.inbound.portal.page import Page, Visit
from channels.inbound.uploads.announced import announced
from channels.inbound.uploads.desk import Standing
from channels.inbound.uploads.refusal import Reason, UploadRefused
from channels.inbound.uploads.upload import Upload
from engine.channel import Role

PART = 8 << 20  # bytes: small enough to be sent again, large enough for a fast line
PATIENCE = 5.0  # seconds that an answer waits for what becomes of an upload
_STATUS: Mapping[Reason, int] = {
    Reason.NOT_FOUND: 404,
    Reason.STATE: 409,
    Reason.PARTS: 409,
    Reason.DIGEST: 422,
    Reason.MALFORMED: 400,
    Reason.TOO_LARGE: 413,
    Reason.QUOTA: 429,
    Reason.LINK: 403,
    Reason.SILENT: 408,
}


async def show(visit: Visit) -> Response:
    """The page where files are chosen, dropped, and sent."""
    found = await order.details_of(visit, Role.SUBMITTER)
    await visit.seen("order.viewed", f"order {found.order.order_id}")
    return visit.render(
        "upload.html",
        order=found.order,
        uploadable=found.order.state in order.UPLOADABLE and not found.instances,
        limits=visit.portal.settings.uploads,
    )


async def begin(visit: Visit) -> Response:
    """The upload of this order that is under way, or a new one, with the parts that are here."""
    found = await order.details_of(visit, Role.SUBMITTER)
    size = _number(await visit.field("size"), "size")
    sites = visit.sites(Role.SUBMITTER)
    with _told():
        before = await visit.portal.uploads.under_way(found.order.order_id, sites=sites)
        if before is not None and await visit.field("anew"):
            await visit.portal.uploads.abort(before.upload_id, sites=sites)
        upload, _ = await visit.portal.uploads.begin(
            found.order.order_id, "multipart", sites=sites, size=size
        )
        standing = await visit.portal.uploads.show(upload.upload_id, sites=sites)
    most = visit.portal.settings.uploads
    part = max(PART, -(-size // most.max_parts))
    return _answered(visit, standing, part_size=min(part, most.max_part))


async def show_upload(visit: Visit) -> Response:
    """How it stands."""
    upload_id = await _own(visit)
    with _told():
        return _answered(visit, await visit.portal.uploads.show(upload_id, sites=visit.sites(Role.SUBMITTER)))


async def put_part(visit: Visit) -> Response:
    """One part; it is durable when this is answered."""
    upload_id, headers = await _own(visit), visit.request.headers
    number = _number(visit.parts["number"], "part")
    try:
        with _told():
            part = await visit.portal.uploads.receive_part(
                upload_id,
                number,
                visit.request.stream(),
                announced(headers.get("content-length"), headers.getlist("content-digest")),
                sites=visit.sites(Role.SUBMITTER),
            )
    except ClientDisconnect:
        raise PageRaised(400, "the connection was lost; what came of the part is dropped") from None
    return JSONResponse(part.model_dump(mode="json"))


async def complete(visit: Visit) -> Response:
    """There is no more to come: it is looked at and taken in."""
    upload_id = await _own(visit)
    with _told():
        await visit.portal.uploads.complete(upload_id, sites=visit.sites(Role.SUBMITTER))
        upload = await visit.portal.uploads.settled(upload_id, PATIENCE)
    return JSONResponse(_facts(visit, upload))


async def abort(visit: Visit) -> Response:
    """Give it up; nothing of it is kept."""
    upload_id = await _own(visit)
    with _told():
        upload = await visit.portal.uploads.abort(upload_id, sites=visit.sites(Role.SUBMITTER))
    return JSONResponse(_facts(visit, upload))


async def _own(visit: Visit) -> str:
    """The upload of the address, which is of the order of the address, at a site where he may give orders."""
    upload_id = visit.parts["upload_id"]
    with _told():
        standing = await visit.portal.uploads.show(upload_id, sites=visit.sites(Role.VIEWER))
    if standing.upload.order_id != visit.parts["order_id"]:
        raise PageRaised(404, "this order has no such upload; open its page anew")
    visit.require(Role.SUBMITTER, standing.upload.site)
    return upload_id


def _answered(visit: Visit, standing: Standing, **more: Any) -> Response:
    parts = [one.model_dump(mode="json") for one in standing.parts]
    return JSONResponse({**_facts(visit, standing.upload), "parts": parts, "waits": standing.waits, **more})


def _facts(visit: Visit, upload: Upload) -> dict[str, Any]:
    path = f"/orders/{upload.order_id}"
    return {
        **upload.model_dump(
            mode="json", include={"upload_id", "state", "size", "instances", "known", "skipped"}
        ),
        "failure": upload.failure.detail if upload.failure else "",
        "address": visit.url(f"{path}/upload/{upload.upload_id}"),
        "order": visit.url(path),
    }


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16 and int(text) > 0):
        raise PageRaised(400, f"{name}: must be a number above 0; open the page anew")
    return int(text)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What is refused, as the page's script shows it."""
    try:
        yield
    except UploadRefused as refused:
        raise PageRaised(_STATUS[refused.reason], str(refused)) from None


UPLOAD = "/orders/{order_id}/upload/{upload_id}"
PAGES = (
    Page("/orders/{order_id}/upload", show, Role.SUBMITTER),
    Page("/orders/{order_id}/upload", begin, Role.SUBMITTER, ("POST",)),
    Page(UPLOAD, show_upload, Role.SUBMITTER),
    Page(UPLOAD, abort, Role.SUBMITTER, ("DELETE",)),
    Page(f"{UPLOAD}/parts/{{number}}", put_part, Role.SUBMITTER, ("PUT",), own_body=True),
    Page(f"{UPLOAD}/complete", complete, Role.SUBMITTER, ("POST",)),
)
