"""Orders over the REST API: give, look at, list, change their metadata, cancel.

Enter: requests that were let in. Leave: orders as the engine's desk has them, by their version's ETag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from channels.inbound.rest_model import (
    GivenCancellation,
    GivenMetadata,
    GivenOrder,
    Metadata,
    Orders,
    OrdersAsked,
    PatchedMetadata,
    StudyOrders,
)
from channels.inbound.rest_operation import JSON, MERGE_PATCH, Operation, Visit, answered, tag_of
from channels.inbound.rest_problem import ProblemRaised
from engine.errors import OrderRefused, OrderRefusedReason
from engine.model import Cancelled, NewOrder, OrderDetails, OrderQuery, StudyOrder, Submitter

READ, WRITE = "orders:read", "orders:write"
_TRIES = 5  # of a patch that others' changes overtake


async def create(visit: Visit) -> Response:
    """Take an order; the same idempotency key gives the same order."""
    given: GivenOrder = visit.body
    order = await visit.intake.orders.create(
        NewOrder(
            site=visit.site_for(given.site),
            submitter=visit.submitter,
            inbound=visit.context.name,
            study_instance_uid=given.study_instance_uid or "",
            metadata=given.metadata,
            batch_id=given.batch_id,
            idempotency_key=visit.idempotency_key,
        )
    )
    headers = {"Location": f"{visit.base}/orders/{order.order_id}", "ETag": _tag(order)}
    return answered(order, 201, headers)


async def show(visit: Visit) -> Response:
    """An order as it stands."""
    order = await _order(visit)
    return await visit.shown(order, _tag(order), "order.viewed", f"order {order.order_id}")


async def show_details(visit: Visit) -> Response:
    """An order with its results, deliveries and holds."""
    found = await visit.intake.orders.get(visit.parts["order_id"], visit.sites)
    subject = f"order {found.order.order_id}"
    return await visit.shown(found, tag_of(found), "order.viewed", subject, {"part": "details"})


async def list_orders(visit: Visit) -> Response:
    """A page of orders."""
    asked: OrdersAsked = visit.query
    page = await visit.intake.orders.list(
        OrderQuery(
            sites=visit.sites,
            submitter=_submitter(asked.submitter),
            states=tuple(asked.state),
            batch_id=asked.batch_id,
            study_instance_uid=asked.study_instance_uid,
            accession_number=asked.accession_number,
            patient_id=asked.patient_id,
            since=asked.created_after,
            until=asked.created_before,
            limit=asked.limit,
            after=asked.after,
        )
    )
    await _listed(visit, page.orders, "orders")
    following = next_page(visit, page.next)
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return answered(Orders(orders=page.orders, next=following), headers=headers)


async def of_study(visit: Visit) -> Response:
    """The orders on a study; none is an empty list, for the study may be still to come."""
    found = await visit.intake.orders.of_study(visit.parts["study_instance_uid"], visit.sites)
    await _listed(visit, found, f"study {visit.parts['study_instance_uid']}")
    return answered(StudyOrders(orders=tuple(found)))


async def show_metadata(visit: Visit) -> Response:
    """What an order says of its study."""
    order = await _order(visit)
    told, subject = Metadata(metadata=dict(order.metadata)), f"order {order.order_id}"
    return await visit.shown(told, _tag(order), "order.viewed", subject, {"part": "metadata"})


async def set_metadata(visit: Visit) -> Response:
    """Metadata in place of all that the order had."""
    version = _version(visit, await _order(visit))
    order = await _changed(visit, visit.body.metadata, version)
    return answered(Metadata(metadata=dict(order.metadata)), headers={"ETag": _tag(order)})


async def patch_metadata(visit: Visit) -> Response:
    """Some of the metadata; between reading and writing nobody else's change is lost."""
    for attempt in range(1, _TRIES + 1):
        before = await _order(visit)
        version = _version(visit, before)
        merged = _merged(before.metadata, visit.body.metadata)
        try:
            order = await _changed(visit, merged, version or before.version)
        except OrderRefused as refused:
            if refused.reason is not OrderRefusedReason.VERSION or version is not None or attempt == _TRIES:
                raise
        else:
            return answered(Metadata(metadata=dict(order.metadata)), headers={"ETag": _tag(order)})
    raise AssertionError("the last try returns or raises")


async def cancel(visit: Visit) -> Response:
    """Cancel an order; what has not begun never will."""
    version = _version(visit, await _order(visit))
    cancelled = await visit.intake.orders.cancel(
        visit.parts["order_id"],
        actor=visit.submitter,
        reason=visit.body.reason,
        sites=visit.sites,
        version=version,
    )
    return answered(cancelled, headers={"ETag": _tag(cancelled.order)})


def next_page(visit: Visit, after: str | None) -> str | None:
    """The address of the page that begins after a place: the same question, from there."""
    if after is None:
        return None
    asked = [(name, value) for name, value in visit.request.query_params.multi_items() if name != "after"]
    return f"{visit.request.url.path}?{urlencode([*asked, ('after', after)])}"


async def _listed(visit: Visit, orders: Sequence[StudyOrder], subject: str) -> None:
    if orders:
        await visit.viewed("orders.listed", subject, {"orders": [one.order_id for one in orders]})


async def _order(visit: Visit) -> StudyOrder:
    return (await visit.intake.orders.get(visit.parts["order_id"], visit.sites)).order


async def _changed(visit: Visit, metadata: Mapping[str, Any], version: int | None) -> StudyOrder:
    return await visit.intake.orders.set_metadata(
        visit.parts["order_id"], metadata, actor=visit.submitter, sites=visit.sites, version=version
    )


def _tag(order: StudyOrder) -> str:
    return f'"{order.version}"'


def _version(visit: Visit, order: StudyOrder) -> int | None:
    """The version that must still be the present one when the change is made; None for any."""
    wanted = visit.if_match()
    if wanted is None:
        return None
    if _tag(order) not in wanted:
        raise ProblemRaised(
            "version", "the order has changed since: look at it again", headers={"ETag": _tag(order)}
        )
    return order.version


def _merged(before: Mapping[str, str], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396, where a name may be written in any of its spellings."""
    named = {_folded(key) for key in patch}
    kept = {key: value for key, value in before.items() if _folded(key) not in named}
    return kept | {key: value for key, value in patch.items() if value is not None}


def _folded(key: str) -> str:
    return key.replace("_", "").lower()


def _submitter(text: str | None) -> Submitter | None:
    if text is None:
        return None
    kind, _, name = text.partition(":")
    return Submitter.model_validate({"kind": kind, "name": name})


OPERATIONS = (
    Operation(
        "POST", "/orders", "createOrder", "Orders", "Give an order", WRITE, create,
        status=201, answer=StudyOrder, body=GivenOrder, request_headers=("Idempotency-Key",),
        answer_headers=("Location", "ETag"), problems=("not-found", "state", "invalid", "idempotency"),
    ),
    Operation(
        "GET", "/orders", "listOrders", "Orders", "List orders, the latest first", READ, list_orders,
        answer=Orders, query=OrdersAsked, answer_headers=("Link",), problems=("invalid",),
    ),
    Operation(
        "GET", "/orders/{order_id}", "getOrder", "Orders", "Look at an order", READ, show,
        answer=StudyOrder, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/orders/{order_id}/details", "getOrderDetails", "Orders",
        "An order with its results, deliveries and holds", READ, show_details,
        answer=OrderDetails, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/orders/{order_id}/metadata", "getMetadata", "Orders", "What an order says of its study",
        READ, show_metadata, answer=Metadata, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found",),
    ),
    Operation(
        "PUT", "/orders/{order_id}/metadata", "replaceMetadata", "Orders",
        "Give an order other metadata, in place of all that it had", WRITE, set_metadata,
        answer=Metadata, body=GivenMetadata, request_headers=("If-Match",), answer_headers=("ETag",),
        problems=("not-found", "state", "version", "invalid"),
    ),
    Operation(
        "PATCH", "/orders/{order_id}/metadata", "changeMetadata", "Orders",
        "Change some of an order's metadata; null takes one away", WRITE, patch_metadata,
        answer=Metadata, body=PatchedMetadata, body_types=(MERGE_PATCH, JSON), request_headers=("If-Match",),
        answer_headers=("ETag",), problems=("not-found", "state", "version", "invalid"),
    ),
    Operation(
        "POST", "/orders/{order_id}/cancel", "cancelOrder", "Orders", "Cancel an order", WRITE, cancel,
        answer=Cancelled, body=GivenCancellation, body_required=False, request_headers=("If-Match",),
        answer_headers=("ETag",), problems=("not-found", "state", "version", "invalid"),
    ),
    Operation(
        "GET", "/studies/{study_instance_uid}/orders", "listOrdersOfStudy", "Orders",
        "The orders on a study", READ, of_study, answer=StudyOrders, problems=("not-found",),
    ),
)  # fmt: skip
