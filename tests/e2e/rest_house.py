"""A running engine with the REST API, its clients, and small studies that are brought by STOW-RS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.engine import Engine, running_engine

TABLE: Mapping[str, Any] = {
    "assembly": {"stable_after": "1s"},
    "sites": {"st-marys": {"addresses": ["127.0.0.1"]}, "st-johns": {"addresses": ["127.0.0.2"]}},
    "inbound": {"api": {"type": "rest", "requests_per_second": 1000}, "web": {"type": "stow_rs"}},
    "processors": {"qc": {"type": "quality_control"}},
    "routes": [
        {"name": "mr", "match": {"series": {"Modality": "MR"}}, "process": "qc"},
        {"name": "all", "otherwise": True, "hold": "not for us"},
    ],
}
SCOPES = ("orders:read", "orders:write", "uploads:write", "results:read")


class Api:
    """One client of the API."""

    def __init__(self, engine: Engine, name: str, *options: str, scopes: tuple[str, ...] = SCOPES) -> None:
        asked = [part for scope in scopes for part in ("--scope", scope)]
        told = engine.json("client", "add", name, *asked, *(options or ("--site", "st-marys")))
        self.secret = str(told["client_secret"])
        self.name = name
        # From an address that is no site's, as a program outside the tunnel.
        self.http = httpx.Client(
            base_url=f"{engine.url}/api/v1",
            transport=httpx.HTTPTransport(local_address="127.0.0.9"),
            timeout=60,
            trust_env=False,
        )
        answer = self.http.post(
            f"{engine.url}/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(name, self.secret),
        )
        assert answer.status_code == 200, answer.text
        self.token = str(answer.json()["access_token"])
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def order(self, **given: Any) -> dict[str, Any]:
        """A new order."""
        answer = self.http.post("/orders", json=given)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


class House:
    """A running engine and the clients that it was given."""

    def __init__(self, engine: Engine, stack: ExitStack) -> None:
        self.engine = engine
        self._stack = stack

    def api(self, name: str, *options: str, scopes: tuple[str, ...] = SCOPES) -> Api:
        """A new client, by default of St. Mary's."""
        made = Api(self.engine, name, *options, scopes=scopes)
        self._stack.callback(made.http.close)
        return made


@contextmanager
def serving_rest(folder: Path, http_port: int, dicom_port: int) -> Iterator[House]:
    """A running engine."""
    with running_engine(folder, http_port, dicom_port, TABLE) as engine, ExitStack() as stack:
        yield House(engine, stack)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem details of an answer, which must be such."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = dict(answer.json())
    assert (told["status"], told["type"]) == (status, f"/api/v1/docs#{code}")
    return told
