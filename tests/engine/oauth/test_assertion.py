"""private_key_jwt: an assertion is the client's own, for us, fresh, and taken once (RFC 7523 3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from joserfc import jwt

from engine.oauth.assertion import CLOCKS, LONGEST_LIFE, subject_of, verified
from engine.oauth.client_keys import SUPPORTED
from engine.oauth.denial import Denied
from tests.engine.oauth.conftest import Signer

NOW = 1_700_000_000.0
US = {"https://pons.example", "https://pons.example/oauth2/token"}
SIGNER = Signer()


def claims(**changed: Any) -> dict[str, Any]:
    told = {
        "iss": "his", "sub": "his", "aud": "https://pons.example/oauth2/token", "jti": "a-1",
        "iat": int(NOW), "exp": int(NOW) + 240, **changed,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def check(assertion: str, *signers: Signer, now: float = NOW) -> Any:
    keys = [key for one in signers or (SIGNER,) for key in one.key_set["keys"]]
    return verified(assertion, "his", keys, US, now)


def why(assertion: str, *signers: Signer, now: float = NOW) -> str:
    with pytest.raises(Denied) as denied:
        check(assertion, *signers, now=now)
    assert denied.value.code == "invalid_client"
    return denied.value.why


@pytest.mark.parametrize("algorithm", SUPPORTED)
def test_each_algorithm_that_is_offered_is_taken(algorithm: str) -> None:
    signer = Signer(algorithm)
    used = check(signer.assertion(claims()), signer)
    assert used.until == NOW + 240 + CLOCKS
    assert subject_of(signer.assertion(claims())) == "his"


def test_one_key_needs_no_name_and_of_several_one_is_named() -> None:
    other = Signer(kid="k2")
    unnamed = jwt.encode({"alg": "ES384"}, claims(), SIGNER.key, algorithms=["ES384"])
    check(unnamed)
    check(other.assertion(claims()), SIGNER, other)
    assert why(unnamed, SIGNER, other) == "the assertion names none of the client's keys"
    assert why(SIGNER.assertion(claims(), kid="k3")) == "the assertion names none of the client's keys"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "https://other.example/token"}, "InvalidAudienceError"),  # stolen from another server
        ({"aud": ["https://other.example", "https://pons.example.evil"]}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"iss": "somebody"}, "InvalidIssuerError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"sub": "somebody"}, "of another subject than issuer"),
        ({"jti": None}, "MissingRequiredClaimError"),
        ({"jti": ""}, "jti is no text"),
        ({"jti": "x" * 256}, "jti is no text"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": int(NOW - CLOCKS)}, "has expired"),
        ({"exp": int(NOW + LONGEST_LIFE + CLOCKS) + 1}, "good for more than 300 seconds"),
        ({"exp": True}, "exp is no number"),
        ({"iat": int(NOW + CLOCKS) + 1}, "of the future"),
        ({"nbf": int(NOW + CLOCKS) + 1}, "of the future"),
        ({"nbf": "x"}, "nbf is no number"),
    ],
    ids=str,
)
def test_what_an_assertion_must_say(changed: dict[str, Any], reason: str) -> None:
    assert reason in why(SIGNER.assertion(claims(**changed)))


def test_only_who_has_signed_is_told_what_is_wrong() -> None:
    late = claims(exp=int(NOW) + 3600)  # as some libraries make it unless told otherwise
    with pytest.raises(Denied, match="failed: the assertion is good for more than 300 seconds"):
        check(SIGNER.assertion(late))
    with pytest.raises(Denied, match=r"failed$"):
        check(Signer().assertion(late))


def test_an_audience_may_be_one_of_several() -> None:
    check(SIGNER.assertion(claims(aud=["https://other.example", "https://pons.example"])))


def test_clocks_may_differ_by_half_a_minute() -> None:
    check(SIGNER.assertion(claims(exp=int(NOW - CLOCKS) + 1)))
    check(SIGNER.assertion(claims(exp=int(NOW + LONGEST_LIFE + CLOCKS), iat=int(NOW + CLOCKS))))


def test_a_key_signs_with_its_own_algorithm_only() -> None:
    rsa = Signer("RS384")
    public = {**rsa.key_set["keys"][0], "alg": "PS256"}
    with pytest.raises(Denied):
        verified(rsa.assertion(claims()), "his", [public], US, NOW)


def test_no_signature_and_a_public_key_as_secret_are_refused() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').rstrip(b"=").decode()
    none = f"{header}.{SIGNER.assertion(claims()).split('.')[1]}."
    assert "InvalidAlgorithmError" in why(none)
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=").decode()
    text = f"{header}.{SIGNER.assertion(claims()).split('.')[1]}"
    signed = hmac.new(SIGNER.key.as_pem(private=False), text.encode(), hashlib.sha256).digest()
    shared = f"{text}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"
    assert "InvalidAlgorithmError" in why(shared)


def test_another_clients_key_does_not_serve() -> None:
    assert "InvalidSignatureError" in why(Signer().assertion(claims()))


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "e30.e30.", "x" * 9000])
def test_what_is_no_assertion_names_nobody(assertion: str) -> None:
    with pytest.raises(Denied):
        subject_of(assertion)
