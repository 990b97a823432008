"""An OpenID provider that nobody here wrote: oauth2-mock-server in a Node process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.peers.process import PeerProcess, binary

HERE = Path(__file__).parent


class Provider:
    """One running provider; ``url`` is its issuer."""

    def __init__(self, folder: Path, port: int) -> None:
        if not (HERE / "node_modules" / "oauth2-mock-server").is_dir():
            pytest.fail(
                "the identity provider is not installed: run"
                " npm install --no-audit --no-fund --no-package-lock --prefix tests/peers"
            )
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._process = PeerProcess(
            "the identity provider",
            [binary("node", "nodejs"), str(HERE / "identity_provider.mjs"), str(port)],
            folder / "provider.log",
        )
        self._process.wait_ready(lambda: "serving" in self._process.text(), timeout=60)

    def person(self, **claims: Any) -> None:
        """Who signs in from now on."""
        self._client.post("/_test/person", json=claims).raise_for_status()

    def next(self, **wrong: Any) -> None:
        """How the next ID token is to be wrong."""
        self._client.post("/_test/next", json=wrong).raise_for_status()

    def other_key(self, algorithm: str = "RS256", *, slash: bool = False) -> None:
        """Sign with another key from now on; the one before is forgotten.

        Args:
            slash: call yourself by an issuer that ends in one.
        """
        self._client.post("/_test/keys", json={"algorithm": algorithm, "slash": slash}).raise_for_status()

    def forget(self) -> None:
        """Begin anew: another key, nobody's claims, no requests."""
        self._client.post("/_test/forget", json={}).raise_for_status()
        self.other_key()

    def requests(self) -> list[dict[str, Any]]:
        """Every token request: body, authorization."""
        found: list[dict[str, Any]] = self._client.get("/_test/requests").json()
        return found

    def visit(self, url: str) -> dict[str, str]:
        """What a browser that is sent there comes back with: `code` and `state`."""
        answer = self._client.get(url)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["location"])
        return {name: values[0] for name, values in parse_qs(back.query).items()}

    def stop(self) -> None:
        """End it."""
        self._client.close()
        self._process.stop()


@pytest.fixture(scope="session")
def _running_identity_provider(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("identity") / "provider", free_port())
    yield provider
    provider.stop()


@pytest.fixture
def identity_provider(_running_identity_provider: Provider) -> Provider:
    """A provider that remembers nothing of another test."""
    _running_identity_provider.forget()
    return _running_identity_provider
