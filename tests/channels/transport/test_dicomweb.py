"""STOW-RS towards servers that store, store in part, refuse, are busy, and say too little."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from channels.transport import dicomweb
from channels.transport.http import Endpoint
from engine.errors import Refused, TryAgain
from engine.model import Part
from tests.contract import instances
from tests.contract.scp import bare_server
from tests.contract.web import Seen, WebPeer, in_turn, receiving
from tests.peers.orthanc import Orthanc
from tests.peers.part10 import data_set_bytes

DICOM_JSON = "application/dicom+json; charset=utf-8"  # a parameter that not every client expects


def sop(uid: str, **reasons: int) -> dict[str, Any]:
    tags = {"failure": "00081197", "warning": "00081196"}
    return {
        "00081155": {"vr": "UI", "Value": [uid]},
        **{tags[kind]: {"vr": "US", "Value": [reason]} for kind, reason in reasons.items()},
    }


def stored(
    status: int = 200,
    done: list[dict[str, Any]] | None = None,
    failed: list[dict[str, Any]] | None = None,
    *,
    as_list: bool = False,
) -> Response:
    document: dict[str, Any] = {}
    if done is not None:
        document["00081199"] = {"vr": "SQ", "Value": done}
    if failed is not None:
        document["00081198"] = {"vr": "SQ", "Value": failed}
    return Response(json.dumps([document] if as_list else document), status, media_type=DICOM_JSON)


def endpoint(peer: WebPeer, timeout: float = 10.0) -> Endpoint:
    return Endpoint(f"{peer.url}/dicom-web", timeout=timeout)


PARTS = [instances.part(1), instances.part(2)]
ONE, TWO = "1.2.3.4.1", "1.2.3.4.2"


@pytest.mark.parametrize(
    ("response", "code", "warning"),
    [
        (stored(done=[sop(ONE), sop(TWO)]), "200", ""),
        (stored(done=[sop(ONE), sop(TWO)], as_list=True), "200", ""),
        (Response(status_code=200), "200", ""),  # says all by its status alone
        (Response("<html>fine</html>", 200), "200", ""),
        (
            stored(202, [sop(ONE, warning=0xB000), sop(TWO)]),
            "202",
            "1 of 2: B000 (coercion of data elements)",
        ),
        # a repetition, as some servers report it
        (
            stored(202, [sop(ONE)], [sop(TWO, failure=0x0111)]),
            "202",
            "1 of 2: 0111 (the peer holds this instance already)",
        ),
        (
            stored(409, failed=[sop(ONE, failure=0x0111), sop(TWO, failure=0x0111)]),
            "409",
            "2 of 2: 0111 (the peer holds this instance already)",
        ),
    ],
)
async def test_an_answer_for_every_instance_is_success(response: Response, code: str, warning: str) -> None:
    with receiving(in_turn(response)) as peer:
        answer = await dicomweb.store(endpoint(peer), PARTS)

    assert (answer.code, answer.warning, answer.detail) == (code, warning, "2 instances stored")


@pytest.mark.parametrize(
    ("response", "error", "code"),
    [
        (stored(202, [sop(ONE)], [sop(TWO, failure=0xA700)]), TryAgain, "A700"),
        (stored(202, [sop(ONE)], [sop(TWO, failure=0x0110)]), TryAgain, "0110"),
        (stored(202, [sop(ONE)], [sop(TWO, failure=0xA900)]), Refused, "A900"),
        (stored(202, [sop(ONE)], [sop(TWO, failure=0x0122)]), Refused, "0122"),
        (stored(202, [sop(ONE)], [sop(TWO)]), TryAgain, "0110"),  # failed without a reason
        (stored(200, [sop(ONE)], [sop(TWO, failure=0xC000)]), Refused, "C000"),  # 200 and yet not all
        (stored(409, failed=[sop(ONE, failure=0x0124), sop(TWO, failure=0xA701)]), TryAgain, "A701"),
        (stored(409, failed=[sop(ONE, failure=0x0122), sop(TWO, failure=0x0122)]), Refused, "0122"),
        (stored(409), Refused, "409"),
        (stored(202, [sop(ONE)]), TryAgain, "202"),  # no word on the other one
        (stored(200, [sop(ONE)]), TryAgain, "200"),
        (Response(status_code=202), TryAgain, "202"),  # accepted, but what?
        (Response(status_code=400), Refused, "400"),
        (Response(status_code=401), Refused, "401"),
        (Response(status_code=403), Refused, "403"),
        (Response(status_code=415), Refused, "415"),
        (Response(status_code=302, headers={"Location": "/"}), Refused, "302"),
        (Response(status_code=429, headers={"Retry-After": "9"}), TryAgain, "429"),
        (Response(status_code=500), TryAgain, "500"),
        (Response(status_code=503, headers={"Retry-After": "9"}), TryAgain, "503"),
    ],
)
async def test_less_than_that_is_not(response: Response, error: type[TryAgain | Refused], code: str) -> None:
    with receiving(in_turn(response)) as peer, pytest.raises(error) as caught:
        await dicomweb.store(endpoint(peer), PARTS)

    assert caught.value.code == code
    if "retry-after" in response.headers:
        assert isinstance(caught.value, TryAgain)
        assert caught.value.after == 9


async def test_the_files_arrive_byte_for_byte_in_one_multipart_request(tmp_path: Path) -> None:
    tricky = instances.file(
        ONE, body=instances.data_set(ONE, tail=instances.element(9, 2, b"UN", b"\r\n--\r\n"))
    )
    path = tmp_path / "2.dcm"
    path.write_bytes(instances.file(TWO))
    parts = [Part(ONE, "application/dicom", tricky), Part(TWO, "application/dicom", path)]

    with receiving(in_turn(Response())) as peer:
        await dicomweb.store(endpoint(peer), parts)

    [seen] = peer.seen
    assert (seen.method, seen.path) == ("POST", "/dicom-web/studies")
    assert seen.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert seen.headers["accept"] == "application/dicom+json"
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert seen.parts() == [tricky, path.read_bytes()]


async def test_many_instances_go_in_requests_of_at_most_a_hundred_and_all_are_accounted_for() -> None:
    sent = [instances.part(number) for number in range(250)]

    def respond(seen: Seen) -> Response:
        parts = seen.parts()
        uids = [part.identifier for part in sent if part.content in parts]
        return stored(done=[sop(uid) for uid in uids])

    with receiving(respond) as peer:
        answer = await dicomweb.store(endpoint(peer), sent)

    assert [len(seen.parts()) for seen in peer.seen] == [100, 100, 50]
    assert answer.detail == "250 instances stored"


async def test_a_failing_batch_in_the_middle_stops_the_attempt() -> None:
    busy = Response(status_code=503)
    with receiving(in_turn(Response(), busy)) as peer, pytest.raises(TryAgain):
        await dicomweb.store(endpoint(peer), [instances.part(number) for number in range(250)])

    assert len(peer.seen) == 2


async def test_a_silent_server_costs_no_more_than_the_timeout() -> None:
    with receiving(in_turn(Response()), hold=True) as peer:
        started = time.monotonic()
        with pytest.raises(TryAgain) as caught:
            await dicomweb.store(endpoint(peer, timeout=0.5), PARTS)
        elapsed = time.monotonic() - started

    assert caught.value.code == "timeout"
    assert elapsed < 5


async def test_a_server_that_hangs_up_is_tried_again() -> None:
    async def converse(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with bare_server(converse) as port:
        with pytest.raises(TryAgain) as caught:
            await dicomweb.store(Endpoint(f"http://127.0.0.1:{port}"), PARTS)

    assert caught.value.code == "connection"


async def test_a_large_file_is_streamed_in_constant_memory(tmp_path: Path) -> None:
    size = 256 << 20
    path = tmp_path / "large.dcm"
    head = instances.file(ONE, body=b"") + struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OB", size)
    path.write_bytes(head)
    os.truncate(path, len(head) + size)
    received = []

    async def converse(reader: Any, writer: Any) -> None:
        header = await reader.readuntil(b"\r\n\r\n")
        length = int(header.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        left = length
        while left:
            left -= len(await reader.read(min(left, 1 << 16)))
        received.append(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with bare_server(converse) as port:
        tracemalloc.start()
        await dicomweb.store(
            Endpoint(f"http://127.0.0.1:{port}", timeout=60), [Part(ONE, "application/dicom", path)]
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert received[0] > size
    assert peak < 32 << 20


async def test_what_is_no_dicom_file_is_refused_before_anybody_is_called() -> None:
    with receiving(in_turn(Response())) as peer, pytest.raises(Refused, match="no DICOM file"):
        await dicomweb.store(endpoint(peer), [Part(ONE, "application/dicom", b"PK")])

    assert peer.seen == []


async def test_nothing_to_send_is_not_called_delivered() -> None:
    with pytest.raises(Refused):
        await dicomweb.store(Endpoint("http://127.0.0.1:1"), [])


@pytest.mark.parametrize(
    ("status", "alive"), [(200, True), (204, True), (404, True), (401, False), (503, False)]
)
async def test_a_probe_asks_for_a_study_that_nobody_has(status: int, alive: bool) -> None:
    with receiving(in_turn(Response(status_code=status))) as peer:
        if alive:
            await dicomweb.probe(endpoint(peer))
        else:
            with pytest.raises((TryAgain, Refused)):
                await dicomweb.probe(endpoint(peer))

    assert peer.seen[0].path == "/dicom-web/studies?StudyInstanceUID=2.25.0&limit=1"


@pytest.fixture
def some_real_files(real_study_of_dcmtk: Path) -> list[Path]:
    return sorted(real_study_of_dcmtk.glob("*.dcm"))[:120]


@pytest.mark.peers
async def test_orthanc_keeps_what_was_posted_bit_for_bit(
    orthanc: Callable[..., Orthanc], some_real_files: list[Path]
) -> None:
    peer = orthanc("RECEIVER")
    parts = [Part(path.stem, "application/dicom", path) for path in some_real_files]

    await dicomweb.probe(Endpoint(peer.dicomweb_url))
    answer = await dicomweb.store(Endpoint(peer.dicomweb_url, timeout=60), parts)

    assert answer.detail == "120 instances stored"
    assert sorted(map(data_set_bytes, peer.files())) == sorted(
        data_set_bytes(path.read_bytes()) for path in some_real_files
    )
