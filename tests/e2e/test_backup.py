"""Backed up under load, killed, lost with its disk, restored elsewhere: nothing acknowledged is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.engine import PONS, Engine
from tests.e2e.studies import PERSON, data_sets, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = [pytest.mark.peers, pytest.mark.faults]


@dataclass
class Sender:
    """Sends one small study after another until told to stop; remembers when each was acknowledged."""

    source: Path
    folder: Path
    send: Callable[[list[Path]], list[str]]
    """Sends files and returns the names of those that were acknowledged."""
    acknowledged_at: dict[str, float] = field(default_factory=dict)  # SOP Instance UID -> wall time
    complete_at: dict[str, float] = field(default_factory=dict)  # Study Instance UID -> wall time

    def run(self, stop: threading.Event) -> None:
        for number in range(40):
            if stop.is_set():
                return
            files = small_study(self.source, self.folder / str(number), instances=6, skip=6 * number)
            names = self.send(files)
            now = time.time()
            self.acknowledged_at |= {name.removesuffix(".dcm"): now for name in names}
            if len(names) == len(files):
                self.complete_at[study_of(files[0])] = now


def post(url: str, files: list[Path]) -> list[str]:
    """STOW-RS; the names of the files that were answered with success."""
    parts = b"".join(
        b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for file in files
    )
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=zone',
        "Accept": "application/dicom+json",
    }
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(local_address="127.0.0.2"), timeout=60, trust_env=False
        ) as client:
            answer = client.post(f"{url}/dicomweb/studies", content=parts + b"--zone--\r\n", headers=headers)
    except httpx.TransportError:
        return []
    if answer.status_code not in (200, 202):
        return []
    stored = json.loads(answer.text)["00081199"]["Value"]
    return [one["00081155"]["Value"][0] for one in stored]


@dataclass
class Sinks:
    """Three receivers that keep every receipt."""

    archive: Storescp
    his: MllpServer
    hook: WebhookReceiver

    def table(self, dicom_port: int) -> dict[str, Any]:
        to = {"site": "st-marys", "retry": {"first": "300ms", "cap": "1s"}}
        here = {**to, "host": "127.0.0.1"}
        return {
            "assembly": {"stable_after": "1s"},
            "sites": {
                "st-marys": {
                    "name": "St. Mary's",
                    "ae_titles": ["STORESCU"],
                    "addresses": ["127.0.0.1", "127.0.0.2"],
                }
            },
            "inbound": {
                "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
                "web": {"type": "stow_rs"},
            },
            "processors": {"dti-qc": {"type": "quality_control"}},
            "outbound": {
                "archive": {
                    "type": "dicom_forward",
                    **here,
                    "port": self.archive.port,
                    "ae_title": "ARCHIVE",
                },
                "his": {"type": "hl7_oru", **here, "port": self.his.port},
                "hook": {"type": "webhook", **to, "url": self.hook.url, "secret": {"env": "HOOK_SECRET"}},
            },
            "routes": [
                {
                    "name": "mr",
                    "match": {"series": {"Modality": "MR"}},
                    "process": "dti-qc",
                    "deliver": ["archive", "his", "hook"],
                }
            ],
        }

    def webhook_ids(self) -> dict[str, set[str]]:
        """Study Instance UID -> the ids under which its results came."""
        found: dict[str, set[str]] = {}
        for call in self.hook.accepted:
            found.setdefault(call.event["data"]["study"]["uid"], set()).add(call.webhook_id)
        return found

    def control_ids(self) -> dict[str, set[str]]:
        """Study Instance UID -> the MSH-10 under which its results came."""
        found: dict[str, set[str]] = {}
        for message in self.his.messages:
            [uid] = [str(obx[5]) for obx in message.segments("OBX") if "113014" in str(obx[3])]
            found.setdefault(uid, set()).add(str(message.segment("MSH")[10]))
        return found


@pytest.fixture
def sinks(
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
) -> Sinks:
    return Sinks(storescp("ARCHIVE"), hl7_mllp_server(), webhook_receiver())


def run_pons(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PONS), *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_an_engine_lost_with_its_disk_goes_on_from_its_backup(
    engine_process: Callable[..., Engine], sinks: Sinks, real_study: Path, tmp_path: Path
) -> None:
    options = {"environment": {"HOOK_SECRET": sinks.hook.secret}, "patient_data": PERSON.words}
    engine = engine_process(sinks.table, **options)
    senders = [
        Sender(
            real_study,
            tmp_path / "scu",
            lambda files: dcmtk.storescu(engine.dicom_port, files).acknowledged,
        ),
        Sender(real_study, tmp_path / "web", lambda files: post(engine.url, files)),
    ]
    stop = threading.Event()
    backup = tmp_path / "backup"
    with ThreadPoolExecutor(len(senders)) as threads:
        running = [threads.submit(sender.run, stop) for sender in senders]
        try:
            wait_until(
                lambda: all(len(one.complete_at) >= 2 for one in senders) and sinks.hook.accepted,
                "studies to be acknowledged by both ways, and one result to be out",
                timeout=90,
            )
            made = engine.json("backup", str(backup))
            wait_until(
                lambda: any(max(one.acknowledged_at.values()) > made["finished_at"] for one in senders),
                "more to be acknowledged after the backup",
            )
            complete = {
                uid for one in senders for uid, at in list(one.complete_at.items()) if at < made["taken_at"]
            }
            wait_until(
                lambda: complete <= sinks.webhook_ids().keys() & sinks.control_ids().keys(),
                "all that is in the backup to go out, some of it after the backup",
                timeout=120,
            )
        finally:
            stop.set()
            engine.kill9()
        for one in running:
            one.result(timeout=120)
    before = data_sets(engine.instance_files())
    shutil.rmtree(engine.data)

    taken_at = made["taken_at"]
    acknowledged = {
        uid: before[uid] for sender in senders for uid, at in sender.acknowledged_at.items() if at < taken_at
    }
    assert len(complete) >= 4
    assert made["missing"] == 0

    again = engine_process(sinks.table, start=False, **options)
    assert again.data != engine.data
    _a_damaged_backup_is_refused(backup, again)
    said = again.pons("restore", str(backup))
    assert "their senders must send them again" in said
    again.start()

    kept = data_sets(again.instance_files())
    assert {uid: kept[uid] for uid in acknowledged} == acknowledged
    wait_until(lambda: _all_is_out(again), "everything of the backup to be delivered", timeout=180, every=1.0)
    deliveries = again.json("deliveries", "--limit", "1000")
    out = {(one["study"], one["destination"]) for one in deliveries if one["state"] == "delivered"}
    assert {(uid, name) for uid in complete for name in ("archive", "his", "hook")} <= out
    received = data_sets_of_storescp(sinks.archive)
    assert acknowledged.keys() <= received.keys()

    # Whatever came twice came under one identifier, though the first life had made it after the backup.
    calls = [
        call.webhook_id for call in sinks.hook.accepted if call.event["data"]["study"]["uid"] in complete
    ]
    assert len(calls) > len(set(calls)), "nothing was repeated, so nothing was shown"
    webhooks, messages = sinks.webhook_ids(), sinks.control_ids()
    assert {uid: len(webhooks[uid]) for uid in complete} == dict.fromkeys(complete, 1)
    assert {uid: len(messages[uid]) for uid in complete} == dict.fromkeys(complete, 1)
    assert sinks.his.faults == []


def _all_is_out(engine: Engine) -> bool:
    assert engine.defects() == []
    studies = engine.json("studies", "--limit", "1000")
    deliveries = engine.json("deliveries", "--limit", "1000")
    sent = {one["study"] for one in deliveries if one["destination"] == "hook"}
    return (
        all(one["state"] == "stable" for one in studies)
        and {one["study"] for one in studies} == sent
        and all(one["state"] in ("delivered", "superseded") for one in deliveries)
    )


def _a_damaged_backup_is_refused(backup: Path, engine: Engine) -> None:
    """By the name of the file, by both commands, and before anything is written."""
    victim = sorted((backup / "data" / "instances").rglob("*.dcm"))[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for arguments in (
        ("backup", "verify", str(backup)),
        ("restore", str(backup), "--table", str(engine.table)),
    ):
        done = run_pons(*arguments)
        assert done.returncode == 1
        assert f"{victim}: does not match its digest" in done.stderr
    assert not engine.data.exists()
    victim.write_bytes(whole)
    assert run_pons("backup", "verify", str(backup)).returncode == 0


def data_sets_of_storescp(peer: Storescp) -> dict[str, Path]:
    """SOP Instance UID -> file; storescp names a file `<modality>.<SOP Instance UID>`."""
    return {path.name.partition(".")[2]: path for path in peer.files}


def test_a_stopped_engine_is_backed_up_too_and_neither_runs_over_the_other(
    engine_process: Callable[..., Engine], sinks: Sinks, real_study: Path, tmp_path: Path
) -> None:
    options = {"environment": {"HOOK_SECRET": sinks.hook.secret}, "patient_data": PERSON.words}
    engine = engine_process(sinks.table, **options)
    files = small_study(real_study, tmp_path / "study")
    dcmtk.storescu(engine.dicom_port, files)
    engine.wait_for_states({name: ["delivered"] for name in ("archive", "his", "hook")})
    running = run_pons("restore", str(tmp_path), "--table", str(engine.table))
    assert (running.returncode, "this is no backup" in running.stderr) == (1, True)
    engine.pons("backup", str(tmp_path / "first"))
    done = run_pons("restore", str(tmp_path / "first"), "--table", str(engine.table))
    assert (done.returncode, "an engine is running on it" in done.stderr) == (1, True)
    engine.stop()

    second = ("backup", str(tmp_path / "second"), "--previous", str(tmp_path / "first"))
    said = engine.pons(*second)
    assert "0 removed by retention meanwhile, 0 missing" in said
    [one] = (tmp_path / "second").rglob(f"{files[0].stem}-*.dcm")
    assert one.samefile(tmp_path / "first" / one.relative_to(tmp_path / "second"))
    again = run_pons(*second, "--table", str(engine.table))
    assert (again.returncode, "name a folder that is not there yet" in again.stderr) == (1, True)
    done = run_pons("restore", str(tmp_path / "second"), "--table", str(engine.table))
    assert (done.returncode, "restore into an empty data folder" in done.stderr) == (1, True)
    assert len(engine.studies()) == 1, "what was refused changed nothing"
