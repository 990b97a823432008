"""Senders that nobody here wrote bring the real study, and the engine keeps it byte for byte.

One engine serves them all at once; each sender is a site of its own, told apart by its AE title
or, where the protocol has none, by its address.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from requests.adapters import HTTPAdapter

from tests.e2e.engine import Engine, running_engine
from tests.e2e.studies import data_sets
from tests.peers import dcmtk
from tests.peers.orthanc import Orthanc
from tests.peers.part10 import data_set_bytes

pytestmark = pytest.mark.peers

# Who sends, and the address it sends from: HTTP has no AE title to tell sites apart.
SITES: dict[str, dict[str, Any]] = {
    "storescu": {"ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]},
    "dcmsend": {"ae_titles": ["DCMSEND"], "addresses": ["127.0.0.1"]},
    "orthanc": {"ae_titles": ["ORTHANC"], "addresses": ["127.0.0.1"]},
    "dicomweb-client": {"addresses": ["127.0.0.2"]},
    "scanner": {"addresses": ["127.0.0.3"]},
}


def table(dicom_port: int) -> dict[str, Any]:
    return {
        "assembly": {"stable_after": "2s"},
        "sites": {key: {"name": key, **facts} for key, facts in SITES.items()},
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
            "web": {"type": "stow_rs"},
        },
        "routes": [{"name": "nothing matched", "otherwise": True, "hold": "no route matched"}],
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Engine]:
    dicom_port = free_port()
    with running_engine(
        tmp_path_factory.mktemp("engine"), free_port(), dicom_port, table(dicom_port)
    ) as engine:
        yield engine


class From(HTTPAdapter):
    """Requests that leave from one loopback address."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


def test_storescu_brings_the_real_study(engine: Engine, real_study_of_dcmtk: Path) -> None:
    sent = dcmtk.storescu(engine.dicom_port, [real_study_of_dcmtk])

    assert sent.exit_status == 0, sent.output[-2000:]
    assert len(sent.acknowledged) == 260
    assert data_sets(engine.instance_files("storescu")) == data_sets(list(real_study_of_dcmtk.iterdir()))


def test_dcmsend_brings_the_real_study(engine: Engine, real_study_of_dcmtk: Path) -> None:
    sent = dcmtk.dcmsend(engine.dicom_port, [real_study_of_dcmtk])

    assert sent.exit_status == 0, sent.output[-2000:]
    assert data_sets(engine.instance_files("dcmsend")) == data_sets(list(real_study_of_dcmtk.iterdir()))


def test_orthanc_brings_the_real_study_from_its_modality_store(
    engine: Engine, orthanc: Callable[..., Orthanc], real_study_of_dcmtk: Path
) -> None:
    peer = orthanc("ORTHANC", modalities={"pons": ("PONS", engine.dicom_port)})
    assert peer.echo("pons")
    instances = peer.upload(sorted(real_study_of_dcmtk.iterdir()))

    job = peer.store("pons", instances)

    assert job["State"] == "Success", job
    assert job["Content"]["FailedInstancesCount"] == 0
    assert data_sets(engine.instance_files("orthanc")) == data_sets(list(real_study_of_dcmtk.iterdir()))


def test_dicomweb_client_posts_the_real_study(engine: Engine, real_study: Path) -> None:
    instances = [pydicom.dcmread(path) for path in sorted(real_study.iterdir())]
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", From("127.0.0.2"))
    client = DICOMwebClient(f"{engine.url}/dicomweb", session=session)

    stored = client.store_instances(instances, study_instance_uid=instances[0].StudyInstanceUID)
    session.close()

    assert "FailedSOPSequence" not in stored
    referenced = {item.ReferencedSOPInstanceUID for item in stored.ReferencedSOPSequence}
    assert referenced == {instance.SOPInstanceUID for instance in instances}
    posted = {}
    for instance in instances:
        with io.BytesIO() as encoded:  # as the client encodes it
            pydicom.dcmwrite(encoded, instance)
            posted[str(instance.SOPInstanceUID)] = data_set_bytes(encoded.getvalue())
    assert data_sets(engine.instance_files("dicomweb-client")) == posted


def test_the_scanners_own_files_posted_by_stow_are_kept_as_they_are(engine: Engine, real_study: Path) -> None:
    """Sequences and items of undefined length included, which DCMTK would not send."""
    files = sorted(real_study.iterdir())
    body = b"".join(
        b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n" for path in files
    )
    transport = httpx.HTTPTransport(local_address="127.0.0.3")
    with httpx.Client(transport=transport, timeout=120) as client:
        answer = client.post(
            f"{engine.url}/dicomweb/studies",
            content=body + b"--zone--\r\n",
            headers={
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=zone',
                "Accept": "application/dicom+json",
            },
        )

    assert answer.status_code == 200
    assert len(json.loads(answer.text)["00081199"]["Value"]) == 260
    kept = data_sets(engine.instance_files("scanner"))
    assert sorted(kept.values()) == sorted(data_set_bytes(path.read_bytes()) for path in files)


def test_every_sender_has_one_study_and_it_is_listed(engine: Engine) -> None:
    for site in SITES:
        study = engine.wait_for_study(site=site, state="held")
        assert (study["instances"], study["revision"]) == (260, 1)
    assert len(engine.studies()) == len(SITES)
    assert engine.landing_files() == []


@pytest.mark.parametrize(
    ("calling", "called", "said"),
    [
        ("NOBODY", "PONS", "Calling AE Title Not Recognized"),  # no site has this title
        ("STORESCU", "OTHER", "Called AE Title Not Recognized"),  # not ours
    ],
)
def test_a_stranger_is_rejected_with_the_reason(
    engine: Engine, real_study_of_dcmtk: Path, calling: str, called: str, said: str
) -> None:
    sent = dcmtk.storescu(
        engine.dicom_port, sorted(real_study_of_dcmtk.iterdir())[:1], calling=calling, called=called
    )

    assert sent.exit_status != 0
    assert said in sent.output
    assert sent.acknowledged == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.9",  # of no site
        "127.0.0.1",  # of three sites, and HTTP has no AE title to tell them apart
    ],
)
def test_a_post_from_an_address_that_is_not_one_sites_own_is_refused(
    engine: Engine, real_study: Path, address: str
) -> None:
    before = engine.instance_files()
    file = min(real_study.iterdir()).read_bytes()
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=30) as client:
        answer = client.post(
            f"{engine.url}/dicomweb/studies",
            content=b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--zone--\r\n",
            headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=zone'},
        )

    assert answer.status_code == 403
    assert engine.instance_files() == before


def test_orthanc_posts_by_stow(
    engine_process: Callable[..., Engine], orthanc: Callable[..., Orthanc], real_study: Path
) -> None:
    """An engine with one site at Orthanc's address; what Orthanc was given is what arrives."""
    one = {"sites": {"st-marys": {"name": "St. Mary's", "addresses": ["127.0.0.1"]}}}
    engine = engine_process(lambda port: {**table(port), **one})
    peer = orthanc("ORTHANC", dicomweb_servers={"pons": f"{engine.url}/dicomweb/"})
    files = sorted(real_study.iterdir())[:20]

    job = peer.stow("pons", peer.upload(files))

    assert job["State"] == "Success", peer.log()[-2000:]
    kept = data_sets(engine.instance_files("st-marys"))
    assert sorted(kept.values()) == sorted(data_set_bytes(path.read_bytes()) for path in files)
