"""The files of results over the REST API: installed formats, what the processor made, reports of batches.

Enter: requests that were let in. Leave: the bytes, as a download with its digest as ETag. Each is on the
audit trail before its first byte leaves.
"""

from __future__ import annotations

import hashlib

from starlette.responses import Response

from channels.inbound.rest_operation import Operation, Visit
from channels.inbound.rest_orders import READ
from channels.inbound.rest_results import SCOPE
from engine.channel import HandedOut

ANY = ("*/*",)  # the media type follows from the format


async def of_result(visit: Visit) -> Response:
    """A result in a format, or a file of it."""
    shelf, parts = visit.context.results, visit.parts
    return _download(
        visit,
        await shelf.result(parts["result_id"], parts["type"], reader=visit.submitter, sites=visit.sites),
    )


async def of_batch(visit: Visit) -> Response:
    """The report of a batch in a format."""
    shelf, parts = visit.context.results, visit.parts
    return _download(
        visit,
        await shelf.batch_report(parts["batch_id"], parts["type"], reader=visit.submitter, sites=visit.sites),
    )


def _download(visit: Visit, file: HandedOut) -> Response:
    tag = f'"{hashlib.sha256(file.content).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{file.name}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if visit.has(tag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


OPERATIONS = (
    Operation(
        "GET", "/results/{result_id}/{type}", "getResult", "Results",
        "A result in a format (pdf, json, sr, …), or a file that the processor made", SCOPE,
        of_result, answer_types=ANY, request_headers=("If-None-Match",), answer_headers=("ETag",),
        problems=("not-found", "gone"),
    ),
    Operation(
        "GET", "/batches/{batch_id}/report/{type}", "getBatchReportFile", "Batches",
        "The report of a batch in a format (csv, pdf)", READ, of_batch, answer_types=ANY,
        request_headers=("If-None-Match",), answer_headers=("ETag",), problems=("not-found",),
    ),
)  # fmt: skip
