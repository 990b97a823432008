"""Backed up under load, killed, lost with its disk, restored elsewhere: nothing acknowledged is missing."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.engine import PONS, Engine
from tests.e2e.sinks import Sinks
from tests.e2e.stow import post
from tests.e2e.studies import PERSON, data_sets, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.process import wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]

ADDRESSES = ("127.0.0.1", "127.0.0.2")  # of the site; what it posts comes from the second


@dataclass
class Sender:
    """Sends one small study after another until told to stop; remembers when each was acknowledged."""

    source: Path
    folder: Path
    send: Callable[[list[Path]], Iterable[str]]
    """Sends files and returns the names of those that were acknowledged."""
    acknowledged_at: dict[str, float] = field(default_factory=dict)  # SOP Instance UID -> wall time
    complete_at: dict[str, float] = field(default_factory=dict)  # Study Instance UID -> wall time

    def run(self, stop: threading.Event) -> None:
        for number in range(40):
            if stop.is_set():
                return
            files = small_study(self.source, self.folder / str(number), instances=6, skip=6 * number)
            names = list(self.send(files))
            now = time.time()
            self.acknowledged_at |= {name.removesuffix(".dcm"): now for name in names}
            if len(names) == len(files):
                self.complete_at[study_of(files[0])] = now


def run_pons(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PONS), *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_an_engine_lost_with_its_disk_goes_on_from_its_backup(
    engine_process: Callable[..., Engine], sinks: Callable[..., Sinks], real_study: Path, tmp_path: Path
) -> None:
    told = sinks()
    options = {"environment": told.environment, "patient_data": PERSON.words}
    engine = engine_process(partial(told.table, addresses=ADDRESSES), **options)
    senders = [
        Sender(
            real_study,
            tmp_path / "scu",
            lambda files: dcmtk.storescu(engine.dicom_port, files).acknowledged,
        ),
        Sender(
            real_study, tmp_path / "web", lambda files: post(engine.url, files, from_address=ADDRESSES[1])
        ),
    ]
    stop = threading.Event()
    backup = tmp_path / "backup"
    with ThreadPoolExecutor(len(senders)) as threads:
        running = [threads.submit(sender.run, stop) for sender in senders]
        try:
            wait_until(
                lambda: all(len(one.complete_at) >= 2 for one in senders) and told.hook.accepted,
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
                lambda: complete <= told.webhook_ids().keys() & told.control_ids().keys(),
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

    again = engine_process(partial(told.table, addresses=ADDRESSES), start=False, **options)
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
    received = data_sets_of_storescp(told.pacs)
    assert acknowledged.keys() <= received.keys()

    # Whatever came twice came under one identifier, though the first life had made it after the backup.
    calls = [call.webhook_id for call in told.hook.accepted if call.event["data"]["study"]["uid"] in complete]
    assert len(calls) > len(set(calls)), "nothing was repeated, so nothing was shown"
    webhooks, messages = told.webhook_ids(), told.control_ids()
    assert {uid: len(webhooks[uid]) for uid in complete} == dict.fromkeys(complete, 1)
    assert {uid: len(messages[uid]) for uid in complete} == dict.fromkeys(complete, 1)
    assert told.his.faults == []


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
    engine_process: Callable[..., Engine], sinks: Callable[..., Sinks], real_study: Path, tmp_path: Path
) -> None:
    told = sinks()
    options = {"environment": told.environment, "patient_data": PERSON.words}
    engine = engine_process(partial(told.table, addresses=ADDRESSES), **options)
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
