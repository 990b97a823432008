"""A client that signs proves itself: private_key_jwt (RFC 7523 3, OpenID Connect Core 9). Pure.

Enter: the assertion, the client's registered keys, a clock. Leaves: the identifier under which the assertion
is used up. The algorithm is the key's, not the assertion's: `none` and a public key taken for a shared secret
(RFC 8725 3.1) are never tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from engine.oauth.client_keys import algorithms_of, public_key
from engine.oauth.denial import not_the_client

LONGEST_LIFE = 300.0  # seconds until `exp`
CLOCKS = 30.0  # seconds that a client's clock may differ from ours
LONGEST = 8192  # characters
LONGEST_JTI = 255


@dataclass(frozen=True, slots=True)
class Used:
    """An assertion that must not be taken again until its end."""

    digest: str  # SHA-256 of its `jti`
    until: float


def subject_of(assertion: str) -> str:
    """Whom an assertion speaks of, before anything of it is believed; Denied when of nobody."""
    try:
        claims = jwt.decode(assertion[: LONGEST + 1], options={"verify_signature": False})
    except (PyJWTError, ValueError, RecursionError):
        raise not_the_client("the assertion is no JWT") from None
    subject = claims.get("sub")
    if len(assertion) > LONGEST or not isinstance(subject, str):
        raise not_the_client("the assertion names no subject, or is too long")
    return subject


def verified(
    assertion: str, client_id: str, keys: Sequence[Mapping[str, Any]], audiences: Collection[str], now: float
) -> Used:
    """The assertion, where it is the client's own, for us, and fresh; Denied where it is not.

    Args:
        audiences: the names that we go by: the issuer, and the address that was posted to.
    """
    try:
        key = _key_of(jwt.get_unverified_header(assertion), keys)
        claims = jwt.decode(
            assertion,
            public_key(key),
            algorithms=algorithms_of(key),
            audience=list(audiences),
            issuer=client_id,
            # Times are compared below, by the engine's clock.
            options={
                "require": ["iss", "sub", "aud", "exp", "jti"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise not_the_client(f"the assertion does not hold: {type(error).__name__}") from None
    if claims["sub"] != client_id:
        raise not_the_client("the assertion is of another subject than issuer", signed=True)
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_JTI:
        raise not_the_client(f"the assertion's jti is no text of 1 to {LONGEST_JTI} characters", signed=True)
    return Used(hashlib.sha256(jti.encode("utf-8", "replace")).hexdigest(), _end(claims, now) + CLOCKS)


def _key_of(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The key that a header names; the only one where it names none."""
    if "crit" in header:
        raise not_the_client("the assertion has critical extensions")
    kid = header.get("kid")
    found = [key for key in keys if kid is None or key.get("kid", kid) == kid]
    if len(found) != 1:
        raise not_the_client("the assertion names none of the client's keys")
    return found[0]


def _end(claims: Mapping[str, Any], now: float) -> float:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise not_the_client(f"the assertion's {name} is no number", signed=True)
    end = float(claims["exp"])
    if now >= end + CLOCKS:
        raise not_the_client("the assertion has expired", signed=True)
    if not end <= now + LONGEST_LIFE + CLOCKS:
        raise not_the_client(f"the assertion is good for more than {LONGEST_LIFE:.0f} seconds", signed=True)
    if not max(float(claims.get("nbf") or 0), float(claims.get("iat") or 0)) <= now + CLOCKS:
        raise not_the_client("the assertion is of the future; compare the clocks", signed=True)
    return end
