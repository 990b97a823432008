"""The public keys of everything that signs in this engine's name, as a JWK Set (RFC 7517 5).

Enter: GET `/.well-known/jwks.json`. Leave: one document that a server which trusts our signatures
(SMART Backend Services) fetches, so that a key is rotated by changing a file here. It holds nothing
private and nothing of a patient.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.channel import HoldsKeys
from engine.errors import TryAgain

logger = logging.getLogger("pons.keys")

PATH = "/.well-known/jwks.json"


def key_set_route(holders: Mapping[str, HoldsKeys]) -> Route:
    """The route that publishes the keys of these destinations, each read anew for every request."""

    async def key_set(_request: Request) -> Response:
        keys = await asyncio.to_thread(public_keys, holders)
        return JSONResponse({"keys": keys}, headers={"Cache-Control": "max-age=300"})

    return Route(PATH, key_set)


def public_keys(holders: Mapping[str, HoldsKeys]) -> Sequence[Mapping[str, str]]:
    """Every key once; a destination whose key cannot be used is logged and left out."""
    found: dict[str, Mapping[str, str]] = {}
    for name, holder in holders.items():
        try:
            for key in holder.public_keys():
                found.setdefault(key["kid"], key)
        except TryAgain as error:
            logger.error(
                "a key cannot be published", extra={"pons": {"destination": name, "reason": str(error)}}
            )
    return list(found.values())
