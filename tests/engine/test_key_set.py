"""The engine publishes the public halves of its keys, and nothing more."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet

from channels.outbound import smart_backend
from engine.config import load
from engine.errors import TryAgain
from engine.key_set import public_keys
from engine.run import running

KEYS = {
    "one": rsa.generate_private_key(65537, 2048),
    "two": ec.generate_private_key(ec.SECP384R1()),
}


def table(folder: Path, port: int) -> Path:
    blocks = []
    for name, key in KEYS.items():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        blocks.append(
            f"""
  {name}:
    type: fhir_diagnostic_report
    site: st-marys
    url: http://127.0.0.1:1/r4
    auth: {{type: smart_backend, token_url: "http://127.0.0.1:1/token", client_id: pons,
           key: {{file: {name}.pem}}, key_id: key-{name}, scope: system/Observation.cus}}"""
        )
    path = folder / "routes.yaml"
    path.write_text(
        f"""
version: 1
engine: {{data: ./data, http: "127.0.0.1:{port}"}}
sites:
  st-marys: {{name: St. Mary's, addresses: [127.0.0.1], ae_titles: [STM_PACS]}}
inbound:
  web: {{type: stow_rs}}
outbound:{"".join(blocks)}
  hook: {{type: dicom_forward, site: st-marys, host: 127.0.0.1, port: 1, ae_title: X}}
routes:
  - {{name: nothing matched, otherwise: true, hold: no route matched}}
"""
    )
    return path


async def test_a_server_that_fetches_the_key_set_can_verify_our_assertions(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    loaded = load(table(tmp_path, free_port()))
    async with running(loaded) as engine, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{engine.http_port}/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/json"
    published = KeySet.import_key_set(answer.json())
    for name, algorithm in (("one", "RS384"), ("two", "ES384")):
        assertion = smart_backend._assertion(loaded.outbound[name].settings.auth)
        token = jwt.decode(assertion, published, algorithms=[algorithm])
        assert token.header["kid"] == f"key-{name}"
        assert token.claims["iss"] == "pons"


async def test_nothing_private_is_published(tmp_path: Path, free_port: Callable[[], int]) -> None:
    loaded = load(table(tmp_path, free_port()))
    async with running(loaded) as engine, httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{engine.http_port}/.well-known/jwks.json")).text
    names = {name for key in json.loads(text)["keys"] for name in key}
    assert names == {"kty", "n", "e", "crv", "x", "y", "kid", "alg", "use"}
    secret = KEYS["two"].private_numbers().private_value.to_bytes(48, "big")
    assert base64.urlsafe_b64encode(secret).decode().rstrip("=") not in text


class Broken:
    """A destination whose key file is gone."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        raise TryAgain("key.pem cannot be read")


class Whole:
    """A destination with a key that another one shares."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        return [{"kid": "a", "kty": "EC"}]


def test_a_key_that_cannot_be_read_hides_no_other_and_a_shared_one_stands_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "pons.keys"):
        assert public_keys({"x": Broken(), "y": Whole(), "z": Whole()}) == [{"kid": "a", "kty": "EC"}]
    assert [record.getMessage() for record in caplog.records] == ["a key cannot be published"]
