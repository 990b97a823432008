"""An engine that is restarted in the middle of everything loses nothing: an upgrade is no event.

Three senders that nobody here wrote go on while SIGTERM ends the engine and it starts again, three
times. Each sends again what was not acknowledged, as a modality's own queue does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

from examples.demo.senders import held_reactor
from tests.e2e.engine import Engine
from tests.e2e.sinks import Sinks
from tests.e2e.stow import post
from tests.e2e.studies import PERSON, data_sets, small_study
from tests.peers import dcmtk
from tests.peers.process import accepts_connections, wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]

PATIENCE = 150.0  # seconds for a sender to get rid of all it has, on a busy machine
TITLES = ("STORESCU", "PYNETDICOM")


def send_by_storescu(engine: Engine, files: list[Path]) -> set[str]:
    done = dcmtk.storescu(engine.dicom_port, files)
    return {name.removesuffix(".dcm") for name in done.acknowledged}


def send_by_pynetdicom(engine: Engine, files: list[Path]) -> set[str]:
    wait_until(lambda: accepts_connections(engine.dicom_port), "the engine to listen again", timeout=60)
    ae = AE("PYNETDICOM")
    ae.add_requested_context(MRImageStorage, pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", engine.dicom_port, ae_title="PONS")
    acknowledged = set()
    for file in files:
        if not association.is_established:
            break
        try:
            with held_reactor(association):
                status = association.send_c_store(file)
        except RuntimeError:  # the association went away meanwhile
            break
        if "Status" in status and status.Status == 0x0000:
            acknowledged.add(file.stem)
    if association.is_established:
        association.release()
    return acknowledged


def send_by_stow(engine: Engine, files: list[Path]) -> set[str]:
    return post(engine.url, files)


class Sender(threading.Thread):
    """Sends one study after the other, each until all of it is acknowledged."""

    def __init__(self, send: Callable[[list[Path]], set[str]], studies: list[list[Path]]) -> None:
        super().__init__()
        self.acknowledged: set[str] = set()
        self.sent = 0
        self._send = send
        self._studies = studies
        self._give_up_at = time.monotonic() + PATIENCE

    def run(self) -> None:
        for study in self._studies:
            left = study
            while left and time.monotonic() < self._give_up_at:
                self.acknowledged |= self._send(left)
                left = [file for file in study if file.stem not in self.acknowledged]
            self.sent += not left


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_three_restarts_under_load_lose_nothing_and_repeat_only_recognisably(
    engine_process: Callable[..., Engine],
    sinks: Callable[..., Sinks],
    real_study: Path,
    tmp_path: Path,
) -> None:
    told = sinks()
    engine = engine_process(
        partial(told.table, stable_after="2s", ae_titles=TITLES, breaker={"failures": 1000}),
        environment=told.environment,
        patient_data=PERSON.words,
    )
    ways = (send_by_storescu, send_by_pynetdicom, send_by_stow)
    studies = {
        way: [small_study(real_study, tmp_path / f"{n}-{m}", instances=20, skip=20 * m) for m in range(4)]
        for n, way in enumerate(ways)
    }
    senders = [Sender(lambda files, way=way: way(engine, files), studies[way]) for way in ways]
    for sender in senders:
        sender.start()
    for life in range(1, 4):
        wait_until(lambda life=life: sum(len(s.acknowledged) for s in senders) >= 30 * life, "some to go in")
        engine.restart()
    for sender in senders:
        sender.join(PATIENCE + 60)
    assert [sender.sent for sender in senders] == [4, 4, 4]

    sent = data_sets([file for studies_of_one in studies.values() for one in studies_of_one for file in one])
    kept = data_sets(engine.instance_files())
    assert set(kept) == set(sent), "an acknowledged instance is gone"
    assert engine.landing_files() == []

    def settled() -> bool:
        rows = engine.deliveries()
        latest = {(row["study"], row["destination"]) for row in rows if row["state"] == "delivered"}
        return len(latest) == 36 and {row["state"] for row in rows} <= {"delivered", "superseded"}

    wait_until(settled, "every study to be everywhere", timeout=120, every=1.0)
    received = {name.removeprefix("MR."): data for name, data in data_sets(told.pacs.files).items()}
    assert received == kept
    # A restart may part a study into revisions; each goes out once, or again under the same identifier.
    events = {row["delivery"] for row in engine.deliveries() if row["destination"] == "hook"}
    assert len({call.webhook_id for call in told.hook.accepted}) <= len(events)
    bodies: dict[str, bytes] = {}
    for message in told.his.received:
        identifier = message.split(b"|")[9].decode()
        assert bodies.setdefault(identifier, message) == message, "other bytes under the same identifier"


def test_told_twice_to_stop_it_waits_for_nothing(
    engine_process: Callable[..., Engine],
    sinks: Callable[..., Sinks],
    real_study: Path,
    tmp_path: Path,
) -> None:
    """The PACS takes a minute for an answer: a delivery is under way that the engine would wait for."""
    told = sinks("--sleep-after", "60")
    engine = engine_process(
        partial(told.table, stable_after="2s"),
        environment=told.environment,
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study", instances=2)
    assert len(dcmtk.storescu(engine.dicom_port, files).acknowledged) == 2
    told.pacs.wait_for_files(1, timeout=60)
    began = time.monotonic()
    engine.signal_term()
    wait_until(lambda: any("engine stopping" in line for line in engine.log_lines()), "the stop to begin")
    assert engine.alive
    engine.stop()  # the second time; it must end with 0
    assert time.monotonic() - began < 15
    assert engine.pons("deliveries", "--destination", "archive", "--state", "queued")
