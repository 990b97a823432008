"""The example FHIR server: create, conditional update, transaction, search, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

Peer = Callable[..., tuple[int, Path]]
IDENTIFIER = {"system": "urn:pons", "value": "r1"}
BY_IDENTIFIER = "identifier=urn:pons|r1"


@pytest.fixture
def server(start_peer: Peer) -> Iterator[tuple[httpx.Client, Path]]:
    port, folder = start_peer("fhir_server")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield client, folder


def report(**more: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "identifier": [IDENTIFIER], "status": "final", **more}


def test_a_conditional_update_creates_once_and_then_replaces(server: tuple[httpx.Client, Path]) -> None:
    client, folder = server
    url = f"/DiagnosticReport?{BY_IDENTIFIER}"
    first = client.put(url, json=report())
    second = client.put(url, json=report(status="corrected"))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["location"].endswith("/_history/2")
    (filed,) = folder.iterdir()
    assert json.loads(filed.read_text())["status"] == "corrected"
    assert client.get(url).json()["total"] == 1


def test_a_transaction_stores_every_entry_and_ties_them_together(server: tuple[httpx.Client, Path]) -> None:
    client, folder = server
    observation = {"resourceType": "Observation", "status": "final"}
    request = {"resourceType": "ServiceRequest", "identifier": [{"system": "urn:acsn", "value": "A1"}]}
    entries = [
        {
            "fullUrl": "urn:uuid:1",
            "resource": request,
            "request": {"method": "POST", "url": "ServiceRequest", "ifNoneExist": "identifier=urn:acsn|A1"},
        },
        {
            "fullUrl": "urn:uuid:2",
            "resource": observation,
            "request": {"method": "POST", "url": "Observation"},
        },
        {
            "fullUrl": "urn:uuid:3",
            "resource": report(basedOn=[{"reference": "urn:uuid:1"}], result=[{"reference": "urn:uuid:2"}]),
            "request": {"method": "PUT", "url": f"DiagnosticReport?{BY_IDENTIFIER}"},
        },
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    first = client.post("/", json=bundle).json()
    again = client.post("/", json=bundle).json()
    assert first["type"] == "transaction-response"
    assert [entry["response"]["status"] for entry in first["entry"]] == ["201 Created"] * 3
    assert [entry["response"]["status"][:3] for entry in again["entry"]] == ["200", "201", "200"]
    stored = client.get("/DiagnosticReport?identifier=r1").json()["entry"][0]["resource"]
    assert client.get("/" + stored["basedOn"][0]["reference"]).json()["resourceType"] == "ServiceRequest"
    assert client.get("/" + stored["result"][0]["reference"]).json()["resourceType"] == "Observation"
    assert len(list(folder.glob("ServiceRequest-*.json"))) == 1


REFUSED = [  # request, status, issue code
    pytest.param("/", report(), 400, "invalid", id="no bundle"),
    pytest.param("/Observation", report(), 400, "invalid", id="another type than the url says"),
    pytest.param("/Unknown", {"resourceType": "Unknown"}, 404, "not-supported", id="no such type"),
    pytest.param("/Observation", "text", 400, "invalid", id="no object"),
]


@pytest.mark.parametrize(("url", "body", "status", "code"), REFUSED)
def test_what_cannot_be_stored_is_refused_with_an_outcome(
    server: tuple[httpx.Client, Path], url: str, body: Any, status: int, code: str
) -> None:
    client, folder = server
    answer = client.post(url, json=body)
    assert answer.status_code == status
    assert answer.json()["issue"][0]["code"] == code
    assert list(folder.iterdir()) == []


def test_a_transaction_with_one_bad_entry_stores_nothing(server: tuple[httpx.Client, Path]) -> None:
    client, folder = server
    good = {"resource": report(), "request": {"method": "POST", "url": "DiagnosticReport"}}
    bad = {"resource": report(), "request": {"method": "POST", "url": "Observation"}}
    answer = client.post("/", json={"resourceType": "Bundle", "type": "transaction", "entry": [good, bad]})
    assert answer.status_code == 400
    assert list(folder.iterdir()) == []


def test_two_matches_are_a_failed_precondition(server: tuple[httpx.Client, Path]) -> None:
    client, _ = server
    for _ in range(2):
        assert client.post("/DiagnosticReport", json=report()).status_code == 201
    assert client.put(f"/DiagnosticReport?{BY_IDENTIFIER}", json=report()).status_code == 412


def test_the_capability_statement_says_r4(server: tuple[httpx.Client, Path]) -> None:
    client, _ = server
    assert client.get("/metadata").json()["fhirVersion"] == "4.0.1"
