"""Bad input by C-STORE and by STOW-RS: a clear refusal, nothing kept, and the engine serves on."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from examples.demo.senders import held_reactor
from tests.e2e.engine import Engine, running_engine
from tests.e2e.studies import PERSON, small_study
from tests.peers import dcmtk
from tests.peers.part10 import data_set_bytes
from tests.peers.process import wait_until

pytestmark = pytest.mark.peers

LIMIT = 1024 * 1024


def table(dicom_port: int) -> dict[str, Any]:
    return {
        "assembly": {"stable_after": "1s"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "ae_titles": ["STORESCU", "BAD_SCU"],
                "addresses": ["127.0.0.1"],
            }
        },
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": "nothing matched", "otherwise": True, "hold": "no route matched"}],
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Engine]:
    """One engine for the whole table: each row must leave it as it was."""
    dicom_port = free_port()
    with running_engine(
        tmp_path_factory.mktemp("engine"),
        free_port(),
        dicom_port,
        table(dicom_port),
        engine={"max_instance": "1MB"},
        patient_data=PERSON.words,
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def good(real_study: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that is fine, of an invented person."""
    [path] = small_study(real_study, tmp_path_factory.mktemp("good"), instances=1)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _nothing_is_kept_and_the_engine_serves_on(engine: Engine, good: bytes, tmp_path: Path) -> Iterator[None]:
    """After each row: no row, no file, healthy, and a good instance is still taken."""
    before = (engine.metrics()["pons_instances_total"], engine.instance_files())
    yield
    assert (engine.metrics()["pons_instances_total"], engine.instance_files()) == before
    assert engine.landing_files() == []
    assert engine.healthy()
    fresh = pydicom.dcmread(io.BytesIO(good))
    fresh.SOPInstanceUID = fresh.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    path = tmp_path / "good.dcm"
    fresh.save_as(path, enforce_file_format=True)
    sent = dcmtk.storescu(engine.dicom_port, [path])
    assert sent.acknowledged == ["good.dcm"], sent.output
    assert len(engine.instance_files()) == len(before[1]) + 1


def edited(good: bytes, **values: str | None) -> bytes:
    """The good file with elements set or, where None, removed; written without any check."""
    instance = pydicom.dcmread(io.BytesIO(good))
    with io.BytesIO() as written:
        for keyword, value in values.items():
            if value is None:
                delattr(instance, keyword)
            else:
                tag = pydicom.datadict.tag_for_keyword(keyword)
                assert tag is not None
                element = pydicom.DataElement(tag, "UI", value, validation_mode=pydicom.config.IGNORE)
                instance[keyword] = element
        instance.save_as(written, enforce_file_format=True)
        return written.getvalue()


def meta(good: bytes) -> bytes:
    """Preamble, prefix and file meta of the good file."""
    return good[: len(good) - len(data_set_bytes(good))]


def oversized(good: bytes) -> bytes:
    """The good file with pixel data past the limit."""
    instance = pydicom.dcmread(io.BytesIO(good))
    instance.PixelData = bytes(LIMIT + 1)
    with io.BytesIO() as written:
        instance.save_as(written, enforce_file_format=True)
        return written.getvalue()


LONG_UID = "1.2." + "3" * 61  # 65 characters
assert len(LONG_UID) == 65


@dataclass(frozen=True)
class Bad:
    """A file gone bad, and what each protocol says of it."""

    make: Callable[[bytes], bytes]
    dimse: tuple[int, ...]  # statuses of C-STORE that are a clear refusal
    reason: int | None  # FailureReason in the FailedSOPSequence of STOW-RS; None: none can be told


# Statuses: PS3.4 table B.2-1 (Cxxx cannot understand, A9xx does not match SOP class), PS3.7 annex C;
# failure reasons: PS3.18 table I.2-2 and CP-1966 as the statuses of C-STORE.
FILES = {
    "truncated inside an element": Bad(lambda good: good[:-5000], tuple(range(0xC000, 0xD000)), 0xC000),
    "truncated inside the header": Bad(
        lambda good: meta(good) + data_set_bytes(good)[:301], tuple(range(0xC000, 0xD000)), 0xC000
    ),
    "data set is noise": Bad(
        lambda good: meta(good) + os.urandom(4000), tuple(range(0xC000, 0xD000)), 0xC000
    ),
    "data set is text": Bad(
        lambda good: meta(good) + b"this is not dicom, whatever the header says\n" * 50,
        tuple(range(0xC000, 0xD000)),
        0xC000,
    ),
    "no study instance uid": Bad(
        lambda good: edited(good, StudyInstanceUID=None), tuple(range(0xA900, 0xAA00)), 0xA900
    ),
    "study instance uid of 65 characters": Bad(
        lambda good: edited(good, StudyInstanceUID=LONG_UID), tuple(range(0xA900, 0xAA00)), 0xA900
    ),
    "series instance uid with letters": Bad(
        lambda good: edited(good, SeriesInstanceUID="1.2.x.4"), tuple(range(0xA900, 0xAA00)), 0xA900
    ),
    "study instance uid is a path": Bad(
        lambda good: edited(good, StudyInstanceUID="../../etc"), tuple(range(0xA900, 0xAA00)), 0xA900
    ),
    "oversized": Bad(oversized, tuple(range(0xC000, 0xD000)), None),
}


@contextlib.contextmanager
def associated(port: int, **options: Any) -> Iterator[Association]:
    """An association of pynetdicom's, released and closed at the end."""
    ae = AE("BAD_SCU")
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="PONS", **options)
    assert association.is_established
    assert association.dul.socket is not None
    connection = association.dul.socket.socket
    assert connection is not None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(10)
        connection.close()  # pynetdicom leaves it open when the peer hangs up first


@pytest.mark.parametrize("what", FILES)
def test_c_store_refuses(
    engine: Engine, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Sent raw by pynetdicom's chunked sender, which looks at nothing but the file meta."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    bad = FILES[what]
    path = tmp_path / "bad.dcm"
    path.write_bytes(bad.make(good))
    with associated(engine.dicom_port) as association:
        with held_reactor(association):
            status = association.send_c_store(path)
        alive = association.is_established

    assert "Status" in status, "no response: the association was lost"
    assert status.Status in bad.dimse, hex(status.Status)
    assert status.get("ErrorComment"), "a refusal without a word"
    assert not [word for word in PERSON.words if word in status.ErrorComment]
    assert alive, "the association must survive a bad instance"


def test_c_store_refuses_an_empty_data_set(engine: Engine) -> None:
    """No sender will send nothing, so the request is made by hand: a command that announces a data
    set, and a last data set fragment (PS3.8 E.2) without a byte."""
    statuses: list[int] = []
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = MRImageStorage
    request.AffectedSOPInstanceUID = generate_uid()
    request.DataSet = io.BytesIO(b"")
    listen = (evt.EVT_DIMSE_RECV, lambda event: statuses.append(event.message.command_set.Status))

    with associated(engine.dicom_port, evt_handlers=[listen]) as association:
        [context] = association.accepted_contexts
        assert context.context_id is not None
        nothing = P_DATA()
        nothing.presentation_data_value_list.append((context.context_id, b"\x02"))
        association.dimse.send_msg(request, context.context_id)
        association.dul.send_pdu(nothing)
        wait_until(lambda: statuses, "a response to the empty data set")

    assert len(statuses) == 1
    assert statuses[0] in {*range(0xA900, 0xAA00), *range(0xC000, 0xD000)}, hex(statuses[0])


def post(
    engine: Engine, body: bytes, content_type: str | None, *, accept: str = "application/dicom+json"
) -> httpx.Response:
    headers = {"Accept": accept} | ({"Content-Type": content_type} if content_type else {})
    return httpx.post(
        f"{engine.url}/dicomweb/studies", content=body, headers=headers, timeout=60, trust_env=False
    )


MULTIPART = 'multipart/related; type="application/dicom"; boundary=zone'


def part(file: bytes, content_type: str = "application/dicom") -> bytes:
    return b"--zone\r\nContent-Type: " + content_type.encode() + b"\r\n\r\n" + file + b"\r\n"


@pytest.mark.parametrize("what", [name for name, bad in FILES.items() if bad.reason is not None])
def test_stow_refuses_the_instance_with_its_reason(engine: Engine, good: bytes, what: str) -> None:
    bad = FILES[what]

    answer = post(engine, part(bad.make(good)) + b"--zone--\r\n", MULTIPART)

    assert answer.status_code in {400, 409}, answer.text
    assert not [word for word in PERSON.words if word in answer.text]
    failed = answer.json()["00081198"]["Value"]
    assert len(failed) == 1
    assert failed[0]["00081197"]["Value"][0] == bad.reason
    assert "00081199" not in answer.json()


# What can only be wrong in HTTP or in a whole file: body, Content-Type, statuses that say so.
BODIES: dict[str, tuple[Callable[[bytes], bytes], str | None, set[int]]] = {
    "no file meta": (lambda good: part(data_set_bytes(good)) + b"--zone--\r\n", MULTIPART, {400, 409}),
    "not dicom": (lambda good: part(b"GIF89a" + bytes(500)) + b"--zone--\r\n", MULTIPART, {400, 409}),
    "zero bytes in a part": (lambda good: part(b"") + b"--zone--\r\n", MULTIPART, {400, 409}),
    "zero bytes at all": (lambda good: b"", MULTIPART, {400}),
    "no part at all": (lambda good: b"--zone--\r\n", MULTIPART, {400}),
    "a body cut off inside a part": (lambda good: part(good)[:-6000], MULTIPART, {400}),
    "boundary missing": (
        lambda good: part(good) + b"--zone--\r\n",
        'multipart/related; type="application/dicom"',
        {400, 415},
    ),
    "boundary that does not occur": (
        lambda good: part(good) + b"--zone--\r\n",
        'multipart/related; type="application/dicom"; boundary=elsewhere',
        {400},
    ),
    "not multipart": (lambda good: good, "application/dicom", {415}),
    "form data": (lambda good: part(good) + b"--zone--\r\n", "multipart/form-data; boundary=zone", {415}),
    "of another type": (
        lambda good: part(good, "image/jpeg") + b"--zone--\r\n",
        'multipart/related; type="image/jpeg"; boundary=zone',
        {415},
    ),
    "no content type": (lambda good: part(good) + b"--zone--\r\n", None, {400, 415}),
    "oversized": (lambda good: part(oversized(good)) + b"--zone--\r\n", MULTIPART, {413}),
}


@pytest.mark.parametrize("what", BODIES)
def test_stow_refuses_the_request(engine: Engine, good: bytes, what: str) -> None:
    make, content_type, expected = BODIES[what]

    answer = post(engine, make(good), content_type)

    assert answer.status_code in expected, f"{answer.status_code} {answer.text[:500]}"
    assert not [word for word in PERSON.words if word in answer.text]


def test_stow_refuses_an_instance_of_another_study_than_the_one_in_the_path(
    engine: Engine, good: bytes
) -> None:
    answer = httpx.post(
        f"{engine.url}/dicomweb/studies/1.2.3.4",
        content=part(good) + b"--zone--\r\n",
        headers={"Content-Type": MULTIPART, "Accept": "application/dicom+json"},
        timeout=60,
        trust_env=False,
    )

    assert answer.status_code == 409
    [failed] = answer.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"]


def test_a_peer_that_talks_http_to_the_dicom_port_is_cut_off(engine: Engine) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{engine.dicom_port}/", timeout=30, trust_env=False)
