"""The keys that sign access tokens: EC P-256, for ES256 (RFC 7518 3.4), each named by its thumbprint. Pure.

Enter: PEM. Leaves: a `KeyRing`: the first key signs, all verify, and the public parts are a JWK Set. A token
that names another key is none of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from engine.errors import ConfigurationError

ALGORITHM = "ES256"
_CURVE = ec.SECP256R1
_MEMBER = 32  # bytes of a coordinate


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. It has no private part where it only verifies."""

    key_id: str  # RFC 7638 thumbprint
    public: ec.EllipticCurvePublicKey
    private: ec.EllipticCurvePrivateKey | None = None
    since: float = 0.0
    until: float | None = None  # when it verifies no more; None: while it is listed

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one moment; the first signs."""

    keys: Sequence[SigningKey]

    @property
    def signer(self) -> SigningKey:
        """The one that signs now."""
        return self.keys[0]

    def find(self, key_id: object, now: float) -> SigningKey | None:
        """The key of this name, where it is still honoured."""
        return next((one for one in self.honoured(now) if one.key_id == key_id), None)

    def honoured(self, now: float) -> list[SigningKey]:
        """Those that verify now."""
        return [one for one in self.keys if one.until is None or now < one.until]

    def public(self, now: float) -> list[dict[str, str]]:
        """A JWK Set's keys (RFC 7517 5), nothing private."""
        return [
            {**_members(one.public), "kid": one.key_id, "use": "sig", "alg": ALGORITHM}
            for one in self.honoured(now)
        ]


def new_pem() -> str:
    """A key that nobody has had before."""
    key = ec.generate_private_key(_CURVE())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def read_pem(
    pem: str, where: str, *, signs: bool, since: float = 0.0, until: float | None = None
) -> SigningKey:
    """The key in a PEM text.

    Args:
        where: how the text is called in a message.
        signs: it must be private.

    Raises:
        ConfigurationError: it is no such key.
    """
    try:
        private = load_pem_private_key(pem.encode(), None)
        public: Any = private.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private, public = None, None
    if public is None and not signs:
        try:
            public = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, _CURVE):
        kind = "unencrypted private key" if signs else "key"
        raise ConfigurationError(
            f"{where}: no {kind} of EC P-256 in PEM; make one by `openssl genpkey -algorithm EC"
            " -pkeyopt ec_paramgen_curve:P-256`"
        )
    kept = private if isinstance(private, ec.EllipticCurvePrivateKey) else None
    return SigningKey(_thumbprint(public), public, kept, since, until)


def _members(public: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    coordinates = {"x": numbers.x, "y": numbers.y}
    told = {name: _base64url(value.to_bytes(_MEMBER, "big")) for name, value in coordinates.items()}
    return {"kty": "EC", "crv": "P-256", **told}


def _thumbprint(public: ec.EllipticCurvePublicKey) -> str:
    canonical = json.dumps(_members(public), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
