"""A report is delivered when the PACS has committed to it, and what goes after it waits for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine import Engine
from tests.e2e.studies import PERSON, small_study, study_of
from tests.peers import dcmtk
from tests.peers.commitment_scp import CommitmentScp, committing
from tests.peers.mllp import MllpServer
from tests.peers.orthanc import Orthanc

pytestmark = pytest.mark.peers

RETRY = {"first": "300ms", "cap": "1s"}


def table(dicom_port: int, pacs: tuple[str, int], his: MllpServer) -> dict[str, Any]:
    """The result goes to the PACS, which must commit to it, and after that to the HIS."""
    receiver = {"site": "st-marys", "host": "127.0.0.1", "retry": RETRY}
    title, port = pacs
    return {
        "assembly": {"stable_after": "1s"},
        "sites": {
            "st-marys": {"name": "St. Mary's", "ae_titles": ["STORESCU", title], "addresses": ["127.0.0.1"]}
        },
        "inbound": {"door": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"}},
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": {
            "pacs": {
                "type": "dicom_sr",
                **receiver,
                "port": port,
                "ae_title": title,
                "storage_commitment": True,
                "commitment_wait": "300ms",
            },
            "his": {"type": "hl7_oru", **receiver, "port": his.port},
        },
        "routes": [
            {
                "name": "diffusion",
                "match": {"series": {"Modality": "MR"}},
                "process": "dti-qc",
                "deliver": ["pacs", {"to": "his", "after": ["pacs"]}],
            }
        ],
    }


@pytest.fixture
def sent(
    engine_process: Callable[..., Engine],
    free_port: Callable[[], int],
    hl7_mllp_server: Callable[..., MllpServer],
    real_study: Path,
    tmp_path: Path,
) -> Callable[..., tuple[Engine, MllpServer, str]]:
    """Start an engine towards a PACS, made for the engine's DICOM port, and send it a study."""

    def make(pacs_for: Callable[[int], tuple[str, int]]) -> tuple[Engine, MllpServer, str]:
        his = hl7_mllp_server()
        engine = engine_process(
            lambda dicom_port: table(dicom_port, pacs_for(dicom_port), his), patient_data=PERSON.words
        )
        files = small_study(real_study, tmp_path / "study")
        reply = dcmtk.storescu(engine.dicom_port, files)
        assert len(reply.acknowledged) == len(files), reply.output[-2000:]
        return engine, his, study_of(files[0])

    return make


def test_a_message_after_the_pacs_leaves_only_when_the_pacs_has_committed(
    sent: Callable[..., tuple[Engine, MllpServer, str]],
) -> None:
    scps: list[CommitmentScp] = []

    def pacs(dicom_port: int) -> tuple[str, int]:
        scps.append(CommitmentScp(["late"], report_to=("PONS", dicom_port)))
        return "PEER", scps[0].port

    try:
        engine, his, uid = sent(pacs)
        engine.wait_for_states({"pacs": ["waiting"], "his": ["waiting"]}, timeout=120)
        assert his.received == []

        scps[0].report_late()

        engine.wait_for_states({"pacs": ["delivered"], "his": ["delivered"]}, timeout=120)
    finally:
        for scp in scps:
            scp.stop()
    assert scps[0].answers == [0]
    assert len(scps[0].stored) == 1
    assert len(his.received) == 1
    told = [(event["what"], event["text"]) for event in engine.trace(uid)]
    story = [what for what, text in told if text.startswith(("pacs", "his"))]
    assert story.index("asked") < story.index("committed")
    assert any("attempt 1: stored 0000" in text for _, text in told)
    times = [event["at"] for event in engine.trace(uid) if event["text"].startswith("his [final] attempt")]
    committed = [event["at"] for event in engine.trace(uid) if event["what"] == "committed"]
    assert committed[0] <= times[0]


def test_a_report_on_the_same_association_is_enough(
    sent: Callable[..., tuple[Engine, MllpServer, str]],
) -> None:
    with committing(CommitmentScp()) as scp:
        engine, his, _ = sent(lambda _: ("PEER", scp.port))
        engine.wait_for_states({"pacs": ["delivered"], "his": ["delivered"]}, timeout=120)

    assert (len(scp.stored), len(his.received)) == (1, 1)


@pytest.mark.faults
def test_an_engine_killed_while_it_waits_hears_the_report_after_it_is_back(
    sent: Callable[..., tuple[Engine, MllpServer, str]],
) -> None:
    scps: list[CommitmentScp] = []

    def pacs(dicom_port: int) -> tuple[str, int]:
        scps.append(CommitmentScp(["late"], report_to=("PONS", dicom_port)))
        return "PEER", scps[0].port

    try:
        engine, his, _ = sent(pacs)
        engine.wait_for_states({"pacs": ["waiting"], "his": ["waiting"]}, timeout=120)
        engine.kill9()
        engine.start()
        engine.wait_for_states({"pacs": ["waiting"], "his": ["waiting"]}, timeout=120)
        assert his.received == []

        scps[0].report_late()

        engine.wait_for_states({"pacs": ["delivered"], "his": ["delivered"]}, timeout=120)
    finally:
        for scp in scps:
            scp.stop()
    assert len(scps[0].stored) == 1, "what the PACS had was sent again"
    assert len(scps[0].asked) == 1


def test_orthanc_commits_on_an_association_of_its_own(
    sent: Callable[..., tuple[Engine, MllpServer, str]], orthanc: Callable[..., Orthanc]
) -> None:
    running: list[Orthanc] = []

    def pacs(dicom_port: int) -> tuple[str, int]:
        running.append(orthanc("ORTHANC", modalities={"pons": ("PONS", dicom_port)}))
        return "ORTHANC", running[0].dicom_port

    engine, his, uid = sent(pacs)

    engine.wait_for_states({"pacs": ["delivered"], "his": ["delivered"]}, timeout=120)

    assert len(running[0].instances()) == 1
    assert len(his.received) == 1
    assert [event["text"] for event in engine.trace(uid) if event["what"] == "committed"] == [
        "pacs [final] committed to all of it"
    ]
