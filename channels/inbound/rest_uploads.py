"""Uploads over the REST API: begin, send whole or in parts, look, complete, abort.

Enter: requests that were let in, by a token or by the signature of an address (then nothing can be read
there). Leave: what the channel's desk of uploads says; a package that cannot be taken is a problem with the
reason, by whatever request it is found out.
"""

from __future__ import annotations

import re
from collections import Counter

from starlette.responses import Response

from channels.inbound import rest_problem
from channels.inbound.rest_model import (
    GivenCompletion,
    GivenUpload,
    LinkAsked,
    Received,
    UploadBegun,
    UploadStanding,
)
from channels.inbound.rest_operation import Operation, Visit, answered
from channels.inbound.rest_problem import Mistake, ProblemRaised
from channels.inbound.uploads.announced import Announced, announced
from channels.inbound.uploads.desk import Standing
from channels.inbound.uploads.upload import Part, Upload, UploadState

SCOPE = "uploads:write"
WAIT = 10.0  # seconds that an answer waits for an upload to be taken in
BYTES = "application/octet-stream"
_NUMBER = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


async def begin(visit: Visit) -> Response:
    """The upload of an order; asked again while it is under way, the same with a fresh address."""
    given: GivenUpload = visit.body
    upload, is_new = await visit.uploads.begin(
        visit.parts["order_id"], given.kind, sites=visit.sites, size=given.size, sha256=given.sha256
    )
    here = f"{visit.base}/uploads/{upload.upload_id}"
    standing = _told(await visit.uploads.show(upload.upload_id, sites=visit.sites))
    limits = visit.uploads.settings
    if given.kind == "single":
        query, until = await visit.uploads.link(upload)
        begun = UploadBegun(
            upload=standing,
            url=f"{here}/content?{query}",
            url_expires_at=until,
            headers={"Content-Type": BYTES},
            max_size=upload.max_size,
        )
    else:
        begun = UploadBegun(
            upload=standing,
            url=f"{here}/parts/{{number}}",
            headers={"Content-Type": BYTES},
            max_size=upload.max_size,
            max_part=limits.max_part,
            max_parts=limits.max_parts,
        )
    return answered(begun, 201 if is_new else 200, {"Location": here})


async def receive_whole(visit: Visit) -> Response:
    """All of an upload, to its signed address."""
    assert visit.upload is not None
    upload_id = visit.upload.upload_id
    await visit.uploads.receive_whole(visit.upload, visit.request.stream(), _announced(visit))
    upload = await visit.uploads.settled(upload_id, WAIT)
    return answered(Received(state=upload.state), _status(upload))


async def receive_part(visit: Visit) -> Response:
    """One part, durable when it is answered."""
    if not _NUMBER.fullmatch(visit.parts["number"]):
        raise ProblemRaised("not-found", "parts have numbers from 1")
    part: Part = await visit.uploads.receive_part(
        visit.parts["upload_id"],
        int(visit.parts["number"]),
        visit.request.stream(),
        _announced(visit),
        sites=visit.sites,
    )
    return answered(part, headers={"ETag": f'"{part.sha256}"'})


async def show(visit: Visit) -> Response:
    """An upload as it stands, with the parts that are here."""
    return answered(_told(await visit.uploads.show(visit.parts["upload_id"], sites=visit.sites)))


async def complete(visit: Visit) -> Response:
    """There is nothing more to come."""
    given: GivenCompletion = visit.body
    listed: dict[int, str | None] | None = None
    if given.parts is not None:
        twice = [number for number, count in Counter(one.number for one in given.parts).items() if count > 1]
        if twice:
            mistake = Mistake(pointer="/parts", detail=f"part {twice[0]} is listed more than once")
            raise ProblemRaised("invalid", "the parts cannot be used, see errors", mistakes=[mistake])
        listed = {one.number: one.sha256 for one in given.parts}
    upload_id = visit.parts["upload_id"]
    await visit.uploads.complete(upload_id, sites=visit.sites, listed=listed)
    status = _status(await visit.uploads.settled(upload_id, WAIT))
    return answered(_told(await visit.uploads.show(upload_id, sites=visit.sites)), status)


async def abort(visit: Visit) -> Response:
    """Give an upload up; nothing of it is kept."""
    await visit.uploads.abort(visit.parts["upload_id"], sites=visit.sites)
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def _status(upload: Upload) -> int:
    """Of the answer to what completes an upload; raises what could not be taken."""
    if upload.failure is not None:
        raise rest_problem.of_failure(upload.failure)
    return 200 if upload.state is UploadState.TAKEN else 202


def _announced(visit: Visit) -> Announced:
    headers = visit.request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemRaised("media-type", "a body with a content encoding is not taken")
    return announced(
        headers.get("content-length"), headers.getlist("content-digest"), headers.getlist("content-md5")
    )


def _told(standing: Standing) -> UploadStanding:
    upload = standing.upload
    return UploadStanding(
        upload_id=upload.upload_id,
        order_id=upload.order_id,
        kind=upload.kind,
        state=upload.state,
        created_at=upload.created_at,
        changed_at=upload.changed_at,
        expires_at=standing.expires_at,
        size=upload.size,
        received=sum(part.size for part in standing.parts),
        parts=standing.parts,
        waits=standing.waits,
        study_instance_uid=upload.study_instance_uid,
        instances=upload.instances,
        known=upload.known,
        skipped=upload.skipped,
        failure=upload.failure,
    )


_DIGESTS = ("Content-Digest", "Content-MD5")
_OF_A_PACKAGE = ("package", "digest", "state", "too-large", "media-type")

OPERATIONS = (
    Operation(
        "POST", "/orders/{order_id}/uploads", "beginUpload", "Uploads",
        "Begin the upload of an order; again while it is under way: the same, with a fresh address", SCOPE,
        begin, status=201, other_statuses=(200,), answer=UploadBegun, body=GivenUpload, body_required=False,
        answer_headers=("Location",), problems=("not-found", "state", "quota"),
    ),
    Operation(
        "PUT", "/uploads/{upload_id}/content", "sendUpload", "Uploads",
        "Send a whole upload to its signed address; 200 when it is taken in, 202 while it is", SCOPE,
        receive_whole, other_statuses=(202,), answer=Received, query=LinkAsked, streams=True, linked=True,
        request_headers=_DIGESTS, problems=("link", *_OF_A_PACKAGE),
    ),
    Operation(
        "PUT", "/uploads/{upload_id}/parts/{number}", "sendPart", "Uploads",
        "Send a part, in any order; again: in place of the one before", SCOPE, receive_part, answer=Part,
        streams=True, request_headers=_DIGESTS, answer_headers=("ETag",),
        problems=("not-found", "parts", "media-type"),
    ),
    Operation(
        "GET", "/uploads/{upload_id}", "getUpload", "Uploads",
        "An upload as it stands, with the parts that are here", SCOPE, show, answer=UploadStanding,
        problems=("not-found",),
    ),
    Operation(
        "DELETE", "/uploads/{upload_id}", "abortUpload", "Uploads", "Give an upload up; nothing is kept",
        SCOPE, abort, status=204, answer_types=(), problems=("not-found", "state"),
    ),
    Operation(
        "POST", "/uploads/{upload_id}/complete", "completeUpload", "Uploads",
        "Nothing more is to come; 200 when it is taken in, 202 while it is: ask for the upload again", SCOPE,
        complete, other_statuses=(202,), answer=UploadStanding, body=GivenCompletion, body_required=False,
        problems=("not-found", "parts", *_OF_A_PACKAGE),
    ),
)  # fmt: skip
