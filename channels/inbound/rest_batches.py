"""Batches of orders over the REST API: begin one, count its orders, report on all of them together.

Enter: requests that were let in. Leave: batches with their counts, and the group report as facts.
"""

from __future__ import annotations

from starlette.responses import Response

from channels.inbound.rest_model import Batches, GivenBatch, PageAsked
from channels.inbound.rest_operation import Operation, Visit, answered, tag_of
from channels.inbound.rest_orders import READ, WRITE, next_page
from engine.model import Batch, BatchReport, NewBatch


async def begin(visit: Visit) -> Response:
    """Begin a batch; orders join it by its id."""
    given: GivenBatch = visit.body
    batch = await visit.intake.orders.create_batch(
        NewBatch(
            site=visit.site_for(given.site),
            submitter=visit.submitter,
            name=given.name,
            idempotency_key=visit.idempotency_key,
        )
    )
    return answered(batch, 201, {"Location": f"{visit.base}/batches/{batch.batch_id}"})


async def list_batches(visit: Visit) -> Response:
    """A page of batches."""
    asked: PageAsked = visit.query
    page = await visit.intake.orders.batches(visit.sites, limit=asked.limit, after=asked.after)
    following = next_page(visit, page.next)
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return answered(Batches(batches=page.batches, next=following), headers=headers)


async def show(visit: Visit) -> Response:
    """A batch with how many of its orders are in each state."""
    batch = await visit.intake.orders.batch(visit.parts["batch_id"], visit.sites)
    return visit.fresh(batch, tag_of(batch))


async def report(visit: Visit) -> Response:
    """What came of every order of a batch."""
    found = await visit.intake.orders.batch_report(visit.parts["batch_id"], visit.sites)
    listed = {"orders": [one.order_id for one in found.rows]}
    return await visit.shown(found, tag_of(found), "batch.viewed", f"batch {found.batch_id}", listed)


OPERATIONS = (
    Operation(
        "POST", "/batches", "beginBatch", "Batches", "Begin a batch of orders", WRITE, begin,
        status=201, answer=Batch, body=GivenBatch, body_required=False, request_headers=("Idempotency-Key",),
        answer_headers=("Location",), problems=("invalid", "idempotency"),
    ),
    Operation(
        "GET", "/batches", "listBatches", "Batches", "List batches, the latest first", READ, list_batches,
        answer=Batches, query=PageAsked, answer_headers=("Link",), problems=("invalid",),
    ),
    Operation(
        "GET", "/batches/{batch_id}", "getBatch", "Batches", "A batch and the states of its orders", READ,
        show, answer=Batch, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/batches/{batch_id}/report", "getBatchReport", "Batches",
        "What came of every order of a batch", READ, report, answer=BatchReport,
        request_headers=("If-None-Match",), answer_headers=("ETag",), problems=("not-found",),
    ),
)  # fmt: skip
