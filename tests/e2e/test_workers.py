"""`engine.workers: 2`: whichever process dies, what was acknowledged is there, and all goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from examples.demo.senders import held_reactor
from tests.e2e.changing import VERIFICATION, instance, is_let_in, taken
from tests.e2e.engine import Engine
from tests.e2e.studies import data_sets
from tests.peers import dcmtk
from tests.peers.process import PeerProcess, wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]

WORKERS = {"workers": 2}


def table(dicom_port: int, ae_title: str = "PONS") -> dict[str, Any]:
    """One site that sends, and whatever it sends is held."""
    return {
        "assembly": {"stable_after": "10m"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "addresses": ["127.0.0.1"],
                "ae_titles": ["STORESCU", "SENDER"],
            }
        },
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": ae_title}},
        "routes": [{"name": "all", "otherwise": True, "hold": "to be looked at"}],
    }


def workers_of(engine: Engine) -> set[int]:
    """The processes that the engine has started."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == engine.pid and b"engine.workers.process" in command:
                found.add(int(folder.name))
    return found


def sending(engine: Engine, folder: Path, log: Path, instances: int) -> PeerProcess:
    """A sender that has had some instances taken and is not done."""
    sender = dcmtk.start_storescu(engine.dicom_port, [folder], log)
    deadline = time.monotonic() + 60
    while len(engine.instance_files()) < instances:  # no pause: what comes must not come late
        assert sender.alive, sender.text()[-2000:]
        assert time.monotonic() < deadline, engine.log_tail()
    return sender


def acknowledged(sender: PeerProcess) -> set[str]:
    """What it was told is stored, once it is done."""
    wait_until(lambda: not sender.alive, "storescu to end", timeout=60)
    sender.stop()
    statuses = dcmtk.read_storescu_output(sender.text())
    return {name.removesuffix(".dcm") for name, status in statuses.items() if status == "Success"}


def test_a_worker_that_is_killed_under_load_loses_nothing_and_is_replaced(
    engine_process: Callable[..., Engine], real_study_of_dcmtk: Path, tmp_path: Path
) -> None:
    engine = engine_process(table, engine=WORKERS)
    source, before = data_sets(list(real_study_of_dcmtk.iterdir())), workers_of(engine)
    assert len(before) == 2

    sender = sending(engine, real_study_of_dcmtk, tmp_path / "storescu.log", 37)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    stored = acknowledged(sender)
    assert 35 <= len(stored) < 260, "the kill did not interrupt the sending"

    wait_until(lambda: len(workers_of(engine) - before) == 2, "others in their place", timeout=60)
    assert engine.healthy()
    wait_until(
        lambda: engine.metrics()["pons_instances_total"] == len(engine.instance_files()),
        "what was kept and not recorded to go",
        timeout=60,
    )
    kept = data_sets(engine.instance_files())
    assert stored <= set(kept), "an acknowledged instance is gone"
    assert kept == {uid: source[uid] for uid in kept}, "something half-written is visible"
    assert engine.landing_files() == []

    assert len(dcmtk.storescu(engine.dicom_port, [real_study_of_dcmtk]).acknowledged) == 260
    assert data_sets(engine.instance_files()) == source


def test_an_engine_that_is_killed_takes_its_workers_with_it_and_loses_nothing(
    engine_process: Callable[..., Engine], real_study_of_dcmtk: Path, tmp_path: Path
) -> None:
    engine = engine_process(table, engine=WORKERS)
    source, workers = data_sets(list(real_study_of_dcmtk.iterdir())), workers_of(engine)

    sender = sending(engine, real_study_of_dcmtk, tmp_path / "storescu.log", 37)
    os.kill(engine.pid, signal.SIGKILL)  # the engine alone
    gone = [Path(f"/proc/{pid}") for pid in workers]
    wait_until(lambda: not any(one.exists() for one in gone), "its workers to end", timeout=60)
    stored = acknowledged(sender)
    assert 35 <= len(stored) < 260, "the kill did not interrupt the sending"
    engine.kill9()  # nothing is left of it: this only tells the test so

    engine.start()
    kept = data_sets(engine.instance_files())
    assert stored <= set(kept), "an acknowledged instance is gone"
    assert kept == {uid: source[uid] for uid in kept}, "something half-written is visible"
    assert engine.landing_files() == []
    assert engine.metrics()["pons_instances_total"] == len(kept), "a file without a record, or the reverse"


def test_a_signal_to_all_its_processes_lets_what_is_under_way_end(
    engine_process: Callable[..., Engine], real_study_of_dcmtk: Path, tmp_path: Path
) -> None:
    """Ctrl-C at a terminal, `systemctl stop`: every process of the engine gets it."""
    engine = engine_process(table, engine=WORKERS)
    sender = sending(engine, real_study_of_dcmtk, tmp_path / "storescu.log", 37)
    os.killpg(engine.pid, signal.SIGTERM)
    stored = acknowledged(sender)
    engine.stop()
    assert stored == set(data_sets(engine.instance_files())), "each that was kept was acknowledged"
    assert not any("worker process died" in line for line in engine.log_lines())


def test_another_table_is_taken_under_an_open_association(engine_process: Callable[..., Engine]) -> None:
    engine = engine_process(table, engine=WORKERS, patient_data=("LIVE-1", "Live^Reload"))
    before = workers_of(engine)
    first = instance("1.2.3")
    ae = AE("SENDER")
    ae.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    ae.add_requested_context(VERIFICATION)
    old = ae.associate("127.0.0.1", engine.dicom_port, ae_title="PONS")
    with held_reactor(old):
        assert old.send_c_store(first).Status == 0x0000

    engine.write_table(table(engine.dicom_port, ae_title="OTHER"))
    engine.signal_hup()
    wait_until(lambda: taken(engine) == 1, "the table to be taken", 60)

    wait_until(lambda: not is_let_in("SENDER", engine.dicom_port), "the title that went to be unknown", 60)
    with held_reactor(old):
        assert old.send_c_store(instance("1.2.3")).Status == 0x0000, "it is served as it began"
    old.release()
    wait_until(lambda: not workers_of(engine) & before, "the processes of the listener that went to end", 60)
    new = ae.associate("127.0.0.1", engine.dicom_port, ae_title="OTHER")
    with held_reactor(new):
        assert new.send_c_store(instance("1.2.3")).Status == 0x0000
    new.release()
    assert len(engine.instance_files()) == 3
