"""Uploads over the REST API of a running engine: sent, resumed, refused, killed midway; taken in once."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import subprocess
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.e2e.rest_house import Api, House, problem, serving_rest
from tests.e2e.studies import data_sets, small_study
from tests.engine.package.nifti_files import nifti, volumes
from tests.peers.process import wait_until


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


def zipped(files: Mapping[str, bytes]) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return made.getvalue()


@pytest.fixture
def study(real_study: Path, tmp_path: Path) -> dict[str, bytes]:
    """A study of its own for each test."""
    files = small_study(real_study, tmp_path / "study", AccessionNumber=uuid.uuid4().hex[:16])
    return {f"{number}.dcm": file.read_bytes() for number, file in enumerate(files)}


def begun(api: Api, kind: str, order: str | None = None, **given: Any) -> dict[str, Any]:
    order = order or api.order()["order_id"]
    answer = api.http.post(f"/orders/{order}/uploads", json={"kind": kind, **given})
    assert answer.status_code == 201, answer.text
    told = dict(answer.json())
    assert answer.headers["location"] == f"/api/v1/uploads/{told['upload']['upload_id']}"
    return told


def sent(engine: Engine, url: str, content: bytes, **headers: str) -> httpx.Response:
    """Bytes to an address, with no token."""
    return httpx.put(f"{engine.url}{url}", content=content, headers=headers, timeout=60, trust_env=False)


def settled(api: Api, upload_id: str) -> dict[str, Any]:
    """An upload once it is over."""
    wait_until(
        lambda: api.http.get(f"/uploads/{upload_id}").json()["state"] not in ("open", "taking"),
        "the upload to be over",
        timeout=60,
    )
    return dict(api.http.get(f"/uploads/{upload_id}").json())


def kept(engine: Engine) -> list[str]:
    """What is on disk of bytes that were uploaded and are not taken in, or are only half landed."""
    uploads = engine.data / "uploads" / "api"
    landing = [
        file for file in (engine.data / "landing").rglob("*") if file.is_file() and file.suffix != ".log"
    ]
    return sorted(file.name for file in uploads.glob("*/*-*")) + sorted(
        file.name for file in landing if file.stat().st_size and "lock" not in file.name
    )


# ── whole ───────────────────────────────────────────────────────────────────────────────────────


def test_an_archive_is_sent_whole_to_a_signed_address(
    marys: Api, engine: Engine, study: dict[str, bytes]
) -> None:
    content = zipped({**study, "sidecar.json": b'{"PatientAge": 45, "patient_sex": "F"}'})
    order = marys.order(metadata={"PatientAge": 46})["order_id"]
    told = begun(marys, "single", order, size=len(content))
    assert marys.http.get(f"/orders/{order}").json()["state"] == "receiving"
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    answer = sent(
        engine, told["url"], content, **told["headers"], **{"Content-Digest": f"sha-256=:{digest}:"}
    )
    assert (answer.status_code, answer.json()) == (200, {"state": "taken"})
    taken = marys.http.get(f"/uploads/{told['upload']['upload_id']}").json()
    assert (taken["instances"], taken["known"], taken["received"]) == (8, 0, 0)
    seen = marys.http.get(f"/orders/{order}").json()
    assert seen["study_instance_uid"] == taken["study_instance_uid"]
    assert seen["metadata"] == {"PatientAge": "046Y", "PatientSex": "F"}  # the order's own counts more
    problem(sent(engine, told["url"], content), 409, "state")
    problem(marys.http.post(f"/orders/{order}/uploads", json={}), 409, "state")
    wait_until(
        lambda: marys.http.get(f"/orders/{order}").json()["state"] == "delivered",
        "the order to be through",
        timeout=60,
    )
    assert kept(engine) == []


def test_an_address_opens_nothing_else_and_not_for_ever(marys: Api, engine: Engine) -> None:
    told = begun(marys, "single", size=10)
    url = told["url"]
    problem(sent(engine, url.replace("signature=", "signature=0"), b"x" * 10), 403, "link")
    problem(sent(engine, url[:-1] + ("0" if url[-1] != "0" else "1"), b"x" * 10), 403, "link")
    problem(sent(engine, url.replace("expires=", "expires=1"), b"x" * 10), 403, "link")
    problem(sent(engine, url.partition("?")[0], b"x" * 10), 403, "link")
    other = begun(marys, "single", size=10)["upload"]["upload_id"]
    problem(sent(engine, url.replace(told["upload"]["upload_id"], other), b"x" * 10), 403, "link")
    assert httpx.get(f"{engine.url}{url}", trust_env=False).status_code == 405  # nothing is read there
    problem(sent(engine, url, b"x" * 11), 400, "digest")
    problem(sent(engine, url, b"x" * 10, **{"Content-Digest": "sha-256=:AAAA:"}), 400, "malformed")
    problem(sent(engine, url, b"x" * 10, **{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}), 400, "digest")
    problem(sent(engine, url, b"x" * 10, **{"Content-Encoding": "gzip"}), 415, "media-type")
    assert kept(engine) == []


# ── in parts ────────────────────────────────────────────────────────────────────────────────────


def test_parts_in_any_order_each_broken_off_once(marys: Api, engine: Engine, study: dict[str, bytes]) -> None:
    content = zipped(study)
    told = begun(marys, "multipart", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    upload_id, order = told["upload"]["upload_id"], told["upload"]["order_id"]
    step = len(content) // 4 + 1
    parts = {n + 1: content[n * step : (n + 1) * step] for n in range(4)}

    def broken(part: bytes) -> Iterator[bytes]:
        yield part[: len(part) // 2]
        raise ConnectionAbortedError

    path = f"/uploads/{upload_id}/parts"
    for number in (3, 1, 4, 2):
        with pytest.raises(ConnectionAbortedError):
            marys.http.put(
                f"{path}/{number}",
                content=broken(parts[number]),
                headers={"Content-Length": str(len(parts[number]))},
            )
        again = marys.http.post(f"/orders/{order}/uploads", json={
            "kind": "multipart", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()
        })  # fmt: skip
        assert (again.status_code, again.json()["upload"]["upload_id"]) == (200, upload_id)
        assert number not in {one["number"] for one in again.json()["upload"]["parts"]}
        answer = marys.http.put(f"{path}/{number}", content=parts[number])
        assert answer.json() == {
            "number": number,
            "size": len(parts[number]),
            "sha256": hashlib.sha256(parts[number]).hexdigest(),
        }
        assert answer.headers["etag"] == f'"{answer.json()["sha256"]}"'
    missing = {"parts": [{"number": number} for number in (1, 2, 3, 4, 5)]}
    problem(marys.http.post(f"/uploads/{upload_id}/complete", json=missing), 409, "parts")
    done = marys.http.post(f"/uploads/{upload_id}/complete")
    assert done.status_code in (200, 202)
    taken = settled(marys, upload_id)
    assert (taken["state"], taken["instances"]) == ("taken", 8)
    assert marys.http.post(f"/uploads/{upload_id}/complete").json() == taken
    assert marys.http.get(f"/orders/{order}").json()["study_instance_uid"] == taken["study_instance_uid"]
    assert kept(engine) == []


def test_a_nifti_image_with_gradients_and_sidecar_becomes_a_study(marys: Api) -> None:
    content = zipped(
        {
            "dwi.nii": nifti(volumes(shape=(8, 8, 3, 2))),
            "dwi.bval": b"0 1000\n",
            "dwi.bvec": b"0 1\n0 0\n0 0\n",
            "dwi.json": json.dumps({"PatientAge": 45, "PatientSex": "M"}).encode(),
        }
    )
    told = begun(marys, "multipart")
    upload_id = told["upload"]["upload_id"]
    half = len(content) // 2
    marys.http.put(f"/uploads/{upload_id}/parts/1", content=content[:half]).raise_for_status()
    marys.http.put(f"/uploads/{upload_id}/parts/2", content=content[half:]).raise_for_status()
    marys.http.post(f"/uploads/{upload_id}/complete").raise_for_status()
    assert settled(marys, upload_id)["instances"] == 6
    order = marys.http.get(f"/orders/{told['upload']['order_id']}").json()
    assert order["metadata"] == {"PatientAge": "045Y", "PatientSex": "M"}


def test_aborting_leaves_nothing(marys: Api, engine: Engine) -> None:
    told = begun(marys, "multipart")
    upload_id = told["upload"]["upload_id"]
    marys.http.put(f"/uploads/{upload_id}/parts/1", content=b"x" * 5000).raise_for_status()
    for _ in range(2):
        assert marys.http.delete(f"/uploads/{upload_id}").status_code == 204
    assert marys.http.get(f"/uploads/{upload_id}").json()["state"] == "aborted"
    assert marys.http.get(f"/orders/{told['upload']['order_id']}").json()["state"] == "created"
    problem(marys.http.put(f"/uploads/{upload_id}/parts/1", content=b"x"), 409, "state")
    problem(marys.http.post(f"/uploads/{upload_id}/complete"), 409, "state")
    assert kept(engine) == []


# ── refused ─────────────────────────────────────────────────────────────────────────────────────


def bomb(study: dict[str, bytes]) -> bytes:
    """An archive that announces far more than it holds."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("1.dcm", study["0.dcm"])
        packed.getinfo("1.dcm").file_size = 1 << 40
    return made.getvalue()


@functools.cache
def crowd() -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        for number in range(65_000):
            packed.writestr(f"{number}", b"")
    return made.getvalue()


REFUSED: list[tuple[str, Callable[[dict[str, bytes]], bytes], int, str]] = [
    ("a bomb", bomb, 413, "bomb"),
    ("65,000 entries", lambda study: crowd(), 413, "too_many"),
    ("a name that leads out", lambda study: zipped({"../evil.dcm": study["0.dcm"]}), 422, "unsafe"),
    ("an archive inside", lambda study: zipped({**study, "x.zip": zipped(study)}), 422, "nested"),
    ("a wrong sidecar", lambda study: zipped({**study, "x.json": b'{"PatientAgee": 4}'}), 422, "sidecar"),
    ("a sidecar that is no JSON", lambda study: zipped({**study, "x.json": b"{"}), 422, "sidecar"),
    ("no study", lambda study: b"nothing of the kind", 422, "not_dicom"),
    ("an archive that was cut", lambda study: zipped(study)[:-100], 422, "damaged"),
]


@pytest.mark.parametrize("kind", ["single", "multipart"])
@pytest.mark.parametrize(("what", "made", "status", "reason"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_cannot_be_taken_says_why_and_nothing_is_kept(
    marys: Api,
    engine: Engine,
    study: dict[str, bytes],
    kind: str,
    what: str,
    made: Any,
    status: int,
    reason: str,
) -> None:
    before = len(engine.instance_files())
    told = begun(marys, kind)
    upload_id, order = told["upload"]["upload_id"], told["upload"]["order_id"]
    if kind == "single":
        answer = sent(engine, told["url"], made(study))
    else:
        marys.http.put(f"/uploads/{upload_id}/parts/1", content=made(study)).raise_for_status()
        answer = marys.http.post(f"/uploads/{upload_id}/complete")
    said = problem(answer, status, "package")
    assert said["reason"] == reason, what
    seen = marys.http.get(f"/uploads/{upload_id}").json()
    assert (seen["state"], seen["failure"]) == ("failed", {"reason": reason, "detail": said["detail"]})
    failed = marys.http.get(f"/orders/{order}").json()
    assert (failed["state"], failed["failure"]) == ("failed", said["detail"])
    assert len(engine.instance_files()) == before
    assert kept(engine) == []


def test_two_studies_in_one_archive_are_refused_and_the_order_takes_another(
    marys: Api, engine: Engine, study: dict[str, bytes], real_study: Path, tmp_path: Path
) -> None:
    other = small_study(real_study, tmp_path / "other", instances=1)[0].read_bytes()
    told = begun(marys, "single")
    said = problem(sent(engine, told["url"], zipped({**study, "other.dcm": other})), 422, "package")
    assert said["reason"] == "several_studies"
    assert kept(engine) == []
    second = begun(marys, "single", told["upload"]["order_id"])
    assert sent(engine, second["url"], zipped(study)).json() == {"state": "taken"}


def test_a_study_that_is_not_the_orders_is_refused(
    marys: Api, engine: Engine, study: dict[str, bytes]
) -> None:
    before = len(engine.instance_files())
    order = marys.order(study_instance_uid="1.2.826.99")["order_id"]
    told = begun(marys, "single", order)
    said = problem(sent(engine, told["url"], zipped(study)), 409, "state")
    assert said["reason"] == "order"
    assert len(engine.instance_files()) == before


# ── who may ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_of_another_site_is_not_there(house: House, marys: Api) -> None:
    johns = house.api("johns-his", "--site", "st-johns")
    told = begun(marys, "multipart")
    path = f"/uploads/{told['upload']['upload_id']}"
    problem(johns.http.post(f"/orders/{told['upload']['order_id']}/uploads", json={}), 404, "not-found")
    for answer in (
        johns.http.get(path),
        johns.http.put(f"{path}/parts/1", content=b"x"),
        johns.http.post(f"{path}/complete"),
        johns.http.delete(path),
        marys.http.get("/uploads/nothing"),
        marys.http.put(f"{path}/parts/0", content=b"x"),
        marys.http.put(f"{path}/parts/one", content=b"x"),
    ):
        problem(answer, 404, "not-found")
    reader = house.api("uploads-reader", scopes=("orders:read", "orders:write"))
    problem(reader.http.put(f"{path}/parts/1", content=b"x"), 403, "forbidden")


def test_curl_sends_a_file(marys: Api, engine: Engine, study: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(zipped(study))
    told = begun(marys, "single")
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "--noproxy", "*", "-T", str(tmp_path / "study.zip"),
         "-H", "Content-Type: application/octet-stream", f"{engine.url}{told['url']}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"state": "taken"}
    assert engine.defects() == []


# ── killed ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own(tmp_path: Path, free_port: Any) -> Iterator[House]:
    """An engine that may be killed."""
    with serving_rest(tmp_path / "own", free_port(), free_port()) as running:
        yield running


def test_a_kill_in_the_middle_of_a_part_leaves_the_parts_before(own: House, study: dict[str, bytes]) -> None:
    api, engine = own.api("his"), own.engine
    content = zipped(study)
    half = len(content) // 2
    told = begun(api, "multipart")
    upload_id = told["upload"]["upload_id"]
    path = f"/uploads/{upload_id}/parts"
    api.http.put(f"{path}/1", content=content[:half]).raise_for_status()
    folder = engine.data / "uploads" / "api" / upload_id

    def dying() -> Iterator[bytes]:
        yield content[half : half + 1000]
        wait_until(lambda: [*folder.glob("incoming-*")] != [], "the part to arrive", timeout=60)
        engine.kill9()
        yield content[half + 1000 :]

    with pytest.raises(httpx.HTTPError):
        api.http.put(f"{path}/2", content=dying())
    engine.start()
    seen = api.http.get(f"/uploads/{upload_id}").json()
    assert [one["number"] for one in seen["parts"]] == [1]
    assert seen["state"] == "open"
    wait_until(lambda: [*folder.glob("incoming-*")] == [], "what broke off to be removed", timeout=60)
    api.http.put(f"{path}/2", content=content[half:]).raise_for_status()
    api.http.post(f"/uploads/{upload_id}/complete").raise_for_status()
    assert settled(api, upload_id)["instances"] == 8
    assert kept(engine) == []


def test_a_kill_while_it_is_taken_in_is_one_study_of_its_order_after_the_next_start(
    own: House, real_study: Path, tmp_path: Path
) -> None:
    api, engine = own.api("his"), own.engine
    files = small_study(real_study, tmp_path / "sixty", instances=60)
    content = zipped({f"{number}.dcm": file.read_bytes() for number, file in enumerate(files)})
    order = api.order(metadata={"PatientAge": 45})["order_id"]
    told = begun(api, "multipart", order)
    upload_id = told["upload"]["upload_id"]
    api.http.put(f"/uploads/{upload_id}/parts/1", content=content).raise_for_status()
    facts = engine.data / "uploads" / "api" / upload_id / "upload.json"
    with httpx.Client(timeout=60, trust_env=False) as client:

        def ask() -> None:
            try:
                client.post(f"{engine.url}/api/v1/uploads/{upload_id}/complete", headers=api.http.headers)
            except httpx.HTTPError:
                return  # it was killed

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(
            lambda: json.loads(facts.read_bytes())["state"] != "open",
            "it to be taken",
            timeout=60,
            every=0.001,
        )
        engine.kill9()
        asking.join(60)
    engine.start()
    taken = settled(api, upload_id)
    assert (taken["state"], taken["instances"]) == ("taken", 60)
    assert data_sets(engine.instance_files()) == data_sets(files)
    seen = api.http.get(f"/orders/{order}").json()
    assert seen["study_instance_uid"] == taken["study_instance_uid"]
    (study,) = engine.studies()
    assert study["instances"] == 60
    assert [one["order_id"] for one in api.http.get("/orders").json()["orders"]] == [order]
    assert kept(engine) == []
