"""What a request shows to be let in, and what it may do then: bearer tokens (RFC 6750), without their making.

Enter: an `Authorization` header. Leave: a `Grant`, or `TokenRefused` with the status and the challenge that
the answer carries. Channels ask for it by `InboundContext.tokens`; who makes and checks tokens is
`engine.oauth`. Pure, but for the verifier that the engine lends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.errors import PonsError

SCOPES = {
    "orders:read": "see orders and their state",
    "orders:write": "make, change and cancel orders",
    "uploads:write": "bring studies: uploads, and STOW-RS where tokens are taken",
    "results:read": "fetch results and acknowledge them",
    "admin": "manage users, clients and what is held",
}
"""What a token may allow, and what that means. None of them includes another."""

LONGEST = 8192  # characters of an Authorization header; our own tokens have under 1000
REALM = "pons"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # b64token, RFC 6750 2.1

Why = Literal["missing", "invalid_request", "invalid_token", "insufficient_scope", "wrong_site"]
_STATUS: dict[Why, int] = {
    "missing": 401,
    "invalid_request": 400,
    "invalid_token": 401,
    "insufficient_scope": 403,
    "wrong_site": 403,
}


class TokenRefused(PonsError):
    """A request is not let in. The message is fit for whoever sent it, and repeats nothing of the token."""

    def __init__(self, why: Why, message: str, *, scope: str = "") -> None:
        """
        Args:
            scope: what the request would need.
        """
        super().__init__(message)
        self.why = why
        self.status = _STATUS[why]
        """The HTTP status that answers it."""
        self.challenge = _challenge(why, message, scope)
        """Value of the answer's `WWW-Authenticate` header (RFC 6750 3)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token that holds allows."""

    client_id: str
    site: str | None  # None: every site of the table
    scopes: frozenset[str]
    token_id: str  # its `jti`; no secret
    expires_at: float  # seconds since the epoch

    def allows(self, scope: str) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes

    def is_for(self, site: str) -> bool:
        """Whether it is good for a site."""
        return self.site is None or self.site == site


class TokenVerifier(Protocol):
    """The engine's side of a request with a token."""

    async def verify(self, authorization: str | None, *, scope: str, site: str | None = None) -> Grant:
        """What a request may do; asked once for each, before anything of it is acted upon.

        A client or token that was revoked is refused from that moment, whichever engine is asked.

        Args:
            authorization: the request's only `Authorization` header, as it came; None where it has none.
            scope: what the request needs, one of `SCOPES`.
            site: the site that it is about, where that is known before.

        Raises:
            TokenRefused: with the status and the challenge to answer.
            Busy: it cannot be found out at this moment: the database is away.
        """
        ...


class NoTokens(TokenVerifier):
    """Where no engine runs behind a channel: nobody is let in."""

    async def verify(self, authorization: str | None, *, scope: str, site: str | None = None) -> Grant:
        """Refused."""
        presented(authorization, scope)
        raise TokenRefused("invalid_token", "no token is good here", scope=scope)


def presented(authorization: str | None, scope: str) -> str:
    """The token that a header holds; TokenRefused where it holds none (RFC 6750 2.1)."""
    if authorization is None or not authorization.strip():
        raise TokenRefused("missing", "an access token is needed: Authorization: Bearer …", scope=scope)
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise TokenRefused("missing", "an access token is needed: Authorization: Bearer …", scope=scope)
    token = token.strip()
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        raise TokenRefused("invalid_request", "the Authorization header holds no bearer token", scope=scope)
    return token


def granted(grant: Grant, scope: str, site: str | None) -> Grant:
    """The grant where it reaches as far as the request; TokenRefused where it does not."""
    if not grant.allows(scope):
        raise TokenRefused("insufficient_scope", f"this needs a token with the scope {scope}", scope=scope)
    if site is not None and not grant.is_for(site):
        raise TokenRefused("wrong_site", "this token is for another site", scope=scope)
    return grant


def _challenge(why: Why, message: str, scope: str) -> str:
    """RFC 6750 3: who shows nothing is told no error, only what is needed."""
    parts = [f'Bearer realm="{REALM}"']
    if scope:
        parts.append(f'scope="{scope}"')
    if why != "missing":
        error = "insufficient_scope" if why == "wrong_site" else why
        words = message.encode("ascii", "ignore").decode().replace("\\", "").replace('"', "'")
        parts += [f'error="{error}"', f'error_description="{words}"']
    return ", ".join(parts)
