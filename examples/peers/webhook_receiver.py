"""A webhook receiver for loopback: signed POST in, one JSON file per verified event out.

    python -m examples.peers.webhook_receiver --port 8092 --folder received/webhook --secret-file SECRET

It does what any receiver of ours should (Standard Webhooks 1.0): take the raw body, compute the
HMAC-SHA256 of `id.timestamp.body` with the shared secret, compare in constant time, refuse
a timestamp more than five minutes off, and know a repeated webhook-id for what it is.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOLERANCE = 300  # seconds a timestamp may be off
LARGEST_EVENT = 20 * 1024  # bytes
SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The webhook-id of a genuine event; ValueError says what is wrong with any other."""
    event_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not SAFE_NAME.fullmatch(event_id) or not timestamp.isdigit():
        raise ValueError("webhook-id or webhook-timestamp is missing or malformed")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise ValueError("webhook-timestamp is too far from now")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(signed)
    offered = headers.get("webhook-signature", "").encode().split(b" ")
    if not any(hmac.compare_digest(expected, signature) for signature in offered):
        raise ValueError("no webhook-signature matches")
    return event_id


def application(folder: Path, secret: str) -> Starlette:
    """The receiver as an ASGI app; any path takes events."""
    folder.mkdir(parents=True, exist_ok=True)

    async def receive(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_EVENT:
                return JSONResponse({"error": "event is larger than 20 kB"}, status_code=413)
        try:
            event_id = verify(secret, request.headers, body, time.time())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=401)
        final = folder / f"{event_id}.json"
        if not final.exists():  # a repeat of what was taken before is success and nothing more
            unfinished = folder / f".{event_id}.part"
            unfinished.write_bytes(body)
            unfinished.replace(final)
        return Response(status_code=204)

    return Starlette(routes=[Route("/{path:path}", receive, methods=["POST"])])


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="a webhook receiver that verifies and files events")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8092)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--secret-file", type=Path, required=True, help="holds whsec_…, one line")
    arguments = parser.parse_args()
    app = application(arguments.folder, arguments.secret_file.read_text().strip())
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="info")


if __name__ == "__main__":
    main()
