"""`make demo` on a copy of the checkout: both studies go in, every destination has its result."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import hl7
import psutil
import pydicom
import pytest

DESTINATIONS = {"stm-pacs-sr", "stm-pacs-sc", "stm-pacs-pdf", "stm-his", "stm-fhir", "stm-hook"}
SR, SC, PDF = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("88", "7", "104.1"))


@pytest.fixture
def demo(demonstrated: Any) -> Path:
    folder = demonstrated.folder / "demo"
    assert isinstance(folder, Path)
    return folder


def sent_studies(demo: Path) -> set[str]:
    firsts = [next((demo / "sent" / number).rglob("*.dcm")) for number in ("1", "2")]
    return {str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in firsts}


def test_every_destination_acknowledged_both_studies(demonstrated: Any, demo: Path) -> None:
    listed = demonstrated.bash("pons deliveries --json --limit 100").stdout
    delivered = {(d["study"], d["destination"]) for d in json.loads(listed) if d["state"] == "delivered"}
    assert delivered == {(study, name) for study in sent_studies(demo) for name in DESTINATIONS}


def test_one_study_came_by_c_store_and_one_by_stow_rs(demonstrated: Any) -> None:
    listed = json.loads(demonstrated.bash("pons studies --json").stdout)
    assert Counter(study["inbound"] for study in listed) == {"pacs": 1, "web": 1}


def test_the_pacs_holds_report_capture_and_pdf_of_each_study(demo: Path) -> None:
    held = [pydicom.dcmread(path) for path in (demo / "received" / "pacs").glob("*.dcm")]
    assert {str(instance.StudyInstanceUID) for instance in held} == sent_studies(demo)
    for study in sent_studies(demo):
        classes = {str(i.SOPClassUID) for i in held if i.StudyInstanceUID == study}
        assert any(uid.startswith(SR + ".") for uid in classes)
        assert any(uid == SC or uid.startswith(SC + ".") for uid in classes)
        assert PDF in classes


@pytest.mark.judges
def test_no_report_in_the_pacs_has_an_error_for_dciodvfy(demo: Path) -> None:
    files = sorted((demo / "received" / "pacs").glob("*.dcm"))
    assert files
    for path in files:
        judged = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
        lines = (judged.stdout + judged.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []


def test_the_his_holds_one_oru_a_study_with_its_findings(demo: Path) -> None:
    messages = [hl7.parse(path.read_bytes().decode()) for path in (demo / "received" / "his").glob("*.hl7")]
    assert len(messages) == 2
    assert {str(message.segment("MSH")[9]) for message in messages} == {"ORU^R01^ORU_R01"}
    assert all(len(message.segments("OBX")) > 5 for message in messages)


def test_the_fhir_server_holds_one_report_a_study(demo: Path) -> None:
    filed = [json.loads(path.read_text()) for path in (demo / "received" / "fhir").glob("*.json")]
    kinds = Counter(resource["resourceType"] for resource in filed)
    assert kinds["DiagnosticReport"] == 2
    assert all(r["status"] == "final" for r in filed if r["resourceType"] == "DiagnosticReport")


def test_the_webhook_holds_one_verified_event_a_study(demo: Path) -> None:
    events = [json.loads(path.read_text()) for path in (demo / "received" / "webhook").glob("*.json")]
    assert [event["type"] for event in events] == ["result.final"] * 2


def test_the_trace_tells_both_stories_to_the_last_acknowledgement(demo: Path) -> None:
    story = (demo / "trace.txt").read_text()
    for study in sent_studies(demo):
        assert f"study {study}" in story
    for stage in ("received", "stable", "decided", "processed", "attempt"):
        assert len(re.findall(rf"\b{stage}\b", story)) >= 2, stage
    for name in DESTINATIONS:
        assert len(re.findall(rf"attempt +{name} .* attempt 1: delivered", story)) == 2, name


def test_the_logs_of_the_engine_name_no_patient(demo: Path) -> None:
    log = (demo / "engine.log").read_text()
    assert log
    for secret in ("Phantom", "Ada", "Bela", "DEMO-1", "DEMO-2"):
        assert secret not in log


def test_nothing_that_the_demo_started_is_left(demonstrated: Any) -> None:
    here = str(demonstrated.folder)
    left = [p.info for p in psutil.process_iter(["cmdline"]) if here in " ".join(p.info["cmdline"] or ())]
    assert left == []
