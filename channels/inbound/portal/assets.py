"""The portal's style sheets and scripts: files of the package, read once, served by name.

Enter: a file's name. Leaves: its bytes, with the tag of its content in its address, so that a browser keeps
it for ever and never has an old one. Nothing else is on the disk as far as this is concerned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str
    tag: str


@cache
def installed() -> Mapping[str, Asset]:
    """All of them by name."""
    return {
        path.name: _asset(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(FOLDER.iterdir())
        if path.suffix in _TYPES
    }


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, media_type, hashlib.sha256(content).hexdigest()[:16])


def address(base: str, name: str) -> str:
    """Where a file is; KeyError names one that there is not."""
    return f"{base}/static/{name}?v={installed()[name].tag}"


def answered(request: Request, name: str) -> Response | None:
    """One file, 304 to who has it, None where there is no such file."""
    asset = installed().get(name)
    if asset is None:
        return None
    kept = "immutable, max-age=31536000" if request.query_params.get("v") == asset.tag else "no-cache"
    headers = {"Cache-Control": f"public, {kept}", "ETag": f'"{asset.tag}"'}
    if request.headers.get("if-none-match") == f'"{asset.tag}"':
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
