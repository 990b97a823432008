"""What people hand over as a client's keys: taken when it can verify, refused with the reason when not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwk

from engine.errors import PonsError
from engine.oauth.client_keys import LARGEST, algorithms_of, read_key_set
from tests.engine.oauth.conftest import Signer

EC = Signer().key_set["keys"][0]


def read(document: Any) -> Any:
    return read_key_set(json.dumps(document).encode())


def refusal(document: Any) -> str:
    with pytest.raises(PonsError) as refused:
        read(document)
    return str(refused.value)


def test_a_set_or_a_single_key_is_taken_without_what_we_do_not_need() -> None:
    assert read({"keys": [{**EC, "x5c": ["..."], "key_ops": ["verify"]}]}) == [EC]
    assert read(EC) == [EC]


def test_a_key_signs_with_what_its_kind_and_its_word_allow() -> None:
    assert algorithms_of({"kty": "RSA", "n": "…", "e": "AQAB"}) == ("PS256", "RS256", "RS384")
    assert algorithms_of({"kty": "RSA", "alg": "RS384"}) == ("RS384",)
    assert algorithms_of({"kty": "EC", "crv": "P-256", "alg": "ES384"}) == ()
    assert algorithms_of({"kty": "oct", "k": "…"}) == ()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in EC.items() if key != name}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "key 1 is no JWK"),
        ([], "has no keys"),
        ({"keys": []}, "has no keys"),
        ({"keys": "x"}, "has no keys"),
        ({"keys": [7]}, "key 1 is no JWK"),
        ({"keys": [{**EC, "kid": f"k{number}"} for number in range(11)]}, "has 11 keys; 10 at most"),
        ({"keys": [EC, EC]}, "each needs a kid of its own"),
        ({"keys": [EC, without("kid")]}, "each needs a kid of its own"),
        ({**EC, "kid": 7}, "kid must be a text"),
        ({**EC, "kid": "x" * 256}, "kid must be a text"),
        ({**EC, "use": "enc"}, "not for signatures"),
        ({**EC, "alg": "HS256"}, "is for none of ES256"),
        ({**EC, "crv": "P-521"}, "is for none of ES256"),
        (without("x"), "no usable key"),
        ({**EC, "x": "AAAA"}, "no usable key"),
        (jwk.OctKey.generate_key(256).as_dict(), "is private"),
        (Signer().key.as_dict(private=True), "is private: its owner must make another one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(document: Any, reason: str) -> None:
    assert reason in refusal(document)


def test_a_short_rsa_key_is_refused() -> None:
    # A modulus of 1024 bits, public part only.
    short = {"kty": "RSA", "e": "AQAB", "n": "_" * 170 + "8"}
    assert "has 1024 bits; RSA needs 2048" in refusal(short) or "no usable key" in refusal(short)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 5000, b" " * (LARGEST + 1)])
def test_what_is_no_key_set_is_told_so(content: bytes) -> None:
    with pytest.raises(PonsError, match="the key set"):
        read_key_set(content)


def test_a_refusal_repeats_nothing_of_a_private_key() -> None:
    key = Signer().key.as_dict(private=True)
    assert key["d"] not in refusal(key)
