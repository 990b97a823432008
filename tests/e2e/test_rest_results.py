"""Results and batches over the REST API of a running engine, with a study that is really processed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from jsonschema import Draft202012Validator

from tests.e2e.engine import Engine
from tests.e2e.rest_house import Api, House, problem, serving_rest
from tests.e2e.studies import small_study
from tests.peers.process import wait_until


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[House]:
    with serving_rest(tmp_path_factory.mktemp("rest"), free_port(), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def marys(house: House) -> Api:
    return house.api("marys-his")


@pytest.fixture(scope="module")
def done(
    house: House, marys: Api, real_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """An order of a batch whose study was brought and has a result."""
    files = small_study(real_study, tmp_path_factory.mktemp("study"), instances=2)
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    batch = marys.http.post("/batches", json={"name": "autumn"}).json()
    order = marys.order(study_instance_uid=uid, batch_id=batch["batch_id"], metadata={"PatientAge": 50})
    _bring(house.engine, files)
    path = f"/orders/{order['order_id']}"
    wait_until(lambda: marys.http.get(path).json()["state"] == "delivered", "the order's end", 60, every=0.5)
    return dict(marys.http.get(path).json())


def _bring(engine: Engine, files: list[Path]) -> None:
    parts = b"".join(
        b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for file in files
    )
    answer = httpx.post(
        f"{engine.url}/dicomweb/studies",
        content=parts + b"--zone--\r\n",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=zone'},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def test_a_result_is_offered_until_it_is_acknowledged_by_each_client(
    house: House, marys: Api, done: dict[str, Any]
) -> None:
    (result,) = marys.http.get(f"/orders/{done['order_id']}/results").json()["results"]
    assert result["study_instance_uid"] == done["study_instance_uid"]
    offered = marys.http.get("/results/unretrieved", params={"mine": "true"}).json()["results"]
    assert offered == [result]
    assert marys.http.get("/results/unretrieved").json()["results"] == offered  # the same again
    ris = house.api("marys-ris")
    assert ris.http.get("/results/unretrieved").json()["results"] == offered
    assert ris.http.get("/results/unretrieved", params={"mine": "true"}).json()["results"] == []
    took = marys.http.post("/results/acknowledgements", json={"seqs": [result["seq"], 10**9]})
    assert took.json() == {"acknowledged": 1}
    again = marys.http.post("/results/acknowledgements", json={"seqs": [result["seq"]]})
    assert again.json() == {"acknowledged": 0}
    assert marys.http.get("/results/unretrieved").json()["results"] == []
    assert ris.http.get("/results/unretrieved").json()["results"] == offered


def test_another_site_sees_no_result_and_acknowledges_none(
    house: House, marys: Api, done: dict[str, Any]
) -> None:
    johns = house.api("johns-his", "--site", "st-johns")
    ours = house.api("marys-pacs")
    (result,) = ours.http.get("/results/unretrieved").json()["results"]
    assert johns.http.get("/results/unretrieved").json()["results"] == []
    answer = johns.http.post("/results/acknowledgements", json={"seqs": [result["seq"]]})
    assert answer.json() == {"acknowledged": 0}
    problem(johns.http.get(f"/batches/{done['batch_id']}"), 404, "not-found")
    problem(johns.http.get(f"/batches/{done['batch_id']}/report"), 404, "not-found")
    assert johns.http.get("/batches").json()["batches"] == []
    assert len(ours.http.get("/results/unretrieved").json()["results"]) == 1


def test_a_batch_counts_its_orders_and_reports_on_them(marys: Api, done: dict[str, Any]) -> None:
    batch = marys.http.get(f"/batches/{done['batch_id']}").json()
    assert (batch["name"], batch["orders"], batch["states"]["delivered"]) == ("autumn", 1, 1)
    report = marys.http.get(f"/batches/{done['batch_id']}/report")
    (row,) = report.json()["rows"]
    assert (row["order_id"], row["state"]) == (done["order_id"], "delivered")
    again = marys.http.get(
        f"/batches/{done['batch_id']}/report", headers={"If-None-Match": report.headers["etag"]}
    )
    assert again.status_code == 304
    for name in ("b", "c"):
        marys.http.post("/batches", json={"name": name})
    page = marys.http.get("/batches", params={"limit": 2}).json()
    assert [one["name"] for one in page["batches"]] == ["c", "b"]
    rest = marys.http.get(f"{marys.http.base_url.copy_with(path='/')}{page['next'].lstrip('/')}").json()
    assert [one["name"] for one in rest["batches"]] == ["autumn"]


def test_the_same_key_gives_the_same_batch(marys: Api) -> None:
    key = {"Idempotency-Key": "batch-1"}
    first = marys.http.post("/batches", json={"name": "x"}, headers=key).json()
    assert marys.http.post("/batches", json={"name": "x"}, headers=key).json() == first
    problem(marys.http.post("/batches", json={"name": "y"}, headers=key), 422, "idempotency")


@pytest.mark.parametrize("seqs", [[], [0], ["x"], None, list(range(1, 502))])
def test_what_is_acknowledged_are_numbers(marys: Api, seqs: Any) -> None:
    problem(marys.http.post("/results/acknowledgements", json={"seqs": seqs}), 422, "invalid")


def test_what_is_answered_is_what_the_description_says(
    house: House, marys: Api, done: dict[str, Any]
) -> None:
    """Nobody needs a token to read it, and every model in it holds for a real answer."""
    document = httpx.get(f"{house.engine.url}/api/v1/openapi.json", trust_env=False).json()
    page = httpx.get(f"{house.engine.url}/api/v1/docs", trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    at = f"/orders/{done['order_id']}"
    for path, described in (
        (at, "/orders/{order_id}"),
        (f"{at}/details", "/orders/{order_id}/details"),
        (f"{at}/metadata", "/orders/{order_id}/metadata"),
        (f"{at}/results", "/orders/{order_id}/results"),
        ("/orders", "/orders"),
        (f"/studies/{done['study_instance_uid']}/orders", "/studies/{study_instance_uid}/orders"),
        ("/batches", "/batches"),
        (f"/batches/{done['batch_id']}/report", "/batches/{batch_id}/report"),
    ):
        answer = marys.http.get(path)
        assert answer.status_code == 200, path
        schema = document["paths"][described]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        whole = {**schema, "components": document["components"]}
        assert [str(error) for error in Draft202012Validator(whole).iter_errors(answer.json())] == [], path


# ── files ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "media_type", "begins"),
    [
        ("sr", "application/dicom", b"\0" * 128 + b"DICM"),
        ("fhir", "application/fhir+json", b'{"resourceType":"DiagnosticReport"'),
        ("pdf", "application/pdf", b"%PDF-"),
        ("png", "image/png", b"\x89PNG"),
        ("txt", "text/plain", b""),
        ("json", "application/json", b"{"),
        ("xml", "application/xml", b"<?xml"),
        ("csv", "text/csv", b""),
    ],
)
def test_a_result_is_fetched_in_each_format(
    house: House, marys: Api, done: dict[str, Any], kind: str, media_type: str, begins: bytes
) -> None:
    (result,) = marys.http.get(f"/orders/{done['order_id']}/results").json()["results"]
    path = f"/results/{result['result_id']}/{kind}"
    answer = marys.http.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.content.startswith(begins)
    assert len(answer.content) > 100
    suffix = {"sr": "dcm", "fhir": "fhir.json"}.get(kind, kind)
    name = f"result-{result['result_id']}.{suffix}"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = marys.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    events = house.engine.json("audit", "--action", "result handed out")
    assert {event["actor"] for event in events} == {"client marys-his"}


def test_what_the_processor_made_is_fetched_by_its_name(marys: Api, done: dict[str, Any]) -> None:
    (result,) = marys.http.get(f"/orders/{done['order_id']}/results").json()["results"]
    for name in result["artefacts"]:
        assert marys.http.get(f"/results/{result['result_id']}/{name}").status_code == 200
    told = problem(marys.http.get(f"/results/{result['result_id']}/docx"), 404, "not-found")
    assert "pdf" in told["detail"]
    problem(marys.http.get(f"/results/{result['result_id']}/..%2f..%2fpons.sqlite"), 404, "not-found")
    problem(marys.http.get("/results/nothing/pdf"), 404, "not-found")


def test_the_report_of_a_batch_is_fetched_as_a_table_and_a_page(marys: Api, done: dict[str, Any]) -> None:
    table = marys.http.get(f"/batches/{done['batch_id']}/report/csv")
    assert done["order_id"] in table.text
    assert marys.http.get(f"/batches/{done['batch_id']}/report/pdf").content.startswith(b"%PDF-")
    problem(marys.http.get(f"/batches/{done['batch_id']}/report/docx"), 404, "not-found")


def test_the_files_of_another_site_are_not_there(house: House, marys: Api, done: dict[str, Any]) -> None:
    johns = house.api("johns-files", "--site", "st-johns")
    (result,) = marys.http.get(f"/orders/{done['order_id']}/results").json()["results"]
    problem(johns.http.get(f"/results/{result['result_id']}/pdf"), 404, "not-found")
    problem(johns.http.get(f"/batches/{done['batch_id']}/report/csv"), 404, "not-found")
    reader = house.api("marys-orders", scopes=("orders:read",))
    problem(reader.http.get(f"/results/{result['result_id']}/pdf"), 403, "forbidden")


def test_a_result_that_was_retracted_is_gone(house: House, marys: Api, done: dict[str, Any]) -> None:
    (result, *_) = marys.http.get(f"/orders/{done['order_id']}/results").json()["results"]
    house.engine.pons("result", "retract", result["result_id"], "--reason", "of another patient", "--yes")
    problem(marys.http.get(f"/results/{result['result_id']}/pdf"), 410, "gone")
