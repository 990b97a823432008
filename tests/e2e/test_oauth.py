"""Programs of other makers get tokens from a running engine, and a token is what lets a study in, or not."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as OauthlibSession

from engine.oauth.access_token import issue
from engine.oauth.client import Client
from engine.oauth.key_store import key_store
from engine.oauth_section import OAuthSettings
from tests.e2e.engine import Engine, running_engine
from tests.e2e.studies import small_study
from tests.peers.process import wait_until

TABLE = {
    "sites": {
        "st-marys": {"addresses": ["127.0.0.1"]},
        "st-johns": {"addresses": ["127.0.0.2"]},
    },
    "inbound": {
        "web": {"type": "stow_rs", "auth": "either"},
        "gate": {"type": "stow_rs", "path": "/gate", "auth": "token"},
        "marys": {"type": "stow_rs", "path": "/marys", "auth": "token", "site": "st-marys"},
    },
    "routes": [{"name": "all", "otherwise": True, "hold": "only the way in is looked at"}],
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("oauth"), free_port(), free_port(), TABLE) as running:
        yield running


@pytest.fixture(autouse=True)
def _loopback_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def add(engine: Engine, name: str, *options: str, scope: str = "uploads:write") -> str:
    """A new client; its secret."""
    told = engine.json("client", "add", name, "--scope", scope, *(options or ("--site", "st-marys")))
    return str(told.get("client_secret", ""))


def token(engine: Engine, name: str, secret: str) -> str:
    answer = httpx.post(
        f"{engine.url}/oauth2/token", data={"grant_type": "client_credentials"}, auth=(name, secret),
        trust_env=False, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def store(
    engine: Engine, files: list[Path], bearer: str | None, path: str = "/gate", source: str = "127.0.0.1"
) -> httpx.Response:
    """STOW-RS with a token."""
    parts = b"".join(
        b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for file in files
    )
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=zone'}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=60, trust_env=False) as client:
        return client.post(f"{engine.url}{path}/studies", content=parts + b"--zone--\r\n", headers=headers)


@pytest.fixture(scope="module")
def files(real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return small_study(real_study, tmp_path_factory.mktemp("study"), instances=1)


# ── who gets a token ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_a_token(engine: Engine, method: str) -> None:
    name = f"authlib-{method[-5:].strip('_')}"
    secret = add(engine, name)
    with OAuth2Session(name, secret, scope="uploads:write", token_endpoint_auth_method=method) as session:
        told = session.fetch_token(f"{engine.url}/oauth2/token", grant_type="client_credentials")
    assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 3600, "uploads:write")


def test_authlib_signs_and_an_assertion_serves_once_across_a_restart(engine: Engine) -> None:
    key = jwk.ECKey.generate_key("P-384", {"kid": "k1", "alg": "ES384"})
    jwks = engine.folder / "signer.json"
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    add(engine, "signer", "--site", "st-marys", "--jwks", str(jwks))
    endpoint = f"{engine.url}/oauth2/token"
    shown: list[Any] = []
    claims = {"exp": int(time.time()) + 240}  # an hour, which authlib takes by itself, is too long
    method = PrivateKeyJWT(endpoint, claims, alg="ES384", headers={"kid": "k1"})
    with OAuth2Session("signer", key, token_endpoint_auth_method=method) as session:
        session.hooks["response"].append(lambda answer, *_, **__: shown.append(answer.request.body))
        told = session.fetch_token(endpoint, grant_type="client_credentials")
    assert told["expires_in"] == 3600

    engine.restart()
    again = httpx.post(
        endpoint, content=shown[0], headers={"Content-Type": "application/x-www-form-urlencoded"},
        trust_env=False, timeout=60,
    )  # fmt: skip
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    (denied,) = engine.json("audit", "--action", "client denied", "--subject", "client signer")
    assert "used before" in str(denied)


def test_requests_oauthlib_gets_a_token_and_shows_it(engine: Engine, files: list[Path]) -> None:
    secret = add(engine, "oauthlib")
    with OauthlibSession(client=BackendApplicationClient(client_id="oauthlib")) as session:
        session.fetch_token(f"{engine.url}/oauth2/token", client_id="oauthlib", client_secret=secret)
        body = b"--z\r\nContent-Type: application/dicom\r\n\r\n" + files[0].read_bytes() + b"\r\n--z--\r\n"
        content_type = 'multipart/related; type="application/dicom"; boundary=z'
        answer = session.post(
            f"{engine.url}/gate/studies", data=body, headers={"Content-Type": content_type}, timeout=60
        )
    assert answer.status_code == 200


def test_curl_gets_a_token(engine: Engine) -> None:
    secret = add(engine, "curl")
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "-u", f"curl:{secret}", "-d",
         "grant_type=client_credentials", f"{engine.url}/oauth2/token"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout)["scope"] == "uploads:write"


def test_a_client_finds_its_way_by_the_servers_metadata(engine: Engine) -> None:
    told = httpx.get(f"{engine.url}/.well-known/oauth-authorization-server", trust_env=False).json()
    assert told["issuer"] == engine.url
    keys = httpx.get(told["jwks_uri"], trust_env=False).json()["keys"]
    listed = engine.json("client", "keys")
    assert [key["kid"] for key in keys] == [key["kid"] for key in listed]


# ── what a token opens ──────────────────────────────────────────────────────────────────────────


def test_a_token_lets_a_study_in_from_anywhere_but_another_sites_address(
    engine: Engine, files: list[Path]
) -> None:
    marys = token(engine, "marys", add(engine, "marys"))
    for path, source in (("/gate", "127.0.0.3"), ("/dicomweb", "127.0.0.3"), ("/marys", "127.0.0.1")):
        assert store(engine, files, marys, path, source).status_code == 200
    borrowed = store(engine, files, marys, source="127.0.0.2")
    assert (borrowed.status_code, borrowed.text) == (403, "this token is not of the site at this address\n")
    wait_until(
        lambda: any(
            one["action"] == "peer turned away"
            and '"site"' in json.dumps(one)
            and "127.0.0.2" in one["actor"]
            for one in engine.json("audit", "--action", "peer turned away")
        ),
        "the borrowed token on the trail",
        60,
        every=1.0,
    )
    assert store(engine, files, None, "/dicomweb", "127.0.0.1").status_code == 200  # by its address
    assert store(engine, files, None, "/dicomweb", "127.0.0.3").status_code == 403


def kept(engine: Engine, site: str) -> int:
    return len(engine.instance_files(site))


def test_what_is_no_token_of_ours_stores_nothing(engine: Engine, files: list[Path]) -> None:
    johns = token(engine, "johns", add(engine, "johns", "--site", "st-johns"))
    reader = token(engine, "reader", add(engine, "reader", "--site", "st-johns", scope="results:read"))
    everywhere = token(engine, "root", add(engine, "root", "--all-sites"))
    header, claims, signature = johns.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    ring = key_store(OAuthSettings(), engine.data, 0.0).ring()  # by the engine's own key, whatever it says
    client = Client("johns", "", "st-johns", ("uploads:write",))
    now = time.time()
    expired, _ = issue(ring, engine.url, client, ("uploads:write",), now - 7200, 3600)
    elsewhere, _ = issue(ring, "https://other.example", client, ("uploads:write",), now, 3600)
    unknown, _ = issue(ring, engine.url, Client("nobody", "", "st-johns", ()), ("uploads:write",), now, 3600)
    moved, _ = issue(ring, engine.url, Client("johns", "", None, ()), ("uploads:write",), now, 3600)
    own = key_store(OAuthSettings(), engine.folder / "other", now).ring()
    stranger, _ = issue(own, engine.url, client, ("uploads:write",), now, 3600)
    before = kept(engine, "*")
    for bearer, path, status in (
        (None, "/gate", 401),
        ("x", "/gate", 401),
        (f"{header}.{claims}.{signature[:-6]}AAAAAA", "/gate", 401),
        (f"{none}.{claims}.", "/gate", 401),
        (expired, "/gate", 401),
        (elsewhere, "/gate", 401),
        (unknown, "/gate", 401),
        (moved, "/gate", 401),  # a token that claims more than its client has
        (stranger, "/gate", 401),
        (reader, "/gate", 403),
        (johns, "/marys", 403),
        (everywhere, "/gate", 403),  # of which site would it be?
    ):
        answer = store(engine, files, bearer, path, "127.0.0.3")
        assert (answer.status_code, path) == (status, path), answer.text
        challenge = answer.headers.get("www-authenticate", "")
        assert challenge.startswith("Bearer ") or path == "/marys" or bearer == everywhere, challenge
    assert store(engine, files, johns, source="127.0.0.1").status_code == 403  # a tunnel is its site's
    assert kept(engine, "*") == before
    assert store(engine, files, everywhere, "/marys", "127.0.0.3").status_code == 200


def test_a_revoked_client_and_a_revoked_token_are_out_at_once(engine: Engine, files: list[Path]) -> None:
    secret = add(engine, "leaver")
    first, second = token(engine, "leaver", secret), token(engine, "leaver", secret)
    done = httpx.post(
        f"{engine.url}/oauth2/revoke", data={"token": first}, auth=("leaver", secret), trust_env=False,
        timeout=60,
    )  # fmt: skip
    assert done.status_code == 200
    assert store(engine, files, first).status_code == 401
    assert store(engine, files, second).status_code == 200
    engine.pons("client", "revoke", "leaver", "--reason", "has left", "--yes")
    assert store(engine, files, second).status_code == 401


def test_a_new_signing_key_serves_at_once_and_the_one_before_still(engine: Engine, files: list[Path]) -> None:
    secret = add(engine, "keeper")
    before = token(engine, "keeper", secret)
    keys = engine.json("client", "keys", "--rotate")
    assert len(keys) >= 2
    after = token(engine, "keeper", secret)
    assert before.split(".")[0] != after.split(".")[0]
    assert [store(engine, files, one).status_code for one in (before, after)] == [200, 200]


def test_no_secret_and_no_token_is_in_the_log_or_on_the_trail(engine: Engine, files: list[Path]) -> None:
    secret = add(engine, "quiet")
    bearer = token(engine, "quiet", secret)
    store(engine, files, bearer)
    store(engine, files, bearer[:-8] + "AAAAAAAA")
    httpx.post(
        f"{engine.url}/oauth2/token", data={"grant_type": "client_credentials"}, auth=(secret, "quiet"),
        trust_env=False, timeout=60,
    )  # fmt: skip
    written = "\n".join(engine.log_lines()) + json.dumps(engine.json("audit"))
    assert "access token issued" in written
    for word in (secret, bearer, bearer.split(".")[2], bearer.split(".")[1]):
        assert word not in written
