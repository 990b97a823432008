"""What an identity provider says of somebody: an ID token in, an `Identity` out (OpenID Core 3.1.3.7).

Pure. Two algorithms, RS256 and ES256, each only with a key of its own kind; whatever a token claims to be
signed with, nothing else is tried (RFC 8725 3.1).
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from engine.errors import PonsError

ALGORITHMS = {"RS256": "RSA", "ES256": "EC"}  # and the kind of key (RFC 7518 6)
LONGEST = 16384  # characters
SHORTEST = 2048  # bits of an RSA key (RFC 7518 3.3)
CLOCKS = 60.0  # seconds that the provider's clock may differ from ours
OLDEST = 600.0  # seconds since it was issued


class NoIdentity(PonsError):
    """The token says nothing that may be believed; the message is for the log, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, as the provider knows him."""

    subject: str
    name: str  # of the claim that was asked for; empty where there is none


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say."""

    issuer: str
    client_id: str
    nonce: str
    name_claim: str


def key_id(token: str) -> str | None:
    """Which key a token names; NoIdentity when it is no token."""
    return _header(token).get("kid")


def read(
    token: str, keys: Mapping[str | None, Mapping[str, Any]], expected: Expected, now: float
) -> Identity:
    """Whom a token is about.

    Args:
        keys: the provider's, by their ids; None for the one that has none, where there is one alone.

    Raises:
        NoIdentity: it is not the provider's, not for us, not of this sign-in, or over.
    """
    header = _header(token)
    algorithm, key = header.get("alg"), keys.get(header.get("kid"))
    if algorithm not in ALGORITHMS or "crit" in header:
        raise NoIdentity("the ID token is not signed by RS256 or ES256")
    if key is None or key.get("kty") != ALGORITHMS[algorithm] or key.get("alg", algorithm) != algorithm:
        raise NoIdentity("the ID token is signed with none of the provider's keys")
    try:
        claims = jwt.decode(
            token,
            _public(key, algorithm),
            algorithms=[algorithm],
            audience=expected.client_id,
            issuer=expected.issuer,
            # Times are compared below, by the engine's clock.
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        _check_times(claims, now)
    except (PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise NoIdentity(f"the ID token does not hold: {type(error).__name__}") from None
    _check_parties(claims, expected)
    return Identity(claims["sub"], _name(claims, expected.name_claim))


def _public(key: Mapping[str, Any], algorithm: str) -> Any:
    public = jwt.PyJWK(dict(key), algorithm).key
    if algorithm == "RS256" and public.key_size < SHORTEST:
        raise NoIdentity(f"the provider's key has fewer than {SHORTEST} bits")
    return public


def _header(token: str) -> dict[str, Any]:
    try:
        if len(token) > LONGEST:
            raise ValueError
        return jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise NoIdentity("the ID token is no JWT") from None


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    end, issued = float(claims["exp"]), float(claims["iat"])
    if not (math.isfinite(end) and math.isfinite(issued)):
        raise ValueError
    if now >= end + CLOCKS:
        raise NoIdentity("the ID token has expired")
    if issued > now + CLOCKS or float(claims.get("nbf", issued)) > now + CLOCKS:
        raise NoIdentity("the ID token is of the future; compare the clocks")
    if issued < now - OLDEST:
        raise NoIdentity("the ID token is old; compare the clocks")


def _check_parties(claims: Mapping[str, Any], expected: Expected) -> None:
    audience, party = claims["aud"], claims.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if (several or party is not None) and party != expected.client_id:
        raise NoIdentity("the ID token was issued to another party")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise NoIdentity("the ID token is of another sign-in")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise NoIdentity("the ID token names nobody")


def _name(claims: Mapping[str, Any], claim: str) -> str:
    """What somebody is called; an address that the provider has not verified is nobody's."""
    if claim == "email" and claims.get("email_verified") is not True:
        return ""
    name = claims.get(claim)
    return name if isinstance(name, str) and len(name) <= 255 and name.isprintable() else ""
