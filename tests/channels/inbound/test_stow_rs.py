"""STOW-RS against a client nobody here wrote, and against raw requests, on a real server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from channels.inbound.stow_transaction import REASON
from engine.channel import Landing, Wait
from engine.errors import RejectedReason
from engine.model import Arrival, Receipt
from tests.peers.part10 import data_set_bytes

RELATED = 'multipart/related; type="application/dicom"; boundary=frontier'


def body(*parts: bytes, part_type: str = "application/dicom", closing: bytes = b"--frontier--\r\n") -> bytes:
    header = f"--frontier\r\nContent-Type: {part_type}\r\n\r\n".encode()
    return b"".join(header + part + b"\r\n" for part in parts) + closing


async def post(
    url: str, content: Any, *, content_type: str = RELATED, source: str = "127.0.0.1", **headers: str
) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(local_address=source)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, timeout=30) as client:
        return await client.post(url, content=content, headers={"Content-Type": content_type, **named})


def answered(response: httpx.Response) -> Dataset:
    assert response.headers["content-type"] == "application/dicom+json"
    return Dataset.from_json(response.json())


# ── a client nobody here wrote ──────────────────────────────────────────────────────────────────


@pytest.fixture
def datasets(real_study: Path) -> list[Dataset]:
    """The first forty instances of the real study."""
    return [pydicom.dcmread(file) for file in sorted(real_study.iterdir())[:40]]


async def test_dicomweb_client_brings_the_real_study(
    posting: Callable[..., Any], house: Any, datasets: list[Dataset]
) -> None:
    async with posting() as url:
        client = DICOMwebClient(url)
        answer = await asyncio.to_thread(client.store_instances, datasets)
        study = datasets[0].StudyInstanceUID
        again = await asyncio.to_thread(client.store_instances, datasets[:2], study)
    expected = [dataset.SOPInstanceUID for dataset in datasets]
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == expected
    assert "FailedSOPSequence" not in answer
    assert len(again.ReferencedSOPSequence) == 2  # duplicates are success
    assert {str(read.SOPInstanceUID): read for read in map(pydicom.dcmread, house.stored)} == {
        str(dataset.SOPInstanceUID): dataset for dataset in datasets
    }
    assert (house.landing, house.open_sessions) == ([], 0)


# ── what is stored ──────────────────────────────────────────────────────────────────────────────


async def test_several_parts_are_stored_byte_for_byte(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    contents = [instance(number, bulk=number * 400_000) for number in (1, 2, 3)]
    async with posting() as url:
        response = await post(f"{url}/studies", body(*contents))
    assert response.status_code == 200
    stored = [item.ReferencedSOPInstanceUID for item in answered(response).ReferencedSOPSequence]
    assert stored == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    assert [path.read_bytes() for path in house.stored] == contents  # the whole file, its meta included


async def test_a_body_in_single_bytes_is_stored(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    content = body(instance(1), instance(2))

    async def one_by_one() -> AsyncIterator[bytes]:
        for position in range(len(content)):
            yield content[position : position + 1]

    async with posting() as url:
        response = await post(f"{url}/studies", one_by_one())
    assert response.status_code == 200
    assert [data_set_bytes(path.read_bytes()) for path in house.stored] == [
        data_set_bytes(instance(1)),
        data_set_bytes(instance(2)),
    ]


async def test_the_study_of_the_path_must_be_that_of_the_instances(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        mixed = await post(f"{url}/studies/1.2.3", body(instance(1), instance(1, study="1.2.4")))
        wrong = await post(f"{url}/studies/1.2.5", body(instance(2)))
    assert mixed.status_code == 202
    assert [item.ReferencedSOPInstanceUID for item in answered(mixed).ReferencedSOPSequence] == ["1.2.3.1.1"]
    (failed,) = answered(mixed).FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.4.1.1", 0xA900)
    assert wrong.status_code == 409
    assert len(house.stored) == 1


async def test_an_answer_in_xml_is_given_to_who_asks(
    posting: Callable[..., Any], instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        response = await post(f"{url}/studies", body(instance()), accept="application/dicom+xml")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+xml"
    assert b'keyword="ReferencedSOPInstanceUID"' in response.content
    assert b"1.2.3.1.1" in response.content


async def test_a_conflicting_instance_is_refused_beside_a_new_one(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        await post(f"{url}/studies", body(instance(1)))
        response = await post(f"{url}/studies", body(instance(1, ImageComments="changed"), instance(2)))
    assert response.status_code == 202
    (failed,) = answered(response).FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.1.1", 0x0111)
    assert len(house.stored) == 2


# ── what is refused ─────────────────────────────────────────────────────────────────────────────

# Requests that are wrong as a whole: body, Content-Type, more headers, status, what it says.
REFUSED: list[tuple[str, Callable[[bytes], bytes], str, dict[str, str], int, str]] = [
    ("no body", lambda _: b"", RELATED, {}, 400, "closing boundary"),
    ("no parts", lambda _: b"--frontier--", RELATED, {}, 400, "no instance"),
    (
        "no boundary named",
        lambda i: body(i),
        'multipart/related; type="application/dicom"',
        {},
        400,
        "no boundary",
    ),
    (
        "another boundary",
        lambda i: body(i),
        RELATED.replace("frontier", "other"),
        {},
        400,
        "closing boundary",
    ),
    (
        "an impossible boundary",
        lambda i: body(i),
        RELATED.replace("frontier", '"a<b"'),
        {},
        400,
        "200 characters",
    ),
    (
        "a boundary beyond Latin-1",
        lambda i: body(i),
        RELATED.replace("boundary=frontier", "boundary*=utf-8''%C4%80"),
        {},
        400,
        "boundary",
    ),
    ("no closing boundary", lambda i: body(i, closing=b""), RELATED, {}, 400, "closing boundary"),
    ("not multipart", lambda i: i, "application/dicom", {}, 415, "multipart/related"),
    ("no Content-Type", lambda i: body(i), "", {}, 415, "multipart/related"),
    ("form data", lambda i: body(i), "multipart/form-data; boundary=frontier", {}, 415, "multipart/related"),
    (
        "metadata and bulk",
        lambda i: body(i),
        RELATED.replace("dicom", "dicom+json"),
        {},
        415,
        "application/dicom",
    ),
    ("a content encoding", lambda i: body(i), RELATED, {"content_encoding": "gzip"}, 415, "content encoding"),
    (
        "an answer we cannot give",
        lambda i: body(i),
        RELATED,
        {"accept": "text/html"},
        406,
        "application/dicom+json",
    ),
]


@pytest.mark.parametrize(
    ("make", "content_type", "headers", "status", "says"),
    [row[1:] for row in REFUSED],
    ids=[r[0] for r in REFUSED],
)
async def test_a_bad_request_is_refused_and_nothing_is_kept(
    posting: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    make: Callable[[bytes], bytes],
    content_type: str,
    headers: dict[str, str],
    status: int,
    says: str,
) -> None:
    async with posting() as url:
        response = await post(f"{url}/studies", make(instance()), content_type=content_type, **headers)
        assert response.status_code == status
        assert says in response.text
        assert (house.stored, house.landing, house.open_sessions) == ([], [], 0)
        assert (await post(f"{url}/studies", body(instance()))).status_code == 200  # and life goes on


def with_long_study_uid(make: Any) -> bytes:
    with pydicom.config.disable_value_validation():
        content: bytes = make(StudyInstanceUID="1." + "2" * 63)
    return content


# Parts that are wrong: content, its Content-Type, status, failure reason, whether its UIDs are told.
BAD_PARTS: list[tuple[str, Callable[[Any], bytes], str, int, int, bool]] = [
    ("zero bytes", lambda _: b"", "application/dicom", 409, 0xC000, False),
    ("not DICOM", lambda _: b"\x89PNG" * 99, "application/dicom", 409, 0xC000, False),
    ("no file meta", lambda make: data_set_bytes(make()), "application/dicom", 409, 0xC000, False),
    ("truncated", lambda make: make()[:-5], "application/dicom", 409, 0xC000, True),
    ("no study UID", lambda make: make(StudyInstanceUID=""), "application/dicom", 409, 0xA900, True),
    ("65 characters", with_long_study_uid, "application/dicom", 409, 0xA900, True),
    ("oversized", lambda make: make(bulk=5 << 20), "application/dicom", 413, 0xC000, True),
    ("a picture", lambda _: b"\xff\xd8\xff", "image/jpeg", 415, 0xC000, False),
    ("nested", lambda make: make(), "multipart/related; boundary=inner", 400, 0xC000, True),
]


@pytest.mark.parametrize(
    ("make", "part_type", "status", "reason", "identified"),
    [row[1:] for row in BAD_PARTS],
    ids=[r[0] for r in BAD_PARTS],
)
async def test_a_bad_part_is_refused_and_the_good_one_beside_it_is_stored(
    posting: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    make: Callable[[Any], bytes],
    part_type: str,
    status: int,
    reason: int,
    identified: bool,
) -> None:
    bad = make(instance)
    async with posting() as url:
        alone = await post(f"{url}/studies", body(bad, part_type=part_type))
        assert alone.status_code == status
        failures = answered(alone).FailedSOPSequence if identified else answered(alone).OtherFailuresSequence
        assert [item.FailureReason for item in failures] == [reason]
        if identified:
            assert failures[0].ReferencedSOPInstanceUID == "1.2.3.1.1"
        assert "Doe" not in alone.text + alone.headers["warning"]
        assert (house.stored, house.landing) == ([], [])

        both = await post(f"{url}/studies", body(bad, part_type=part_type, closing=b"") + body(instance(9)))
        assert both.status_code == 202
        assert [i.ReferencedSOPInstanceUID for i in answered(both).ReferencedSOPSequence] == ["1.2.3.1.9"]
    assert len(house.stored) == 1


def test_every_reason_has_its_failure_reason() -> None:
    assert set(REASON) == set(RejectedReason)


@pytest.mark.parametrize("study", ["1.2.x", "1" * 65, "..", "1..2"])
async def test_a_path_without_a_uid_is_refused(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], study: str
) -> None:
    async with posting() as url:
        response = await post(f"{url}/studies/{study.replace('..', '%2e%2e')}", body(instance()))
    assert response.status_code in (400, 404)
    assert house.stored == []


async def test_limits_of_a_request_are_kept(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async def chunked(content: bytes) -> AsyncIterator[bytes]:
        yield content

    large, many = body(instance(1, bulk=100_000)), body(*(instance(n) for n in (1, 2, 3)))
    async with posting(max_request="64kB") as url:
        told = await post(f"{url}/studies", large)
        untold = await post(f"{url}/studies", chunked(large))
    assert (told.status_code, untold.status_code) == (413, 413)
    assert (house.stored, house.landing) == ([], [])
    async with posting(max_parts=2) as url:
        assert (await post(f"{url}/studies", many)).status_code == 400
    async with posting(max_part_header="1kB") as url:
        assert (await post(f"{url}/studies", body(b"", part_type="x" * 2000))).status_code == 400


async def test_a_full_disk_and_a_draining_engine_ask_for_another_try(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting() as url:
        house.free[0] = 0
        full = await post(f"{url}/studies", body(instance()))
        house.free[0] = 1 << 40
        house.intake.drain()
        draining = await post(f"{url}/studies", body(instance()))
    assert (full.status_code, draining.status_code) == (507, 503)
    for response in (full, draining):
        assert int(response.headers["retry-after"]) > 0
        (failed,) = answered(response).FailedSOPSequence
        assert failed.FailureReason == 0xA700
    assert (house.stored, house.landing) == ([], [])


async def test_only_sites_may_store(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with posting() as url:
        unknown = await post(f"{url}/studies", body(instance()), source="127.0.0.9")
        known = await post(f"{url}/studies", body(instance()), source="127.0.0.2")
    assert (unknown.status_code, known.status_code) == (403, 200)
    (line,) = [record for record in caplog.records if record.getMessage() == "unknown peer"]
    assert line.__dict__["pons"]["remote_address"] == "127.0.0.9"
    async with posting(site="st-marys") as url:
        assert (await post(f"{url}/studies", body(instance()), source="127.0.0.2")).status_code == 403
        assert (await post(f"{url}/studies", body(instance()), source="127.0.0.1")).status_code == 200
    assert [path.relative_to(house.data / "instances").parts[0] for path in house.stored] == [
        "st-marys",
        "web-only",
    ]


async def test_only_post_is_served(posting: Callable[..., Any]) -> None:
    async with posting(path="/site-a/dicom-web") as url, httpx.AsyncClient() as client:
        base = url.removesuffix("/dicomweb")
        assert (await client.get(f"{base}/site-a/dicom-web/studies")).status_code == 405
        assert (await client.post(f"{base}/dicomweb/studies")).status_code == 404


# ── clients that go away, or come slowly ────────────────────────────────────────────────────────


class Slow:
    """A client that writes its request by hand."""

    def __init__(self, url: str, length: int = 10_000_000) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self.socket = socket.create_connection((where.hostname, where.port or 80), timeout=10)
        head = f"POST {where.path}/studies HTTP/1.1\r\nHost: x\r\nContent-Type: {RELATED}\r\n"
        self.socket.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())

    def status(self) -> int:
        return int(self.socket.recv(4096).split()[1])


async def test_a_client_that_goes_away_leaves_what_was_stored_and_nothing_else(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes], eventually: Callable[..., Any]
) -> None:
    content = body(instance(1), closing=b"") + body(instance(2, bulk=3 << 20))
    async with posting() as url:
        with (await asyncio.to_thread(Slow, url)).socket as client:
            await asyncio.to_thread(client.sendall, content[:-100_000])
            # the study is not stable while its request is open
            await eventually(lambda: house.open_sessions == 1 and len(house.landing) == 1)
        await eventually(lambda: not house.landing and not house.open_sessions)
    assert [path.name.split("-")[0] for path in house.stored] == ["1.2.3.1.1"]


async def test_a_silent_client_is_answered_and_dropped(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    async with posting(receive_timeout="200ms") as url:
        client = await asyncio.to_thread(Slow, url)
        client.socket.sendall(body(instance())[:200])
        assert await asyncio.to_thread(client.status) == 408
        client.socket.close()
    assert (house.stored, house.landing, house.open_sessions) == ([], [], 0)


async def test_a_trickling_client_is_answered_and_dropped(
    posting: Callable[..., Any], house: Any, instance: Callable[..., bytes]
) -> None:
    def trickle(url: str) -> int:
        client = Slow(url)
        with client.socket:
            client.socket.settimeout(0.02)
            for byte in body(instance(bulk=100_000)):
                client.socket.sendall(bytes([byte]))
                try:
                    return client.status()
                except TimeoutError:
                    continue
        raise AssertionError("the whole body was taken, one byte at a time")

    async with posting(receive_timeout="300ms", min_rate="1MB") as url:
        assert await asyncio.to_thread(trickle, url) == 408
    assert (house.stored, house.landing) == ([], [])


class FailingIntake:
    """A fault: a disk that breaks under the landing, a store that breaks after it."""

    def __init__(self, real: Any, breaks: str) -> None:
        self._real = real
        self._breaks = breaks

    def land(self) -> Landing:
        landing: Landing = self._real.land()
        if self._breaks == "disk":
            landing.write = self._fail  # type: ignore[method-assign]  # the fault itself
        return landing

    def _fail(self, *_: object) -> None:
        raise OSError(5, "Input/output error on Doe^Jane")

    def accept_now(self, arrival: Arrival, wait: Wait) -> Receipt:
        raise RuntimeError("Doe^Jane broke the database")

    def leave(self, session: str) -> None:
        self._real.leave(session)

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize("breaks", ["disk", "database"])
async def test_a_defect_is_told_apart_and_leaks_nothing(
    posting: Callable[..., Any],
    house: Any,
    instance: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    breaks: str,
) -> None:
    house.intake = FailingIntake(house.intake, breaks)
    async with posting() as url:
        response = await post(f"{url}/studies", body(instance()))
    assert response.status_code == 500
    (failed,) = answered(response).FailedSOPSequence
    assert failed.FailureReason == 0x0110
    assert "Doe" not in response.text + response.headers["warning"]
    assert house.landing == []
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "Doe" not in line.getMessage() + str(line.__dict__["pons"])
