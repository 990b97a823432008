"""What a token must be to be one of ours, whoever made it; an independent library reads what we make."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwk, jws, jwt

from engine.bearer import TokenRefused
from engine.oauth.access_token import issue, read
from engine.oauth.client import Client
from engine.oauth.signing_key import KeyRing, new_pem, read_pem

ISSUER = "https://pons.example"
NOW = 1_700_000_000.0
CLIENT = Client("his", "HIS", "st-marys", ("orders:read", "orders:write"))


def key(**changed: Any) -> Any:
    return read_pem(new_pem(), "test", signs=True, **changed)


RING = KeyRing((key(), key(until=NOW + 100)))
TOKEN, GRANT = issue(RING, ISSUER, CLIENT, ("orders:read",), NOW, 3600)


def claims(token: str = TOKEN) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def made(changed: dict[str, Any], *, by: Any = None, **header: Any) -> str:
    """A token like ours with something changed, signed by our key or another."""
    private = (by or RING.signer).private
    headers = {"alg": "ES256", "typ": "at+jwt", "kid": RING.signer.key_id, **header}
    told = {name: value for name, value in {**claims(), **changed}.items() if value is not None}
    return jwt.encode(headers, told, jwk.ECKey.import_key(private), algorithms=["ES256"])


def refusal(token: str, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as refused:
        read(token, RING, ISSUER, now)
    assert (refused.value.why, refused.value.status) == ("invalid_token", 401)
    return str(refused.value)


def test_a_token_grants_what_it_was_issued_for() -> None:
    found = read(TOKEN, RING, ISSUER, NOW + 3599)
    assert found == GRANT
    assert (found.client_id, found.site, found.scopes) == ("his", "st-marys", frozenset({"orders:read"}))


def test_another_library_reads_it_with_the_published_keys() -> None:
    published = jwk.KeySet.import_key_set({"keys": RING.public(NOW)})
    told = jwt.decode(TOKEN, published, algorithms=["ES256"])
    assert told.header["typ"] == "at+jwt"  # RFC 9068 2.1
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= told.claims.keys()  # RFC 9068 2.2
    assert told.claims["exp"] - told.claims["iat"] == 3600


def test_nothing_private_is_published() -> None:
    members = {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert [set(one) for one in RING.public(NOW)] == [members, members]


def test_a_token_for_all_sites_names_none() -> None:
    token, _ = issue(RING, ISSUER, Client("root", "", None, ("admin",)), ("admin",), NOW, 60)
    assert "site" not in claims(token)
    assert read(token, RING, ISSUER, NOW).site is None


def test_its_time_is_over_at_its_end() -> None:
    assert refusal(TOKEN, NOW + 3600) == "this access token has expired; ask for another"


def test_one_of_the_future_is_refused() -> None:
    assert "of the future" in refusal(TOKEN, NOW - 61)
    read(TOKEN, RING, ISSUER, NOW - 59)  # another engine's clock may be a little ahead


def test_a_key_before_is_honoured_until_its_end() -> None:
    before = made({}, by=RING.keys[1], kid=RING.keys[1].key_id)
    read(before, RING, ISSUER, NOW + 99)
    refusal(before, NOW + 100)
    assert len(RING.public(NOW + 100)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"},
        {"aud": "https://other.example"},
        {"aud": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"iat": None},
        {"iat": [1]},
        {"jti": None},
        {"jti": 7},
        {"client_id": None},
        {"client_id": 7, "sub": 7},
        {"sub": "somebody-else"},
        {"scope": None},
        {"scope": ["orders:read"]},
        {"site": 7},
    ],
    ids=str,
)
def test_what_a_token_must_say(changed: dict[str, Any]) -> None:
    assert refusal(made(changed)) == "this access token is not one of ours"


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},  # an assertion, or an ID token, is no access token
        {"kid": "unknown"},
        {"kid": None},
        {"kid": ["a"]},
    ],
    ids=str,
)
def test_what_its_header_must_say(header: dict[str, Any]) -> None:
    parts = TOKEN.split(".")
    told = {"alg": "ES256", "typ": "at+jwt", "kid": RING.signer.key_id, **header}
    if header.get("kid", "") is None:
        del told["kid"]
    signed = jws.serialize_compact(
        {"alg": "ES256"}, b"", jwk.ECKey.import_key(RING.signer.private), algorithms=["ES256"]
    )
    assert signed
    forged = ".".join([encoded(told), parts[1], signature_of(encoded(told) + "." + parts[1])])
    assert refusal(forged) == "this access token is not one of ours"


def encoded(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def signature_of(text: str) -> str:
    """By our own key: only what the header says is wrong."""
    from jwt.algorithms import ECAlgorithm

    algorithm = ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1)
    signed = algorithm.sign(text.encode(), RING.signer.private)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def test_critical_extensions_are_refused() -> None:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": RING.signer.key_id, "crit": ["exp"], "exp": 1}
    text = encoded(header) + "." + TOKEN.split(".")[1]
    refusal(f"{text}.{signature_of(text)}")


def test_no_signature_is_no_signature() -> None:
    body = TOKEN.split(".")[1]
    for algorithm in ("none", "None", "NONE"):
        header = encoded({"alg": algorithm, "typ": "at+jwt", "kid": RING.signer.key_id})
        refusal(f"{header}.{body}.")
        refusal(f"{header}.{body}.{TOKEN.split('.')[2]}")


def test_our_public_key_is_no_shared_secret() -> None:
    import hashlib
    import hmac

    pem = RING.signer.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = encoded({"alg": "HS256", "typ": "at+jwt", "kid": RING.signer.key_id}) + "." + TOKEN.split(".")[1]
    signed = hmac.new(pem, text.encode(), hashlib.sha256).digest()
    refusal(f"{text}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}")


def test_another_key_under_our_name_is_refused() -> None:
    refusal(made({}, by=key()))


def test_a_changed_letter_anywhere_is_refused() -> None:
    for place in range(0, len(TOKEN), 7):
        other = "A" if TOKEN[place] != "A" else "B"
        changed = TOKEN[:place] + other + TOKEN[place + 1 :]
        if place == len(TOKEN) - 1:
            continue  # the last letter has bits that mean nothing
        refusal(changed)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "....", "e30.e30.", TOKEN[:-10], TOKEN + ".x"])
def test_what_is_no_token_is_refused(token: str) -> None:
    refusal(token)


def test_a_token_too_deep_to_read_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode()
    refusal(f"{deep}.{deep}.x")
