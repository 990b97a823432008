"""Orders over the REST API of a running engine: what a program asks, and what it may not."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.e2e.rest_house import Api, House, problem, serving_rest


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Any) -> Iterator[House]:
    with serving_rest(tmp_path_factory.mktemp("rest"), free_port(), free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def engine(house: House) -> Engine:
    return house.engine


@pytest.fixture(scope="module")
def marys(house: House) -> Api:
    return house.api("marys-his")


@pytest.fixture(scope="module")
def johns(house: House) -> Api:
    return house.api("johns-his", "--site", "st-johns")


# ── giving and looking ──────────────────────────────────────────────────────────────────────────


def test_an_order_is_given_looked_at_and_unchanged_the_second_time(marys: Api) -> None:
    answer = marys.http.post("/orders", json={"metadata": {"patient_age": 93, "accessionNumber": "A-1"}})
    assert answer.status_code == 201
    order = answer.json()
    assert order["metadata"] == {"PatientAge": "090Y", "AccessionNumber": "A-1"}
    assert (order["state"], order["site"]) == ("created", "st-marys")
    assert order["submitter"] == {"kind": "client", "name": "marys-his"}
    assert answer.headers["location"] == f"/api/v1/orders/{order['order_id']}"
    seen = marys.http.get(f"/orders/{order['order_id']}")
    assert (seen.json(), seen.headers["etag"]) == (order, answer.headers["etag"])
    again = marys.http.get(f"/orders/{order['order_id']}", headers={"If-None-Match": seen.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    details = marys.http.get(f"/orders/{order['order_id']}/details").json()
    assert (details["order"], details["results"], details["deliveries"]) == (order, [], [])


def test_each_look_at_an_order_is_on_the_audit_trail_by_itself(house: House) -> None:
    """By ids, never by what identifies a patient; what shows nothing is not told of."""
    api = house.api("marys-viewer")
    order = api.order(metadata={"PatientName": "Quillfeather^Q", "AccessionNumber": "A-viewed"})
    at = f"/orders/{order['order_id']}"
    for _ in range(2):
        tag = api.http.get(at).headers["etag"]
    assert api.http.get(at, headers={"If-None-Match": tag}).status_code == 304
    api.http.get(f"{at}/details")
    api.http.get(f"{at}/metadata")
    api.http.get("/orders", params={"accession_number": "A-viewed"})
    api.http.get("/orders", params={"accession_number": "A-nobody"})
    events = house.engine.json("audit", "--action", "order.viewed")
    mine = [one for one in events if one["actor"] == "client marys-viewer"]
    assert {one["subject"] for one in mine} == {f"order {order['order_id']}"}
    assert sorted(str(one["detail"].get("part", "")) for one in mine) == ["", "", "details", "metadata"]
    [listed] = [
        one
        for one in house.engine.json("audit", "--action", "orders.listed")
        if one["actor"] == mine[0]["actor"]
    ]
    assert listed["detail"] == {"orders": [order["order_id"]]}
    assert "Quillfeather" not in str(mine) + str(listed)


def test_the_same_idempotency_key_gives_the_same_order(marys: Api) -> None:
    given = {"metadata": {"AccessionNumber": "A-idem"}}
    first = marys.http.post("/orders", json=given, headers={"Idempotency-Key": '"k-1"'}).json()
    again = marys.http.post("/orders", json=given, headers={"Idempotency-Key": "k-1"}).json()
    assert first["order_id"] == again["order_id"]
    other = marys.http.post("/orders", json={}, headers={"Idempotency-Key": "k-1"})
    problem(other, 422, "idempotency")
    problem(marys.http.post("/orders", json={}, headers={"Idempotency-Key": "k" * 201}), 400, "malformed")


def test_every_mistake_in_metadata_is_told_at_its_place(marys: Api) -> None:
    answer = marys.http.post("/orders", json={"metadata": {"PatientAge": "old", "PatientAgee": 4, "Rows": 1}})
    told = problem(answer, 422, "invalid")
    assert [one["pointer"] for one in told["errors"]] == [
        "/metadata/PatientAge",
        "/metadata/PatientAgee",
        "/metadata/Rows",
    ]
    assert "PatientAge" in told["errors"][1]["detail"]
    assert "old" not in answer.text


# ── lists ───────────────────────────────────────────────────────────────────────────────────────


def test_a_list_is_filtered_and_read_page_by_page(marys: Api) -> None:
    mine = [marys.order(metadata={"AccessionNumber": "A-list", "PatientID": f"P-{n}"}) for n in range(5)]
    seen: list[str] = []
    address: str | None = "/api/v1/orders?accession_number=A-list&limit=2&state=created&state=receiving"
    pages = 0
    while address:
        answer = marys.http.get(str(marys.http.base_url.copy_with(raw_path=address.encode())))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [one["order_id"] for one in page["orders"]]
        address, pages = page["next"], pages + 1
        assert ("link" in answer.headers) == (address is not None)
    assert (seen, pages) == ([one["order_id"] for one in reversed(mine)], 3)
    for asked in (
        {"patient_id": "P-3", "accession_number": "A-list"},
        {"patient_id": "P-3", "created_after": mine[0]["created_at"]},
        {"patient_id": "P-3", "submitter": "client:marys-his"},
    ):
        found = marys.http.get("/orders", params=asked).json()["orders"]
        assert [one["order_id"] for one in found] == [mine[3]["order_id"]], asked
    for asked in (
        {"patient_id": "A-list"},  # another attribute has this value
        {"patient_id": "P-3", "created_before": mine[0]["created_at"]},
        {"patient_id": "P-3", "state": "delivered"},
        {"patient_id": "P-3", "submitter": "person:marys-his"},
    ):
        assert marys.http.get("/orders", params=asked).json() == {"orders": [], "next": None}, asked


def test_the_orders_of_a_study_are_found_by_its_uid(marys: Api, johns: Api) -> None:
    order = marys.order(study_instance_uid="1.2.826.77")
    found = marys.http.get("/studies/1.2.826.77/orders").json()["orders"]
    assert [one["order_id"] for one in found] == [order["order_id"]]
    assert johns.http.get("/studies/1.2.826.77/orders").json() == {"orders": []}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("stat=created", "stat"),
        ("state=lost", "state"),
        ("limit=0", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=nowhere", "after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),  # of which zone?
        ("patient_id=a%00b", "patient_id"),
        ("study_instance_uid=1..2", "study_instance_uid"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(marys: Api, query: str, parameter: str) -> None:
    told = problem(marys.http.get(f"/orders?{query}"), 422, "invalid")
    assert {one["parameter"] for one in told["errors"]} == {parameter}


# ── metadata ────────────────────────────────────────────────────────────────────────────────────


def test_metadata_are_replaced_and_patched_by_version(marys: Api) -> None:
    order = marys.order(metadata={"PatientAge": 40, "PatientSex": "F"})
    path = f"/orders/{order['order_id']}/metadata"
    seen = marys.http.get(path)
    assert seen.json() == {"metadata": {"PatientAge": "040Y", "PatientSex": "F"}}
    tag = seen.headers["etag"]
    merge = {"Content-Type": "application/merge-patch+json", "If-Match": tag}
    patch = json.dumps({"metadata": {"patient_age": 41, "PatientSex": None}})
    patched = marys.http.patch(path, content=patch, headers=merge)
    assert patched.json() == {"metadata": {"PatientAge": "041Y"}}
    problem(marys.http.patch(path, content=patch, headers=merge), 412, "version")
    replaced = marys.http.put(path, json={"metadata": {"PatientSex": "M"}})
    assert replaced.json() == {"metadata": {"PatientSex": "M"}}
    assert marys.http.get(path, headers={"If-None-Match": replaced.headers["etag"]}).status_code == 304
    problem(
        marys.http.put(path, json={"metadata": {}}, headers={"If-Match": f"W/{replaced.headers['etag']}"}),
        412,
        "version",
    )


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_order_stays_so_and_takes_no_metadata(marys: Api, engine: Engine) -> None:
    order = marys.order()
    done = marys.http.post(f"/orders/{order['order_id']}/cancel", json={"reason": "given twice"})
    assert done.json()["order"]["state"] == "cancelled"
    again = marys.http.post(f"/orders/{order['order_id']}/cancel")
    assert (again.status_code, again.json()["order"]["state"]) == (200, "cancelled")
    problem(marys.http.put(f"/orders/{order['order_id']}/metadata", json={"metadata": {}}), 409, "state")
    (event,) = engine.json("audit", "--action", "order cancelled")
    assert event["actor"] == "client marys-his"


# ── who may ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_of_another_site_is_not_there(marys: Api, johns: Api) -> None:
    order = marys.order(metadata={"PatientID": "P-secret"})
    path = f"/orders/{order['order_id']}"
    problem(johns.http.get(path), 404, "not-found")
    problem(johns.http.get(f"{path}/details"), 404, "not-found")
    problem(johns.http.get(f"{path}/metadata"), 404, "not-found")
    problem(johns.http.put(f"{path}/metadata", json={"metadata": {}}), 404, "not-found")
    problem(johns.http.patch(f"{path}/metadata", json={"metadata": {}}), 404, "not-found")
    problem(johns.http.post(f"{path}/cancel"), 404, "not-found")
    problem(johns.http.get(f"{path}/results"), 404, "not-found")
    assert johns.http.get("/orders", params={"patient_id": "P-secret"}).json()["orders"] == []
    problem(johns.http.post("/orders", json={"site": "st-marys"}), 403, "forbidden")
    assert marys.http.get(path).json() == order


def test_each_operation_wants_its_scope(house: House, engine: Engine, marys: Api) -> None:
    reader = house.api("reader", scopes=("orders:read",))
    order = marys.order()
    assert reader.http.get(f"/orders/{order['order_id']}").status_code == 200
    refused = reader.http.post("/orders", json={})
    problem(refused, 403, "forbidden")
    assert 'scope="orders:write"' in refused.headers["www-authenticate"]
    problem(reader.http.get("/results/unretrieved"), 403, "forbidden")
    for bearer in (None, "nonsense", marys.token[:-6] + "AAAAAA"):
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        answer = httpx.post(f"{engine.url}/api/v1/orders", json={}, headers=headers, trust_env=False)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_client_of_all_sites_says_for_which(house: House, johns: Api) -> None:
    everywhere = house.api("everywhere", "--all-sites")
    told = problem(everywhere.http.post("/orders", json={}), 422, "invalid")
    assert told["errors"][0]["pointer"] == "/site"
    problem(everywhere.http.post("/orders", json={"site": "st-nobody"}), 422, "invalid")
    order = everywhere.order(site="st-johns")
    assert johns.http.get(f"/orders/{order['order_id']}").json() == order


# ── what is no request ──────────────────────────────────────────────────────────────────────────


def test_the_frame_answers_in_problems_too(marys: Api) -> None:
    problem(marys.http.get("/order"), 404, "not-found")
    problem(marys.http.get("/orders/"), 404, "not-found")
    problem(marys.http.get("/orders/a%00b"), 404, "not-found")
    problem(marys.http.get("/orders/a%0Ab"), 404, "not-found")  # ends no line, and no route
    problem(marys.http.get("/orders/a%0A"), 404, "not-found")
    problem(marys.http.get("/%0A"), 404, "not-found")
    gone = marys.http.delete("/orders")
    problem(gone, 405, "method")
    assert gone.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert marys.http.options("/orders").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert marys.http.head("/orders").status_code == 200


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{}", "text/plain", 415, "media-type"),
        (b"{}", "", 415, "media-type"),
        (b"{", "application/json", 400, "malformed"),
        (b"", "application/json", 400, "malformed"),
        (b"\xff{}", "application/json", 400, "malformed"),
        (b'{"metadata": {"PatientID": "\\ud800"}}', "application/json", 400, "malformed"),
        (b'{"site": "a", "site": "b"}', "application/json", 400, "malformed"),
        (b'{"metadata": {"PatientAge": NaN}}', "application/json", 400, "malformed"),
        (b'{"metadata": {"PatientAge": ' + b"9" * 5000 + b"}}", "application/json", 400, "malformed"),
        (b"[" * 100_000, "application/json", 400, "malformed"),
        (b'{"x": "' + b"[" * 20 + b'"}', "application/json", 422, "invalid"),
        (b'{"metadata": {"PatientID": "a\\u0000b"}}', "application/json", 422, "invalid"),
        (b"[]", "application/json", 422, "invalid"),
        (b" " * 300_000, "application/json", 413, "too-large"),
        (b" " * 3_000_000, "application/json", 413, "too-large"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_cannot_be_used_is_refused(
    marys: Api, content: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    problem(marys.http.post("/orders", content=content, headers=headers), status, code)


def test_an_encoded_body_is_refused(marys: Api) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    problem(marys.http.post("/orders", content=b"{}", headers=headers), 415, "media-type")


def test_a_client_that_goes_away_is_no_defect(marys: Api, engine: Engine) -> None:
    with socket.create_connection(("127.0.0.1", engine.http_port)) as gone:
        head = (
            f"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {marys.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        gone.sendall(head.encode())
    assert marys.http.get("/orders", params={"limit": 1}).status_code == 200
    assert engine.defects() == []


def test_curl_gives_an_order(marys: Api, engine: Engine) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "-H", f"Authorization: Bearer {marys.token}", "--json",
         '{"metadata": {"PatientSex": "O"}}', f"{engine.url}/api/v1/orders"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout)["metadata"] == {"PatientSex": "O"}
