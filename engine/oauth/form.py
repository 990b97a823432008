"""The form that a client posts to the authorization server (RFC 6749 3.2, appendix B).

Enter: a request. Leaves: its parameters, each once. Nothing of it is logged: it may hold a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from engine.oauth.denial import Denied

CONTENT_TYPE = "application/x-www-form-urlencoded"
LARGEST = 16 * 1024  # bytes
MOST = 50  # parameters
PATIENCE = 15.0  # seconds for all of it


async def read_form(request: Request) -> Mapping[str, str]:
    """The parameters of a request; Denied says what is wrong with it."""
    if any(name in request.query_params for name in ("client_secret", "client_assertion", "token")):
        raise Denied(
            "invalid_request", "a secret stands in the address, where logs keep it; put it into the body"
        )
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Denied("invalid_request", f"the Content-Type must be {CONTENT_TYPE}")
    try:
        async with asyncio.timeout(PATIENCE):
            body = await _body(request)
    except (TimeoutError, ClientDisconnect):
        raise Denied("invalid_request", f"the body did not come within {PATIENCE:.0f} seconds") from None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST, errors="strict")
    except ValueError:
        raise Denied(
            "invalid_request", f"the body is no form of at most {MOST} parameters in UTF-8"
        ) from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise Denied("invalid_request", "a parameter is given twice")
    return {name: value for name, value in form.items() if value}  # without a value: as if left out


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise Denied("invalid_request", f"the body has more than {LARGEST // 1024} kB", status=413)
    return body
