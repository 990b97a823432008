"""SMART Backend Services: an access token for a signed assertion, without a user.

Enter: the `auth` block of a destination. Leave: an access token, kept until shortly before it
expires. SMART App Launch 2.2 "Backend Services" and "Client Authentication: Asymmetric" (RFC 7523,
RFC 6749 4.4): the assertion is signed by RS384 or ES384 as the key demands, names the token URL as
its audience, lives four minutes and is used once.

What the token server refuses is mended here and not by other resources: every failure is tried again.
Of its answer only the error codes of RFC 6749 5.2 are told.
"""

from __future__ import annotations

import asyncio
import secrets
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from pydantic import Field, field_validator

from channels.transport.http import Answer, Endpoint, Url, request, reveal
from engine.channel import Secret, Settings, Tls
from engine.errors import TryAgain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

ASSERTION_LIFE = 240  # seconds; five minutes are allowed, the clocks may differ by one
USUAL_TOKEN_LIFE = 300  # seconds, where the server names none
LONGEST_TOKEN = 16 * 1024  # characters; servers limit a header to less
SHORTEST_RSA_KEY = 2048  # bits

_ERRORS = (
    *("invalid_request", "invalid_client", "invalid_grant"),
    *("unauthorized_client", "unsupported_grant_type", "invalid_scope"),
)
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PRINTABLE = r"^[\x21-\x7e]{1,255}$"


class SmartBackend(Settings):
    """Requests carry an access token of SMART Backend Services."""

    type: Literal["smart_backend"] = "smart_backend"
    """An access token is asked for and shown."""
    token_url: Url = Field(examples=["https://auth.st-marys.example/token"])
    """Where tokens are given out; also the audience of our assertion, so written exactly as there."""
    client_id: str = Field(pattern=_PRINTABLE, examples=["pons"])
    """How the server knows us."""
    key: Secret = Field(examples=[{"file": "secrets/stm-fhir.pem"}])
    """Our private key in PEM, `file:` only: RSA of 2048 bits or more, or EC P-384."""
    key_id: str = Field(pattern=_PRINTABLE, examples=["pons-2026"])
    """`kid` of the key in the key set that the server knows."""
    scope: str = Field(
        pattern=r"^[\x21-\x7e]+( [\x21-\x7e]+)*$",
        max_length=2000,
        examples=["system/DiagnosticReport.cus system/Observation.cus"],
    )
    """What we may do, for example `system/DiagnosticReport.cus`."""
    tls: Tls | None = None
    """TLS towards the token server; that of the destination when absent."""

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: Secret) -> Secret:
        if key.file is None:
            raise ValueError("a private key is given as {file: path}")
        return key


class Tokens:
    """The access token of one destination; concurrent deliveries share it."""

    def __init__(self, settings: SmartBackend, tls: Tls | None, timeout: float) -> None:
        self._settings = settings
        self._endpoint = Endpoint(settings.token_url, settings.tls or tls, timeout)
        self._token = ""
        self._good_until = 0.0  # monotonic seconds
        self._turn = asyncio.Lock()

    async def token(self, rejected: str = "") -> str:
        """A token that is good, other than one that was just rejected.

        Raises:
            TryAgain: the key cannot be used, or the token server gave no token.
        """
        async with self._turn:
            if not self._token or self._token == rejected or monotonic() >= self._good_until:
                self._token = ""
                asked_at = monotonic()
                answer = await self._ask(await asyncio.to_thread(_assertion, self._settings))
                self._token, life = self._read(answer)
                self._good_until = asked_at + life - min(30.0, life / 4)
            return self._token

    async def _ask(self, assertion: str) -> Answer:
        form = {
            "grant_type": "client_credentials",
            "scope": self._settings.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return await request(self._endpoint, "POST", headers=headers, body=urlencode(form).encode())

    def _read(self, answer: Answer) -> tuple[str, float]:
        document = answer.json()
        told: dict[str, Any] = document if isinstance(document, dict) else {}
        if answer.status != 200:
            error = told.get("error")
            also = f": {error}" if error in _ERRORS else ""
            raise self._failure(f"answered {answer.status}{also}", answer.retry_after)
        token, kind, life = told.get("access_token"), told.get("token_type"), told.get("expires_in")
        if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN or not _fits_header(token):
            raise self._failure("answered 200 without a usable access_token")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise self._failure("gave a token that is no bearer token")
        number = isinstance(life, int | float) and not isinstance(life, bool) and life > 0
        return token, float(life) if number and life is not None else USUAL_TOKEN_LIFE

    def _failure(self, what: str, after: float | None = None) -> TryAgain:
        return TryAgain(f"token server {self._endpoint} {what}", code="token", after=after)


def _fits_header(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _assertion(settings: SmartBackend) -> str:
    """A signed assertion that no other has the identifier of (RFC 7523 3)."""
    import jwt  # late: `pons check` needs none of it

    key, algorithm = _load(settings.key)
    now = int(time())
    claims = {
        "iss": settings.client_id,
        "sub": settings.client_id,
        "aud": settings.token_url,
        "iat": now,
        "exp": now + ASSERTION_LIFE,
        "jti": secrets.token_urlsafe(32),
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": settings.key_id})


def public_key(settings: SmartBackend) -> dict[str, str]:
    """The key that verifies our assertions, as a JWK (RFC 7517 4); TryAgain when ours cannot be used."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm  # late: `pons check` needs none of it

    key, algorithm = _load(settings.key)
    if isinstance(key, RSAPrivateKey):
        told = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        told = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    public = ("kty", "n", "e", "crv", "x", "y")
    members = {str(name): str(value) for name, value in told.items() if name in public}
    return {**members, "kid": settings.key_id, "alg": algorithm, "use": "sig"}


def _load(secret: Secret) -> tuple[RSAPrivateKey | EllipticCurvePrivateKey, str]:
    """The key and the algorithm that it demands."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(reveal(secret).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TryAgain(f"{secret.file} is no unencrypted private key in PEM", code="secret") from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA_KEY:
        return key, "RS384"
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
        return key, "ES384"
    raise TryAgain(f"{secret.file} is neither RSA of 2048 bits or more nor EC P-384", code="secret")
