"""A study that was delivered is removed in its time; what comes for it later waits for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.process import wait_until
from tests.peers.webhook import WebhookReceiver

pytestmark = pytest.mark.peers


def test_a_delivered_study_goes_in_its_time_and_late_instances_are_held(
    engine_process: Callable[..., Engine],
    webhook_receiver: Callable[..., WebhookReceiver],
    real_study: Path,
    tmp_path: Path,
) -> None:
    hook = webhook_receiver()
    engine = engine_process(
        lambda port: {
            "assembly": {"stable_after": "1s"},
            "retention": {"keep": "3s", "every": "1s"},
            "sites": {
                "st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU"], "addresses": ["127.0.0.1"]}
            },
            "inbound": {"pacs": {"type": "c_store", "listen": f"127.0.0.1:{port}", "ae_title": "PONS"}},
            "processors": {"dti-qc": {"type": "quality_control"}},
            "outbound": {
                "hook": {
                    "type": "webhook",
                    "site": "st-marys",
                    "url": hook.url,
                    "secret": {"env": "HOOK_SECRET"},
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
        },
        environment={"HOOK_SECRET": hook.secret},
        patient_data=PERSON.words,
    )
    files = small_study(real_study, tmp_path / "study", instances=4)
    assert len(dcmtk.storescu(engine.dicom_port, files).acknowledged) == 4
    wait_until(lambda: not engine.instance_files() and hook.accepted, "the study to be removed", timeout=60)
    assert engine.delivery_states() == {"hook": ["delivered"]}
    wait_until(lambda: not list((engine.data / "trash").glob("*.json")), "the removal to end")
    left = [path for name in ("payloads", "artefacts", "trash") for path in (engine.data / name).iterdir()]
    assert [path.name for path in left] == ["lock"]
    assert any("instances removed" in event["text"] for event in engine.trace(study_of(files[0])))

    late = small_study(real_study, tmp_path / "late", instances=1, study_instance_uid=study_of(files[0]))
    assert len(dcmtk.storescu(engine.dicom_port, late).acknowledged) == 1
    wait_until(lambda: engine.metrics()["pons_holds_open"] == 1, "the late instance to be held")
    assert engine.delivery_states() == {"hook": ["delivered"]}
    [row] = engine.json("retention")
    assert row["stays because"] == "a hold waits for a person"
