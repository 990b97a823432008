"""kill -9 at any instant: what was acknowledged is there, nothing half-written is, and all goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, data_sets, small_study, study_of
from tests.peers import dcmtk
from tests.peers.dcmtk import Storescp
from tests.peers.mllp import MllpServer
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = [pytest.mark.peers, pytest.mark.faults]

RETRY = {"first": "300ms", "cap": "1s"}


def table(
    dicom_port: int, pacs: Storescp, his: MllpServer, hook: WebhookReceiver, stable_after: str
) -> dict[str, Any]:
    receiver = {"site": "st-marys", "retry": RETRY}
    return {
        "assembly": {"stable_after": stable_after},
        "sites": {"st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}},
        "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": {
            "pacs": {
                "type": "dicom_sr",
                **receiver,
                "host": "127.0.0.1",
                "port": pacs.port,
                "ae_title": pacs.ae_title,
            },
            "his": {"type": "hl7_oru", **receiver, "host": "127.0.0.1", "port": his.port},
            "hook": {"type": "webhook", **receiver, "url": hook.url, "secret": {"env": "HOOK_SECRET"}},
        },
        "routes": [
            {
                "name": "diffusion",
                "match": {"series": {"Modality": "MR"}},
                "process": "dti-qc",
                "deliver": ["pacs", "his", "hook"],
            },
        ],
    }


@pytest.mark.parametrize("kept_before_the_kill", [1, 37, 118, 240])
def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study_of_dcmtk: Path,
    tmp_path: Path,
    kept_before_the_kill: int,
) -> None:
    pacs, his, hook = storescp("STM"), hl7_mllp_server(), webhook_receiver()
    engine = engine_process(
        lambda port: table(port, pacs, his, hook, stable_after="10m"),  # not before all is there
        environment={"HOOK_SECRET": hook.secret},
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

    engine.write_table(table(engine.dicom_port, pacs, his, hook, stable_after="1s"))
    engine.restart()
    engine.wait_for_states({name: ["delivered"] for name in ("pacs", "his", "hook")}, timeout=120)
    [study] = engine.studies()
    assert (study["instances"], study["revision"], study["state"]) == (260, 1, "stable")
    assert (len(pacs.files), len(his.received), len(hook.accepted)) == (1, 1, 1)


def test_a_kill_while_results_go_out_repeats_them_recognisably_and_loses_none(
    engine_process: Callable[..., Engine],
    storescp: Callable[..., Storescp],
    hl7_mllp_server: Callable[..., MllpServer],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study: Path,
    tmp_path: Path,
) -> None:
    """The PACS is slow: the kill falls between its receiving the report and our knowing it."""
    pacs, his, hook = storescp("STM", options=("--sleep-after", "4")), hl7_mllp_server(), webhook_receiver()
    engine = engine_process(
        lambda port: table(port, pacs, his, hook, stable_after="1s"),
        environment={"HOOK_SECRET": hook.secret},
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study")
    assert len(dcmtk.storescu(engine.dicom_port, files).acknowledged) == len(files)
    [first] = pacs.wait_for_files(1, timeout=60)
    sent = first.read_bytes()

    engine.kill9()
    engine.start()
    engine.wait_for_states({name: ["delivered"] for name in ("pacs", "his", "hook")}, timeout=60)

    [repeated] = pacs.files  # storescp names files by SOP Instance UID: the same report came again
    assert (repeated.name, repeated.read_bytes()) == (first.name, sent)
    assert pacs.log().count("Received Store Request") == 2
    assert {str(message.segment("MSH")[10]) for message in his.messages} == {
        str(his.messages[0].segment("MSH")[10])
    }
    assert {call.webhook_id for call in hook.accepted} == {hook.accepted[0].webhook_id}
    attempts = [event["text"] for event in engine.trace(study_of(files[0])) if event["what"] == "attempt"]
    assert any(text.startswith("pacs") and "unknown" in text for text in attempts), attempts
