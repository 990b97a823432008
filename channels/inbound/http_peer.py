"""Whose an HTTP request is: the site of its address, or of the access token that it shows (RFC 6750).

Enter: a request, before its body is read. Leaves: address and site, or `PeerRefused` with the answer. An
address inside a tunnel proves its site, so a token of another one is refused there and on record: somebody
uses what is not theirs.
"""

from __future__ import annotations

import logging
from typing import Literal

from starlette.requests import Request

from engine.channel import Grant, InboundContext, Intake, TokenRefused, UnknownPeer
from engine.errors import Busy

logger = logging.getLogger("pons.http_peer")

Auth = Literal["address", "token", "either"]
_BORROWED = "this token is not of the site at this address"
_STRANGER = "this address belongs to no site that may store here"


class PeerRefused(Exception):
    """A request is nobody's that may come in."""

    def __init__(self, status: int, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"WWW-Authenticate": challenge} if challenge else {}


async def peer_of(
    request: Request, context: InboundContext, intake: Intake, *, auth: Auth, scope: str, only: str | None
) -> tuple[str, str]:
    """Address and site of whoever sends a request.

    Args:
        auth: what proves the site: the address, a token, or a token where one is shown.
        scope: what a token must allow.
        only: the one site that may come in; any when None.
    """
    if request.client is None:  # it was reset before it could be asked who is there: nobody will read this
        raise PeerRefused(400, "the connection is gone")
    address = request.client.host.removeprefix("::ffff:")
    shown = request.headers.getlist("authorization")
    by_address = auth == "address" or (auth == "either" and not shown)
    if by_address:
        site = _by_address(context, intake, address)
    else:
        site = await _by_token(request, context, intake, address, scope, only)
    if only not in (None, site):
        why = _STRANGER if by_address else "the site of this token may not store here"
        raise _turned_away(context, intake, address, "site", why)
    return address, site


def _by_address(context: InboundContext, intake: Intake, address: str) -> str:
    try:
        return context.sites.identify(address).key
    except UnknownPeer as error:
        raise _turned_away(context, intake, address, error.what, _STRANGER) from None


async def token_of(
    request: Request, context: InboundContext, intake: Intake, address: str, scope: str
) -> tuple[Grant, str | None]:
    """What the token that a request shows allows, and the site of its address where that is one's own."""
    shown = request.headers.getlist("authorization")
    if len(shown) > 1:
        raise PeerRefused(400, "more than one Authorization header")
    try:
        grant = await context.tokens.verify(shown[0] if shown else None, scope=scope)
    except TokenRefused as refused:
        why = _turned_away(context, intake, address, "token", str(refused))
        raise PeerRefused(refused.status, str(why), refused.challenge) from None
    except Busy as busy:
        raise PeerRefused(503, str(busy)) from None
    try:
        here = context.sites.identify(address).key
    except UnknownPeer:  # a token needs no known address
        here = None
    if None not in (here, grant.site) and here != grant.site:
        raise _turned_away(context, intake, address, "site", _BORROWED)
    return grant, here


async def _by_token(
    request: Request, context: InboundContext, intake: Intake, address: str, scope: str, only: str | None
) -> str:
    grant, here = await token_of(request, context, intake, address, scope)
    site = grant.site or only or here
    if site is None:
        raise PeerRefused(403, "a token for all sites does not say for which this is; use one of the site")
    if here not in (None, site):
        raise _turned_away(context, intake, address, "site", _BORROWED)
    facts = {"inbound": context.name, "client": grant.client_id, "site": site, "remote_address": address}
    logger.info("let in by token", extra={"pons": facts})
    return site


def _turned_away(
    context: InboundContext, intake: Intake, address: str, what: str, message: str
) -> PeerRefused:
    """Logged, counted and on the trail."""
    facts = {"inbound": context.name, "remote_address": address, "unknown": what}
    logger.warning("peer of another site" if what == "site" else "unknown peer", extra={"pons": facts})
    intake.turned_away(context.name, what, address, "", "")
    return PeerRefused(403, message)
