"""A database that goes away makes the engine refuse for now, and say so; it comes back by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, data_sets, small_study
from tests.peers import dcmtk
from tests.peers.postgres import Cluster
from tests.peers.process import wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]


@pytest.fixture
def own_postgres(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Cluster]:
    """A PostgreSQL that the test may stop: nobody else is on it."""
    cluster = Cluster(tmp_path / "postgres", free_port())
    yield cluster
    cluster.stop()


def stow(engine: Engine, file: Path) -> int:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    url = f"{engine.url}/dicomweb/studies"
    headers = {"Content-Type": kind}
    return httpx.post(url, content=body, headers=headers, timeout=60, trust_env=False).status_code


def test_without_its_database_both_ways_in_say_try_again_and_nothing_acknowledged_is_lost(
    own_postgres: Cluster, engine_process: Callable[..., Engine], real_study: Path, tmp_path: Path
) -> None:
    engine = engine_process(
        lambda port: {
            "assembly": {"stable_after": "10m"},
            "sites": {
                "st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}
            },
            "inbound": {
                "pacs": {"type": "c_store", "listen": f"127.0.0.1:{port}", "ae_title": "PONS"},
                "web": {"type": "stow_rs"},
            },
            "routes": [{"name": "nothing matched", "otherwise": True, "hold": "no route matched"}],
        },
        engine={"database": own_postgres.database()},
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study", instances=4)
    assert len(dcmtk.storescu(engine.dicom_port, files[:2]).acknowledged) == 2

    own_postgres.stop("immediate")
    # Noticed by the first instance itself, or by the engine before it came.
    refused = dcmtk.storescu(engine.dicom_port, files[2:3])
    assert [status for status in refused.statuses.values() if "OutOfResources" in status], refused.output
    wait_until(lambda: engine.answers("/readyz") == 503, "the engine to notice")
    assert stow(engine, files[3]) == 503
    assert engine.answers("/healthz") == 200
    samples = engine.metrics()
    assert (samples["pons_database_up"], samples["pons_intake_open"]) == (0, 0)
    assert samples['pons_intake_refused_total{reason="database"}'] >= 2
    assert "database" in httpx.get(f"{engine.url}/readyz", trust_env=False).json()["reasons"][0]

    own_postgres.start()
    wait_until(lambda: engine.answers("/readyz") == 200, "the engine to open by itself", timeout=60)
    assert len(dcmtk.storescu(engine.dicom_port, files[2:3]).acknowledged) == 1
    assert stow(engine, files[3]) == 200
    assert set(data_sets(engine.instance_files())) == set(data_sets(files))
    assert engine.metrics()["pons_instances_total"] == 4
