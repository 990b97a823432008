"""kill -9 at any instant: what was acknowledged is there, nothing half-written is, and all goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.engine import Engine
from tests.e2e.sinks import Sinks
from tests.e2e.studies import PERSON, data_sets, small_study, study_of
from tests.peers import dcmtk
from tests.peers.process import wait_until

pytestmark = [pytest.mark.peers, pytest.mark.faults]


@pytest.mark.parametrize("kept_before_the_kill", [1, 37, 118, 240])
def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    engine_process: Callable[..., Engine],
    sinks: Callable[..., Sinks],
    real_study_of_dcmtk: Path,
    tmp_path: Path,
    kept_before_the_kill: int,
) -> None:
    told = sinks()
    engine = engine_process(
        partial(told.table, pacs="dicom_sr", stable_after="10m"),  # not before all is there
        environment=told.environment,
    )
    source = data_sets(list(real_study_of_dcmtk.iterdir()))

    sender = dcmtk.start_storescu(engine.dicom_port, [real_study_of_dcmtk], tmp_path / "storescu.log")
    deadline = time.monotonic() + 60
    while len(engine.instance_files()) < kept_before_the_kill:  # no pause: the kill must not come late
        assert sender.alive, sender.text()[-2000:]
        assert time.monotonic() < deadline, engine.log_tail()
    engine.kill9()
    wait_until(lambda: not sender.alive, "storescu to notice that the engine is gone", timeout=60)
    sender.stop()
    statuses = dcmtk.read_storescu_output(sender.text())
    acknowledged = {name.removesuffix(".dcm") for name, status in statuses.items() if status == "Success"}
    assert kept_before_the_kill - 2 <= len(acknowledged) < 260, "the kill did not interrupt the sending"

    engine.start()

    kept = data_sets(engine.instance_files())
    assert acknowledged <= set(kept), "an acknowledged instance is gone"
    assert kept == {uid: source[uid] for uid in kept}, "something half-written is visible"
    assert engine.landing_files() == []
    assert engine.metrics()["pons_instances_total"] == len(kept), "a file without a record, or the reverse"

    again = dcmtk.storescu(engine.dicom_port, [real_study_of_dcmtk])

    assert len(again.acknowledged) == 260
    assert data_sets(engine.instance_files()) == source

    engine.write_table(told.table(engine.dicom_port, pacs="dicom_sr"))
    engine.restart()
    engine.wait_for_states({name: ["delivered"] for name in ("archive", "his", "hook")}, timeout=120)
    [study] = engine.studies()
    assert (study["instances"], study["revision"], study["state"]) == (260, 1, "stable")
    assert (len(told.pacs.files), len(told.his.received), len(told.hook.accepted)) == (1, 1, 1)


def test_a_kill_while_results_go_out_repeats_them_recognisably_and_loses_none(
    engine_process: Callable[..., Engine],
    sinks: Callable[..., Sinks],
    real_study: Path,
    tmp_path: Path,
) -> None:
    """The PACS is slow: the kill falls between its receiving the report and our knowing it."""
    told = sinks("--sleep-after", "4")
    engine = engine_process(
        partial(told.table, pacs="dicom_sr"),
        environment=told.environment,
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study")
    assert len(dcmtk.storescu(engine.dicom_port, files).acknowledged) == len(files)
    [first] = told.pacs.wait_for_files(1, timeout=60)
    sent = first.read_bytes()

    engine.kill9()
    engine.start()
    engine.wait_for_states({name: ["delivered"] for name in ("archive", "his", "hook")}, timeout=60)

    [repeated] = told.pacs.files  # storescp names files by SOP Instance UID: the same report came again
    assert (repeated.name, repeated.read_bytes()) == (first.name, sent)
    assert told.pacs.log().count("Received Store Request") == 2
    assert {str(message.segment("MSH")[10]) for message in told.his.messages} == {
        str(told.his.messages[0].segment("MSH")[10])
    }
    assert {call.webhook_id for call in told.hook.accepted} == {told.hook.accepted[0].webhook_id}
    attempts = [event["text"] for event in engine.trace(study_of(files[0])) if event["what"] == "attempt"]
    assert any(text.startswith("archive") and "unknown" in text for text in attempts), attempts
