"""Access tokens: signed JWTs of one hour (RFC 9068), made and read. Pure: keys, a client and a clock go in.

What a token says is not enough to be let in: `engine.oauth.verifier` asks the database, too, whether its
client and itself were revoked. One algorithm, ES256, one type, `at+jwt`; whatever a token claims to be signed
with, nothing else is tried (RFC 8725 3.1).
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from engine.bearer import LONGEST, Grant, TokenRefused
from engine.oauth.client import Client
from engine.oauth.signing_key import ALGORITHM, KeyRing

TYPE = "at+jwt"
CLOCKS = 60.0  # seconds by which the engine that issued a token may be ahead of this one
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"]

_NOT_OURS = "this access token is not one of ours"


def issue(
    ring: KeyRing, issuer: str, client: Client, scopes: tuple[str, ...], now: float, life: float
) -> tuple[str, Grant]:
    """A token of a client, and what it grants."""
    issued = math.floor(now)
    grant = Grant(client.client_id, client.site, frozenset(scopes), str(uuid.uuid4()), issued + life)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": client.client_id,
        "aud": issuer,
        "exp": int(grant.expires_at),
        "iat": issued,
        "jti": grant.token_id,
        "client_id": client.client_id,
        "scope": " ".join(scopes),
    }
    if client.site is not None:
        claims["site"] = client.site
    private = ring.signer.private
    assert private is not None  # the first key of a ring signs
    headers = {"typ": TYPE, "kid": ring.signer.key_id}
    return jwt.encode(claims, private, algorithm=ALGORITHM, headers=headers), grant


def read(token: str, ring: KeyRing, issuer: str, now: float) -> Grant:
    """What a token grants, where we have issued it and its time is not over.

    Raises:
        TokenRefused: "invalid_token".
    """
    try:
        header = jwt.get_unverified_header(token[: LONGEST + 1])
        kind, key = str(header.get("typ", "")).lower(), ring.find(header.get("kid"), now)
        if key is None or kind.removeprefix("application/") != TYPE or "crit" in header:
            raise TokenRefused("invalid_token", _NOT_OURS)
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[ALGORITHM],
            audience=issuer,
            issuer=issuer,
            # Times are compared below, by the engine's clock.
            options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        grant = _grant(claims)
        issued = float(claims["iat"])
    except (PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefused("invalid_token", _NOT_OURS) from None
    if now >= grant.expires_at:
        raise TokenRefused("invalid_token", "this access token has expired; ask for another")
    if issued > now + CLOCKS:
        raise TokenRefused("invalid_token", "this access token is of the future; compare the clocks")
    return grant


def _grant(claims: dict[str, Any]) -> Grant:
    site, scope = claims.get("site"), claims["scope"]
    texts = (claims["client_id"], claims["jti"], scope, "" if site is None else site)
    if not all(isinstance(one, str) for one in texts) or claims["sub"] != claims["client_id"]:
        raise ValueError
    end = float(claims["exp"])
    if not math.isfinite(end):
        raise ValueError
    return Grant(claims["client_id"], site, frozenset(scope.split()), claims["jti"], end)
