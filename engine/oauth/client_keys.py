"""The public keys of a client that signs, as its people hand them over: a JWK Set (RFC 7517 5). Pure.

Enter: the bytes of a file. Leave: the keys, each usable for one of our algorithms, or what is wrong with it.
A private key that was sent by mistake is refused: nobody but its owner may have seen it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jwt.exceptions import PyJWTError

from engine.errors import PonsError

LARGEST = 64 * 1024  # bytes of a file
MOST = 10  # keys of a client
SHORTEST_RSA = 2048  # bits

PUBLIC = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("RSA", ""): ("PS256", "RS256", "RS384"),
}
"""By kind of key, what it may sign with: RS384 and ES384 are those of SMART Backend Services."""
SUPPORTED = tuple(sorted(one for some in ALGORITHMS.values() for one in some))


def read_key_set(content: bytes) -> Sequence[Mapping[str, Any]]:
    """The keys in a file.

    Raises:
        PonsError: what is wrong with it, without a word of a key.
    """
    if len(content) > LARGEST:
        raise PonsError(f"the key set has more than {LARGEST // 1024} kB")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise PonsError('the key set is not JSON; it is a JWK Set: {"keys": [...]}') from None
    listed = document.get("keys", [document]) if isinstance(document, dict) else None
    if not isinstance(listed, list) or not listed:
        raise PonsError('the key set has no keys; it is a JWK Set: {"keys": [...]}')
    if len(listed) > MOST:
        raise PonsError(f"the key set has {len(listed)} keys; {MOST} at most are kept")
    keys = [_key(one, number) for number, one in enumerate(listed, 1)]
    names = [key.get("kid") for key in keys]
    if len(keys) > 1 and (None in names or len(set(names)) < len(names)):
        raise PonsError("of several keys, each needs a kid of its own")
    return keys


def algorithms_of(key: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key may sign with; the one that it names, where it names one."""
    kind = str(key.get("kty", "")), str(key.get("crv", "")) if key.get("kty") != "RSA" else ""
    known = ALGORITHMS.get(kind, ())
    return tuple(one for one in known if key.get("alg") in (None, one))


def _key(found: Any, number: int) -> dict[str, Any]:
    if not isinstance(found, dict) or not isinstance(found.get("kty"), str):
        raise PonsError(f"key {number} is no JWK: it has no kty")
    if any(member in found for member in PRIVATE):
        raise PonsError(
            f"key {number} is private: its owner must make another one, and send the public part only"
        )
    for member in ("kid", "alg", "use", "crv"):
        if member in found and (not isinstance(found[member], str) or not 0 < len(found[member]) <= 255):
            raise PonsError(f"key {number}: {member} must be a text of at most 255 characters")
    if found.get("use", "sig") != "sig":
        raise PonsError(f"key {number} is not for signatures (use)")
    if not algorithms_of(found):
        raise PonsError(f"key {number} is for none of {', '.join(SUPPORTED)}")
    key = {name: found[name] for name in PUBLIC if name in found}
    try:
        size = getattr(public_key(key), "key_size", SHORTEST_RSA)
    except (PyJWTError, ValueError, TypeError, KeyError):
        raise PonsError(f"key {number} is no usable key: a member is missing or wrong") from None
    if key["kty"] == "RSA" and size < SHORTEST_RSA:
        raise PonsError(f"key {number} has {size} bits; RSA needs {SHORTEST_RSA}")
    return key


def public_key(key: Mapping[str, Any]) -> Any:
    """The key as the library takes it."""
    from jwt import PyJWK  # late: cryptography costs 60 ms

    return PyJWK(dict(key), algorithms_of(key)[0]).key
