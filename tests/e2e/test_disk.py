"""A disk that fills: refused before it is written, settled from the reserve, and all by itself again.

The data folder is a small tmpfs of its own, so that it is the real `ENOSPC` of a real file system.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, data_sets, small_study
from tests.peers import dcmtk
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = [pytest.mark.peers, pytest.mark.faults]

MB = 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that puts the first engine's data on a file system of so many bytes."""
    folder = tmp_path / "engine-0" / "data"
    mounted = []

    def make(size: int) -> Path:
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        mounted.append(folder)
        return folder

    yield make
    for one in mounted:
        subprocess.run(["umount", str(one)], check=True)


def fill(ballast: Path, size: int | None = None) -> None:
    """Write so many bytes, or until no more go."""
    with ballast.open("wb", buffering=0) as file:
        left = size if size is not None else 1 << 40
        for step in (MB, 4096):
            try:
                while left > 0:
                    left -= file.write(bytes(min(step, left)))
            except OSError:
                continue


def table(dicom_port: int, hook_port: int) -> dict[str, Any]:
    return {
        "assembly": {"stable_after": "1s"},
        "sites": {"st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}},
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
            "web": {"type": "stow_rs"},
        },
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": {
            "hook": {
                "type": "webhook",
                "site": "st-marys",
                "url": f"http://127.0.0.1:{hook_port}/hook",
                "secret": {"env": "HOOK_SECRET"},
                "retry": {"first": "300ms", "cap": "1s"},
                "breaker": {"failures": 1000},
            }
        },
        "routes": [
            {
                "name": "diffusion",
                "match": {"series": {"Modality": "MR"}},
                "process": "dti-qc",
                "deliver": ["hook"],
            }
        ],
    }


def stow(engine: Engine, file: Path) -> int:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    url = f"{engine.url}/dicomweb/studies"
    return httpx.post(
        url, content=body, headers={"Content-Type": kind}, timeout=60, trust_env=False
    ).status_code


def told(engine: Engine, words: str) -> int:
    return sum(words in line for line in engine.log_lines())


def test_below_the_watermark_both_ways_in_refuse_and_take_again_when_there_is_space(
    small_disk: Callable[[int], Path],
    engine_process: Callable[..., Engine],
    free_port: Callable[[], int],
    real_study: Path,
    tmp_path: Path,
) -> None:
    data = small_disk(64 * MB)
    engine = engine_process(
        lambda port: table(port, free_port()),
        engine={"min_free": "20MB", "reserve": "1MB"},
        environment={"HOOK_SECRET": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMQ=="},
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study", instances=4)
    assert engine.metrics()["pons_intake_open"] == 1
    fill(data / "ballast", 46 * MB)
    wait_until(lambda: engine.answers("/readyz") == 503, "the engine to notice")
    before = engine.instance_files() + engine.landing_files()

    refused = dcmtk.storescu(engine.dicom_port, files[:1])
    assert [status for status in refused.statuses.values() if "OutOfResources" in status], refused.output
    assert stow(engine, files[1]) == 507
    assert engine.instance_files() + engine.landing_files() == before
    samples = engine.metrics()
    assert samples["pons_intake_open"] == 0
    assert samples['pons_intake_refused_total{reason="disk"}'] == 2
    assert samples["pons_disk_free_bytes"] < 20 * MB
    assert "watermark" in httpx.get(f"{engine.url}/readyz", trust_env=False).json()["reasons"][0]
    assert told(engine, "disk below its watermark") == 1

    (data / "ballast").unlink()
    wait_until(lambda: engine.answers("/readyz") == 200, "the engine to open by itself")
    assert dcmtk.storescu(engine.dicom_port, files[:1]).acknowledged
    assert stow(engine, files[1]) == 200
    assert engine.metrics()["pons_intake_open"] == 1
    assert told(engine, "disk has space again") == 1


def test_on_a_full_disk_what_is_stored_still_goes_out_after_a_kill_and_then_all_opens_again(
    small_disk: Callable[[int], Path],
    engine_process: Callable[..., Engine],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study: Path,
    tmp_path: Path,
) -> None:
    data, hook = small_disk(56 * MB), webhook_receiver([503] * 10_000)
    engine = engine_process(
        lambda port: table(port, hook.port),
        engine={"min_free": 0, "reserve": "8MB"},
        environment={"HOOK_SECRET": hook.secret},
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study", instances=8)
    sent = set(data_sets(files))
    assert len(dcmtk.storescu(engine.dicom_port, files).acknowledged) == 8
    wait_until(
        lambda: [row for row in engine.deliveries() if row["attempts"] > 0], "a first attempt", timeout=60
    )

    fill(data / "ballast")
    wait_until(lambda: told(engine, "the reserve is given up"), "the engine to notice")
    more = small_study(real_study, tmp_path / "more", instances=4, skip=8)
    assert dcmtk.storescu(engine.dicom_port, more).acknowledged == []
    assert stow(engine, more[0]) == 507
    engine.kill9()
    engine.start("/healthz")
    hook.answers.clear()  # it takes them from now on
    engine.wait_for_states({"hook": ["delivered"]}, timeout=60)
    assert len(hook.accepted) == 1
    assert engine.answers("/readyz") == 503
    assert dcmtk.storescu(engine.dicom_port, more).acknowledged == []

    (data / "ballast").unlink()
    wait_until(lambda: engine.answers("/readyz") == 200, "the engine to open by itself")
    assert (data / "reserve").stat().st_blocks * 512 >= 8 * MB
    assert len(dcmtk.storescu(engine.dicom_port, more).acknowledged) == 4
    assert set(data_sets(engine.instance_files())) == sent | set(data_sets(more))


def test_what_was_acknowledged_while_the_disk_filled_is_there_after_a_kill(
    small_disk: Callable[[int], Path],
    engine_process: Callable[..., Engine],
    free_port: Callable[[], int],
    real_study_of_dcmtk: Path,
    tmp_path: Path,
) -> None:
    """No watermark: the instances themselves fill the disk to the last byte, records included."""
    source = data_sets(list(real_study_of_dcmtk.iterdir()))
    size = sum(file.stat().st_size for file in real_study_of_dcmtk.iterdir())
    data = small_disk(size // 2 + 8 * MB)
    engine = engine_process(
        lambda port: table(port, free_port()) | {"assembly": {"stable_after": "10m"}},
        engine={"min_free": 0, "reserve": "2MB"},
        environment={"HOOK_SECRET": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMQ=="},
    )
    fill(data / "ballast", 4 * MB)
    sender = dcmtk.start_storescu(engine.dicom_port, [real_study_of_dcmtk], tmp_path / "storescu.log")
    wait_until(lambda: told(engine, "the reserve is given up") or not sender.alive, "the disk to fill", 60)
    engine.kill9()
    wait_until(lambda: not sender.alive, "storescu to notice", timeout=60)
    sender.stop()
    statuses = dcmtk.read_storescu_output(sender.text())
    acknowledged = {name.removesuffix(".dcm") for name, status in statuses.items() if status == "Success"}
    assert 20 < len(acknowledged) < 260

    engine.start("/healthz")
    kept = data_sets(engine.instance_files())
    assert acknowledged <= set(kept), "an acknowledged instance is gone"
    assert kept == {uid: source[uid] for uid in kept}, "something half-written is visible"
    assert engine.metrics()["pons_instances_total"] == len(kept)
