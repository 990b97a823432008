"""Results over the REST API: what there is, what a client has not fetched, and its acknowledgement.

Enter: requests that were let in. Leave: facts of results. What one client acknowledges is gone for that
client alone, so two programs may poll without disturbing each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from channels.inbound.rest_model import Acknowledged, AcknowledgedCount, Results, UnretrievedAsked
from channels.inbound.rest_operation import Operation, Visit, answered, tag_of
from channels.inbound.rest_problem import Mistake, ProblemRaised
from engine.model import OrderResult

SCOPE = "results:read"


async def of_order(visit: Visit) -> Response:
    """Every version of every result of an order."""
    found = await visit.intake.orders.get(visit.parts["order_id"], visit.sites)
    results = Results(results=found.results)
    subject, listed = f"order {found.order.order_id}", _ids(found.results)
    if not listed:
        return visit.fresh(results, tag_of(results))
    return await visit.shown(results, tag_of(results), "results.listed", subject, {"results": listed})


async def unretrieved(visit: Visit) -> Response:
    """The results that this client has not acknowledged."""
    asked: UnretrievedAsked = visit.query
    found = await visit.intake.orders.unretrieved(
        visit.submitter,
        _sites(visit),
        submitter=visit.submitter if asked.mine else None,
        limit=asked.limit,
    )
    if found:
        await visit.viewed("results.listed", "unretrieved results", {"results": _ids(found)})
    return answered(Results(results=tuple(found)))


async def acknowledge(visit: Visit) -> Response:
    """The client has these results; what is not there or of another site is passed over."""
    given: Acknowledged = visit.body
    new = await visit.intake.orders.acknowledge(visit.submitter, _sites(visit), given.seqs)
    return answered(AcknowledgedCount(acknowledged=new))


def _ids(results: Sequence[OrderResult]) -> list[str]:
    return [one.result_id for one in results]


def _sites(visit: Visit) -> tuple[str, ...]:
    if visit.sites is None:
        said = "polling is of one site: use a token of the site"
        raise ProblemRaised("forbidden", said, mistakes=[Mistake(header="Authorization", detail=said)])
    return visit.sites


OPERATIONS = (
    Operation(
        "GET", "/orders/{order_id}/results", "listResultsOfOrder", "Results", "The results of an order",
        SCOPE, of_order, answer=Results, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/results/unretrieved", "listUnretrievedResults", "Results",
        "The results that this client has not acknowledged, the oldest first", SCOPE, unretrieved,
        answer=Results, query=UnretrievedAsked, problems=("invalid",),
    ),
    Operation(
        "POST", "/results/acknowledgements", "acknowledgeResults", "Results",
        "Acknowledge results: this client has them", SCOPE, acknowledge, answer=AcknowledgedCount,
        body=Acknowledged, problems=("invalid",),
    ),
)  # fmt: skip
