"""Uploads from a browser: in parts, gone on with after an interruption, taken in once, told if of no use."""

from __future__ import annotations

import hashlib
import io
import random
import sqlite3
import subprocess
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.studies import small_study, study_of
from tests.peers.process import binary, wait_until
from tests.portal.portal_house import PortalHouse, serving_house
from tests.portal.visitor import Visitor

PART = 8 << 20


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[PortalHouse]:
    with serving_house(tmp_path_factory.mktemp("portal"), free_port) as running:
        yield running


@pytest.fixture
def sam(house: PortalHouse) -> Visitor:
    return house.person("sam", "submitter@st-marys")


class Page:
    """The page's script, as far as the portal can tell."""

    def __init__(self, visitor: Visitor, site: str = "st-marys", **fields: str) -> None:
        self.visitor = visitor
        page = visitor.get("/orders/new")
        self.csrf = page.answer.text.partition('data-csrf="')[2].partition('"')[0]
        form = page.form("/orders")
        answer = self.ask("POST", "/orders", data={**form.fields, "site": site, **fields})
        assert answer.status_code == 201, answer.text
        self.order = str(answer.json()["order_id"])
        assert answer.json()["upload"] == f"/orders/{self.order}/upload"

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {
            "Accept": "application/json",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Dest": "empty",
            "Origin": self.visitor.url,
            "X-CSRF-Token": self.csrf,
            **options.pop("headers", {}),
        }
        return self.visitor.http.request(method, path, headers=headers, **options)

    def begin(self, size: int, **fields: str) -> dict[str, Any]:
        answer = self.ask("POST", f"/orders/{self.order}/upload", data={"size": str(size), **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def put(self, begun: dict[str, Any], number: int, content: bytes) -> httpx.Response:
        digest = b64encode(hashlib.sha256(content).digest()).decode()
        return self.ask(
            "PUT",
            f"{begun['address']}/parts/{number}",
            content=content,
            headers={"Content-Digest": f"sha-256=:{digest}:", "Content-Type": "application/octet-stream"},
        )

    def settled(self, begun: dict[str, Any]) -> dict[str, Any]:
        answer = self.ask("POST", f"{begun['address']}/complete")
        assert answer.status_code == 200, answer.text

        told: dict[str, Any] = answer.json()

        def over() -> bool:
            told.update(self.ask("GET", begun["address"]).json())
            return told["state"] not in ("open", "taking")

        wait_until(over, "the upload to be over", 60, every=0.2)
        return told


def parts_of(content: bytes) -> list[bytes]:
    return [content[start : start + PART] for start in range(0, len(content), PART)]


def archived(files: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number, file in enumerate(files):
            made.write(file, f"study/{number}.dcm")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def study(real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """A study that comes in three parts: its UID and its archive."""
    files = small_study(real_study, tmp_path_factory.mktemp("study"), instances=40)
    content = archived(files)
    padding = 2 * PART + 1000 - len(content)
    if padding > 0:  # a comment of a ZIP is short: files of the disc writer fill it up, and are passed over
        buffer = io.BytesIO(content)
        with zipfile.ZipFile(buffer, "a") as made:
            made.writestr("__MACOSX/filler", random.Random(1).randbytes(padding))
        content = buffer.getvalue()
    return study_of(files[0]), content


def bound_study(house: PortalHouse, order: str) -> str:
    with closing(sqlite3.connect(f"file:{house.engine.data / 'pons.sqlite'}?mode=ro", uri=True)) as found:
        [(study,)] = found.execute("SELECT study_instance_uid FROM orders WHERE order_id = ?", [order])
    return str(study)


def test_a_study_is_uploaded_in_parts_and_gone_on_with_after_a_reload(
    house: PortalHouse, sam: Visitor, study: tuple[str, bytes]
) -> None:
    uid, content = study
    pieces = parts_of(content)
    assert len(pieces) >= 3
    page = Page(sam, PatientAge="61")
    begun = page.begin(len(content))
    assert (begun["state"], begun["parts"], begun["part_size"]) == ("open", [], PART)
    assert page.put(begun, 3, pieces[2]).status_code == 200
    assert page.put(begun, 1, pieces[0]).status_code == 200
    assert "An upload has begun" in sam.get(f"/orders/{page.order}/upload").text
    again = page.begin(len(content))  # the same files, chosen once more
    assert again["address"] == begun["address"]
    here = {one["number"]: one["sha256"] for one in again["parts"]}
    assert here == {number: hashlib.sha256(pieces[number - 1]).hexdigest() for number in (1, 3)}
    refused = page.ask("POST", f"{begun['address']}/complete")
    assert refused.status_code == 409
    assert "2" in refused.json()["detail"]
    for number in range(2, len(pieces) + 1):
        assert page.put(begun, number, pieces[number - 1]).status_code == 200
    told = page.settled(begun)
    assert (told["state"], told["instances"], told["failure"]) == ("taken", 40, "")
    assert told["order"] == f"/orders/{page.order}"
    assert bound_study(house, page.order) == uid
    shown = sam.get(f"/orders/{page.order}")
    assert uid in shown.text
    assert 'id="to-upload"' not in shown.answer.text
    assert "takes no upload" in sam.get(f"/orders/{page.order}/upload").text


def test_a_part_that_arrives_otherwise_is_refused_and_sent_again(house: PortalHouse, sam: Visitor) -> None:
    page = Page(sam)
    begun = page.begin(4)
    wrong = page.ask(
        "PUT",
        f"{begun['address']}/parts/1",
        content=b"ab1d",
        headers={"Content-Digest": f"sha-256=:{b64encode(hashlib.sha256(b'abcd').digest()).decode()}:"},
    )
    assert wrong.status_code == 422
    assert page.ask("GET", begun["address"]).json()["parts"] == []
    assert page.put(begun, 1, b"abcd").status_code == 200
    assert page.ask("DELETE", begun["address"]).json()["state"] == "aborted"


def test_other_files_are_told_and_may_take_the_place_of_those_before(sam: Visitor) -> None:
    page = Page(sam)
    begun = page.begin(10)
    refused = page.ask("POST", f"/orders/{page.order}/upload", data={"size": "11"})
    assert refused.status_code == 409
    assert "under way" in refused.json()["detail"]
    anew = page.begin(11, anew="yes")
    assert anew["address"] != begun["address"]
    assert page.ask("GET", begun["address"]).json()["state"] == "aborted"


def test_what_is_no_study_is_told_and_another_upload_may_follow(
    house: PortalHouse, sam: Visitor, study: tuple[str, bytes]
) -> None:
    before = len(house.engine.instance_files())
    page = Page(sam)
    content = b"%PDF-1.7 no study at all"
    begun = page.begin(len(content))
    assert page.put(begun, 1, content).status_code == 200
    told = page.settled(begun)
    assert told["state"] == "failed"
    assert told["failure"]
    shown = sam.get(f"/orders/{page.order}/upload")
    assert 'id="uploader"' in shown.answer.text
    assert "failed" in sam.get(f"/orders/{page.order}").text
    assert len(house.engine.instance_files()) == before
    assert page.begin(5)["state"] == "open"


def test_nobody_else_sees_or_touches_an_upload(house: PortalHouse, sam: Visitor) -> None:
    page = Page(sam)
    begun = page.begin(10)
    other = Page(house.person("sue", "submitter@st-johns"), "st-johns")
    viewer = house.person("vera", "viewer@st-marys")
    for method, path in (
        ("GET", begun["address"]),
        ("DELETE", begun["address"]),
        ("PUT", f"{begun['address']}/parts/1"),
        ("POST", f"{begun['address']}/complete"),
        ("POST", f"/orders/{page.order}/upload"),
    ):
        assert other.ask(method, path, content=b"size=10").status_code == 404
        csrf = viewer.get("/orders").answer.text.partition('data-csrf="')[2].partition('"')[0]
        refused = viewer.http.request(
            method, path, headers={"X-CSRF-Token": csrf, "Accept": "application/json"}
        )
        assert refused.status_code == 403
    mixed = begun["address"].replace(page.order, other.order, 1)
    assert other.ask("GET", mixed).status_code == 404
    own = Page(sam)
    mixed = f"/orders/{own.order}/upload/{begun['upload_id']}"
    assert own.ask("GET", mixed).status_code == 404, "of another order"
    assert page.ask("GET", begun["address"]).json()["state"] == "open"


def test_a_part_needs_the_token_of_the_page(sam: Visitor) -> None:
    page = Page(sam)
    begun = page.begin(4)
    forged = page.ask("PUT", f"{begun['address']}/parts/1", content=b"abcd", headers={"X-CSRF-Token": "x"})
    assert forged.status_code == 403
    elsewhere = page.ask(
        "PUT", f"{begun['address']}/parts/1", content=b"abcd", headers={"Origin": "http://evil.example"}
    )
    assert elsewhere.status_code == 403
    assert page.ask("GET", begun["address"]).json()["parts"] == []


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999", "1" * 40])
def test_a_part_has_a_number(sam: Visitor, number: str) -> None:
    page = Page(sam)
    begun = page.begin(4)
    answer = page.ask("PUT", f"{begun['address']}/parts/{number}", content=b"abcd")
    assert answer.status_code in (400, 409)
    assert page.ask("POST", f"/orders/{page.order}/upload", data={"size": number}).status_code in (
        400,
        409,
        413,
    )


# ── the archive that the page makes ─────────────────────────────────────────────────────────────


def made_by_the_page(folder: Path, step: int, target: Path, *more: str) -> zipfile.ZipFile:
    script = Path(__file__).with_name("archive.mjs")
    subprocess.run(
        [binary("node", "nodejs"), str(script), str(folder), str(step), str(target), *more],
        check=True,
        timeout=120,
    )
    return zipfile.ZipFile(target)


@pytest.mark.peers
def test_any_range_of_the_pages_archive_can_be_made_alone(tmp_path: Path) -> None:
    dice = random.Random(2)
    files = {
        "b/one.dcm": dice.randbytes(70_001),
        "a/Zoë 测试.dcm": dice.randbytes(3),
        "empty": b"",
        "z.json": b"{}",
        "a/two.dcm": dice.randbytes(1_100_000),
    }
    for name, content in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    whole = made_by_the_page(tmp_path / "in", 1 << 30, tmp_path / "whole.zip")
    assert whole.testzip() is None
    assert {one.filename: whole.read(one) for one in whole.infolist()} == files
    assert [one.filename for one in whole.infolist()] == sorted(files)
    for step in (1000, 4096, 65_537):
        made_by_the_page(tmp_path / "in", step, tmp_path / f"{step}.zip").close()
        assert (tmp_path / f"{step}.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


@pytest.mark.peers
def test_the_pages_archive_of_very_many_files_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "last").write_bytes(b"x")
    made = made_by_the_page(tmp_path / "in", 1 << 20, tmp_path / "many.zip", "70000")
    assert len(made.namelist()) == 70_001
    assert made.read("last") == b"x"
