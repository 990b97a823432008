"""The body of a request to the portal, within its limits: bytes, or the fields of a form.

Enter: a request. Leaves: all of its body, or `PageRaised`: 408 where it is slow, 413 where it is too large,
400 where it is no form. Of text that no database takes whole (NUL, half a surrogate pair) nothing is taken.
"""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from channels.inbound.portal.failure import PageRaised

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
FIELDS = 500
_READ_ON = 4  # times the limit: so much is read of what is refused, for the browser to get to read the answer
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


async def read(request: Request, limit: int, patience: float) -> bytes:
    """All of a body."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise PageRaised(415, "a body with a content encoding is not taken")
    gathered = bytearray()
    size = 0
    try:
        async with asyncio.timeout(patience):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    gathered += chunk
                elif size > limit * _READ_ON:
                    break
    except TimeoutError:
        said = f"what was sent was not whole in {patience:g} s; try again"
        raise PageRaised(408, said, {"Connection": "close"}) from None
    if size > limit:
        said = f"what was sent has more than the {limit} bytes that are taken here"
        raise PageRaised(413, said, {"Connection": "close"})
    return bytes(gathered)


def media_type(request: Request) -> str:
    """Of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def parsed(request: Request, content: bytes) -> FormData:
    """The fields of a form that was read; files of a multipart form are refused: uploads go elsewhere."""
    if media_type(request) not in FORMS:
        return FormData()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    again = Request(dict(request.scope), receive)
    try:
        form = await again.form(max_files=0, max_fields=FIELDS, max_part_size=len(content) + 1)
    except HTTPException:
        raise PageRaised(400, "what was sent is no form that can be read") from None
    for name, value in form.multi_items():
        if not isinstance(value, str) or _UNFIT.search(name) or _UNFIT.search(value):
            raise PageRaised(400, "a field holds characters that are no text; type it anew")
    return form
