"""A FHIR R4 server: Medplum's router and in-memory repository in a Node process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.peers.process import PeerProcess, binary, wait_until

HERE = Path(__file__).parent


class FhirServer:
    """One running server; ``url`` is its FHIR base."""

    def __init__(self, folder: Path, port: int) -> None:
        if not (HERE / "node_modules" / "@medplum" / "fhir-router").is_dir():
            pytest.fail(
                "the FHIR server is not installed: run"
                " npm install --no-audit --no-fund --no-package-lock --prefix tests/peers"
            )
        folder.mkdir(parents=True)
        self.port = port
        self.url = f"http://127.0.0.1:{port}/fhir"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        self._process = PeerProcess(
            "the FHIR server",
            [binary("node", "nodejs"), str(HERE / "fhir_server.mjs"), str(port)],
            folder / "fhir.log",
        )
        self._process.wait_ready(lambda: "serving" in self._process.text(), timeout=60)

    def answer_next(self, statuses: Sequence[int]) -> None:
        """Answer the next writes with these statuses, unprocessed."""
        self.client.post("/_test/answers", json=list(statuses)).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """Every write it has seen: method, url, headers, body (text)."""
        found: list[dict[str, Any]] = self.client.get("/_test/requests").json()
        return found

    def resources(self, kind: str, query: str = "") -> list[dict[str, Any]]:
        """The resources of one type that match a search, as they are held."""
        answer = self.client.get(f"/fhir/{kind}?{query}")
        answer.raise_for_status()
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def wait_for(self, kind: str, count: int = 1, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Wait until at least ``count`` resources of one type are held."""
        wait_until(lambda: len(self.resources(kind)) >= count, f"{count} {kind} at the FHIR server", timeout)
        return self.resources(kind)

    def post(
        self, path: str, resource: dict[str, Any], headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Write as any client would."""
        return self.client.post(
            f"/fhir{path}",
            content=json.dumps(resource),
            headers={"Content-Type": "application/fhir+json", **(headers or {})},
        )

    def stop(self) -> None:
        self.client.close()
        self._process.stop()


@pytest.fixture
def fhir_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., FhirServer]]:
    """Factory: ``fhir_server(port=None)``."""
    running: list[FhirServer] = []

    def make(*, port: int | None = None) -> FhirServer:
        peer = FhirServer(tmp_path / f"fhir-{len(running)}", port or free_port())
        running.append(peer)
        return peer

    yield make
    for peer in running:
        peer.stop()
