"""Senders that break off, pause or start again: each ends in one whole study, decided once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from examples.demo.senders import held_reactor
from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of

pytestmark = pytest.mark.peers

INSTANCES, QUIET = 8, 3.0


@pytest.fixture
def engine(engine_process: Callable[..., Engine]) -> Engine:
    def table(dicom_port: int) -> dict[str, Any]:
        return {
            "assembly": {"stable_after": f"{QUIET:g}s"},
            "sites": {"st-marys": {"ae_titles": ["SCANNER"], "addresses": ["127.0.0.1"]}},
            "inbound": {
                "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
                "web": {"type": "stow_rs"},
            },
            "routes": [{"name": "rest", "otherwise": True, "hold": "nothing to do"}],
        }

    return engine_process(table, patient_data=PERSON.words)


@pytest.fixture
def files(real_study: Path, tmp_path: Path) -> list[Path]:
    return small_study(real_study, tmp_path / "study", instances=INSTANCES)


def associate(engine: Engine, files: list[Path]) -> Association:
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    context = build_context(first.SOPClassUID, [first.file_meta.TransferSyntaxUID])
    association = AE("SCANNER").associate("127.0.0.1", engine.dicom_port, [context], ae_title="PONS")
    assert association.is_established
    return association


def store(association: Association, files: list[Path]) -> None:
    for path in files:
        with held_reactor(association):
            assert association.send_c_store(pydicom.dcmread(path)).Status == 0x0000


def decided_once(engine: Engine, files: list[Path]) -> None:
    study = engine.wait_for_study(study=study_of(files[0]), state="held")
    assert (study["instances"], study["revision"]) == (INSTANCES, 1)
    assert len(engine.instance_files()) == INSTANCES
    assert engine.landing_files() == []
    told = [event["what"] for event in engine.trace(study_of(files[0]))]
    assert told.count("stable") == 1


def test_an_association_that_breaks_in_an_instance_does_not_swallow_the_study_sent_again(
    engine: Engine, files: list[Path]
) -> None:
    association = associate(engine, files)
    store(association, files[:3])
    wire = association.dul.socket.socket
    wire.sendall(b"\x04\x00\x00\x01\x00\x00\x00\x00\xff\xfa\x01\x02half an instance")  # a P-DATA-TF, cut off
    wire.shutdown(socket.SHUT_RDWR)
    association.abort()
    wire.close()  # pynetdicom leaves a broken socket to the garbage collector
    again = associate(engine, files)
    store(again, files)
    again.release()
    decided_once(engine, files)
    assert engine.studies()[0]["duplicates"] == 3


def test_an_upload_that_breaks_off_does_not_swallow_the_study_sent_again(
    engine: Engine, files: list[Path]
) -> None:
    parts = [
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n" for path in files
    ]
    head = (
        "POST /dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n'
        f"Content-Length: {sum(map(len, parts)) + 5}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", engine.http_port), timeout=10) as wire:
        wire.sendall(head.encode() + b"".join(parts[:3]) + parts[3][: len(parts[3]) // 2])
    session = create_session()
    DICOMwebClient(f"{engine.url}/dicomweb", session).store_instances([pydicom.dcmread(one) for one in files])
    session.close()
    decided_once(engine, files)


def test_a_sender_that_pauses_inside_its_association_has_one_study(engine: Engine, files: list[Path]) -> None:
    association = associate(engine, files)
    store(association, files[:4])
    time.sleep(QUIET * 2)  # longer than it takes to be stable, were the association not open
    assert engine.studies()[0]["state"] == "receiving"
    store(association, files[4:])
    association.release()
    decided_once(engine, files)
