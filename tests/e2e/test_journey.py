"""The real study's whole journey: sent by storescu, judged, and delivered eleven ways.

One engine, one study, every destination a program that nobody here wrote. What each of them
received is collected once; then a late instance opens revision 2, and what each received is
collected again.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hl7
import pydicom
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)

from tests.e2e.engine import Engine, running_engine
from tests.e2e.studies import data_sets, small_study
from tests.peers import dcmtk
from tests.peers.fhir import FhirServer
from tests.peers.judges import dciodvfy_errors
from tests.peers.mllp import MllpServer
from tests.peers.orthanc import Orthanc
from tests.peers.part10 import data_set_bytes
from tests.peers.process import binary
from tests.peers.webhook import Call, WebhookReceiver

pytestmark = pytest.mark.peers

STUDY = "1.3.46.670589.11.45237.5.0.6612.2024040912451831006"
SERIES = "1.3.46.670589.11.45237.5.0.15852.2024040913245022391"
PATIENT = "PPB_PDL030_V2"
STRUCTURED_REPORTS = {EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage}
RESULTS = [
    "scp-sr",
    "scp-sc",
    "scp-pdf",
    "pacs-sr",
    "pacs-sc",
    "pacs-pdf",
    "his",
    "fhir",
    "hook",
]
FORWARDS = ["archive", "archive-web"]


@dataclass
class Peers:
    """Everyone who receives."""

    scp: dcmtk.Storescp
    pacs: Orthanc
    archive: Orthanc
    archive_web: Orthanc
    his: MllpServer
    fhir: FhirServer
    hook: WebhookReceiver


@dataclass
class Received:
    """What everyone holds at one moment."""

    scp: list[pydicom.Dataset]
    scp_files: list[Path]
    pacs: list[pydicom.Dataset]
    archive: list[bytes]
    archive_web: list[bytes]
    his: list[hl7.Message]
    reports: list[dict[str, Any]]
    observations: list[dict[str, Any]]
    hook: list[Call]
    trace: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Journey:
    """The engine, its peers, and what they had received when revision 1 was done."""

    engine: Engine
    peers: Peers
    first: Received


def collect(engine: Engine, peers: Peers) -> Received:
    """Look at every receiver."""
    files = peers.scp.files
    return Received(
        scp=[pydicom.dcmread(path) for path in files],
        scp_files=files,
        pacs=[pydicom.dcmread(io.BytesIO(file)) for file in peers.pacs.files()],
        archive=peers.archive.files(),
        archive_web=peers.archive_web.files(),
        his=peers.his.messages,
        reports=peers.fhir.resources("DiagnosticReport"),
        observations=peers.fhir.resources("Observation", "_count=1000"),
        hook=peers.hook.accepted,
        trace=engine.trace(STUDY),
    )


def table(dicom_port: int, peers: Peers) -> dict[str, Any]:
    retry = {"first": "500ms", "cap": "2s"}
    receiver = {"site": "st-marys", "retry": retry}
    scp = {**receiver, "host": "127.0.0.1", "port": peers.scp.port, "ae_title": peers.scp.ae_title}
    pacs = {**receiver, "host": "127.0.0.1", "port": peers.pacs.dicom_port, "ae_title": peers.pacs.ae_title}
    return {
        "assembly": {"stable_after": "2s"},
        "sites": {
            "st-marys": {
                "name": "St. Mary's",
                "timezone": "Europe/Dublin",
                "ae_titles": ["STM_PACS"],
                "addresses": ["127.0.0.1"],
                "issuer_of_patient_id": {"namespace": "STM", "oid": "1.2.3.4"},
            }
        },
        "inbound": {
            "pacs": {"type": "c_store", "listen": f"127.0.0.1:{dicom_port}", "ae_title": "PONS"},
            "web": {"type": "stow_rs"},
        },
        "processors": {"dti-qc": {"type": "quality_control"}},
        "outbound": {
            "scp-sr": {"type": "dicom_sr", **scp},
            "scp-sc": {"type": "dicom_sc", **scp},
            "scp-pdf": {"type": "dicom_pdf", **scp},
            "pacs-sr": {"type": "dicom_sr", **pacs},
            "pacs-sc": {"type": "dicom_sc", **pacs},
            "pacs-pdf": {"type": "dicom_pdf", **pacs},
            "archive": {
                "type": "dicom_forward",
                **receiver,
                "host": "127.0.0.1",
                "port": peers.archive.dicom_port,
                "ae_title": peers.archive.ae_title,
            },
            "archive-web": {"type": "stow_forward", **receiver, "url": peers.archive_web.dicomweb_url},
            "his": {"type": "hl7_oru", **receiver, "host": "127.0.0.1", "port": peers.his.port},
            "fhir": {"type": "fhir_diagnostic_report", **receiver, "url": peers.fhir.url},
            "hook": {"type": "webhook", **receiver, "url": peers.hook.url, "secret": {"env": "HOOK_SECRET"}},
        },
        "routes": [
            {
                "name": "brain dti",
                "from": ["pacs", "web"],
                "match": {
                    "all": [
                        {"site": "st-marys"},
                        {"series": {"Modality": "MR", "SeriesDescription": {"matches": "(?i)dti"}}},
                    ]
                },
                "process": "dti-qc",
                "deliver": [*FORWARDS, *RESULTS],
            },
            {"name": "nothing matched", "otherwise": True, "hold": "no route matched"},
        ],
    }


@pytest.fixture(scope="module")
def journey(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int], real_study_of_dcmtk: Path
) -> Iterator[Journey]:
    folder = tmp_path_factory.mktemp("journey")
    with contextlib.ExitStack() as stack:
        scp = dcmtk.Storescp(folder / "scp", free_port(), "STM_PACS", ()).start()
        stack.callback(scp.stop)
        orthancs = {}
        for name in ("PACS", "ARCHIVE", "ARCHIVE_WEB"):
            orthancs[name] = Orthanc(folder / name, free_port(), free_port(), name, {}, {})
            stack.callback(orthancs[name].stop)
        his = MllpServer(folder / "his", free_port())
        stack.callback(his.stop)
        fhir = FhirServer(folder / "fhir", free_port())
        stack.callback(fhir.stop)
        hook = WebhookReceiver(free_port())
        stack.callback(hook.stop)
        peers = Peers(scp, orthancs["PACS"], orthancs["ARCHIVE"], orthancs["ARCHIVE_WEB"], his, fhir, hook)
        dicom_port = free_port()
        with running_engine(
            folder / "engine",
            free_port(),
            dicom_port,
            table(dicom_port, peers),
            environment={"HOOK_SECRET": hook.secret},
        ) as engine:
            sent = dcmtk.storescu(dicom_port, [real_study_of_dcmtk], calling="STM_PACS")
            assert len(sent.acknowledged) == 260, sent.output[-2000:]
            engine.wait_for_states({name: ["delivered"] for name in (*RESULTS, *FORWARDS)}, timeout=180)
            yield Journey(engine, peers, collect(engine, peers))
        assert his.faults == []


def of_classes(instances: list[pydicom.Dataset], *classes: str) -> list[pydicom.Dataset]:
    return [instance for instance in instances if instance.SOPClassUID in classes]


def dsrdump(path: Path) -> str:
    """A structured report as DCMTK reads it."""
    done = subprocess.run(
        [binary("dsrdump", "dcmtk"), str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize("receiver", ["scp", "pacs"])
def test_the_pacs_receives_sr_sc_and_pdf_in_the_studys_own_hierarchy(journey: Journey, receiver: str) -> None:
    received = getattr(journey.first, receiver)

    assert len(received) == 3
    assert len(of_classes(received, *STRUCTURED_REPORTS)) == 1
    assert len(of_classes(received, SecondaryCaptureImageStorage)) == 1
    assert len(of_classes(received, EncapsulatedPDFStorage)) == 1
    for instance in received:
        assert instance.StudyInstanceUID == STUDY
        assert instance.SeriesInstanceUID != SERIES
        assert (str(instance.PatientID), str(instance.PatientName)) == (PATIENT, PATIENT)
    assert len({instance.SOPInstanceUID for instance in received}) == 3


def test_every_received_structured_report_passes_dciodvfy(journey: Journey, tmp_path: Path) -> None:
    reports = of_classes(journey.first.scp + journey.first.pacs, *STRUCTURED_REPORTS)

    assert len(reports) == 2
    for number, report in enumerate(reports):
        path = tmp_path / f"{number}.dcm"
        report.save_as(path, enforce_file_format=True)
        assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("sop_class", [SecondaryCaptureImageStorage, EncapsulatedPDFStorage])
def test_the_secondary_capture_and_the_pdf_pass_dciodvfy(journey: Journey, sop_class: str) -> None:
    paths = [
        path
        for path, instance in zip(journey.first.scp_files, journey.first.scp, strict=True)
        if instance.SOPClassUID == sop_class
    ]

    assert len(paths) == 1
    assert dciodvfy_errors(paths[0]) == []


def test_the_structured_report_names_resolution_and_slice_count_as_out_of_protocol(journey: Journey) -> None:
    [path] = [
        path
        for path, instance in zip(journey.first.scp_files, journey.first.scp, strict=True)
        if instance.SOPClassUID in STRUCTURED_REPORTS
    ]
    text = dsrdump(path)

    assert re.search(r'NUM:\(,,"In-plane resolution"\)="1\.60*" \(mm,UCUM', text), text
    assert re.search(r'NUM:\(,,"Slice count"\)="4"', text), text
    assert "Out of protocol" in text


def test_the_report_as_pdf_is_a_pdf_that_names_them_too(journey: Journey, tmp_path: Path) -> None:
    [document] = of_classes(journey.first.scp, EncapsulatedPDFStorage)
    path = tmp_path / "report.pdf"
    path.write_bytes(document.EncapsulatedDocument)

    text = subprocess.run(
        [binary("pdftotext", "poppler-utils"), "-layout", str(path), "-"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "In-plane resolution is 1.6 mm; the protocol asks for 1.85 to 2.15 mm" in " ".join(text.split())
    assert "Slice count is 4; the protocol asks for 64 to 86" in " ".join(text.split())


def flagged_in(message: hl7.Message) -> dict[str, tuple[str, str, str]]:
    """Meaning of the concept -> (value type, value, flag) of every OBX that is not normal."""
    return {
        str(obx[3]).split("^")[1]: (str(obx[2]), str(obx[5]), str(obx[8]))
        for obx in message.segments("OBX")
        if str(obx[8]) not in {"", "N"}
    }


def test_the_his_receives_one_oru_with_the_abnormal_findings_flagged(journey: Journey) -> None:
    [message] = journey.first.his

    assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert str(message.segment("PID")[3]).startswith(f"{PATIENT}^^^STM&1.2.3.4&ISO^MR")
    assert str(message.segment("OBR")[25]) == "F"
    flagged = flagged_in(message)
    assert flagged["Slice count"] == ("NM", "4", "L")
    assert flagged["In-plane resolution"] == ("NM", "1.600", "L")
    assert set(flagged) == {
        "Protocol check",
        "Echo time",
        "Flip angle",
        "In-plane resolution",
        "Slice count",
        "Number of b0 images",
    }


def test_the_fhir_server_holds_one_final_report_whose_observations_flag_them(journey: Journey) -> None:
    [report] = journey.first.reports

    assert report["status"] == "final"
    referenced = {entry["reference"] for entry in report["result"]}
    held = {f"Observation/{observation['id']}": observation for observation in journey.first.observations}
    assert referenced <= set(held)
    low = {
        observation["code"]["coding"][0]["display"]: observation["valueQuantity"]["value"]
        for observation in held.values()
        if "L"
        in {coding["code"] for one in observation.get("interpretation", []) for coding in one["coding"]}
    }
    assert low["Slice count"] == 4
    assert low["In-plane resolution"] == pytest.approx(1.6)


def test_the_webhook_receiver_believes_its_one_call_in_two_languages(journey: Journey) -> None:
    [call] = journey.first.hook

    assert call.event["type"] == "result.final"
    assert len(call.body) < 20_000
    assert journey.peers.hook.verifies_in_node(call)
    assert [one for one in journey.peers.hook.calls if not one.verified] == []


@pytest.mark.parametrize("receiver", ["archive", "archive_web"])
def test_the_archive_receives_the_study_as_it_was_sent(
    journey: Journey, real_study_of_dcmtk: Path, receiver: str
) -> None:
    received = {data_set_bytes(file) for file in getattr(journey.first, receiver)}

    assert received == set(data_sets(list(real_study_of_dcmtk.iterdir())).values())


def test_the_trace_tells_the_story_in_order(journey: Journey) -> None:
    story = journey.first.trace
    kinds = [event["what"] for event in story]

    assert [event["at"] for event in story] == sorted(event["at"] for event in story)
    first = {kind: kinds.index(kind) for kind in dict.fromkeys(kinds)}
    for earlier, later in (
        ("received", "stable"),
        ("stable", "decided"),
        ("decided", "attempt"),
        ("decided", "processed"),
        ("decided", "result"),
    ):
        assert first[earlier] < first[later], (earlier, later)
    answered = next(n for n, event in enumerate(story) if event["text"].startswith("his [final] attempt 1"))
    assert first["result"] < answered
    text = "\n".join(event["text"] for event in story)
    assert "260 instances" in text
    assert "from STM_PACS at 127.0.0.1" in text
    assert "brain dti" in text
    attempts = [event["text"] for event in story if event["what"] == "attempt"]
    for destination in (*RESULTS, *FORWARDS):
        assert any(one.startswith(destination) and "delivered" in one for one in attempts), destination
    printed = journey.engine.pons("trace", STUDY)
    assert len(printed.splitlines()) == len(story) + 1


# ── afterwards ──────────────────────────────────────────────────────────────────────────────────


def test_a_study_sent_again_is_acknowledged_and_not_routed_again(
    journey: Journey, real_study_of_dcmtk: Path
) -> None:
    sent = dcmtk.storescu(journey.engine.dicom_port, [real_study_of_dcmtk], calling="STM_PACS")

    assert len(sent.acknowledged) == 260
    study = journey.engine.wait_for_study(study=STUDY, duplicates=260)
    assert (study["revision"], study["instances"], study["state"]) == (1, 260, "stable")
    assert journey.engine.delivery_states() == {name: ["delivered"] for name in (*RESULTS, *FORWARDS)}
    assert len(journey.peers.his.received) == 1


@pytest.fixture(scope="module")
def corrected(
    journey: Journey, real_study_of_dcmtk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Received:
    """What everyone holds after one more instance of the series came late."""
    [late] = small_study(
        real_study_of_dcmtk,
        tmp_path_factory.mktemp("late"),
        instances=1,
        study_instance_uid=STUDY,
        series_instance_uid=SERIES,
        person=None,
    )
    sent = dcmtk.storescu(journey.engine.dicom_port, [late], calling="STM_PACS")
    assert len(sent.acknowledged) == 1, sent.output
    journey.engine.wait_for_states(
        {name: ["delivered", "delivered"] for name in (*RESULTS, *FORWARDS)}, timeout=180
    )
    return collect(journey.engine, journey.peers)


def test_a_late_instance_makes_revision_2_of_the_study(journey: Journey, corrected: Received) -> None:
    study = journey.engine.wait_for_study(study=STUDY)

    assert (study["revision"], study["instances"]) == (2, 261)
    assert len(corrected.archive) == len(corrected.archive_web) == 261


def test_the_corrected_structured_report_names_its_predecessor(journey: Journey, corrected: Received) -> None:
    reports = of_classes(corrected.scp, *STRUCTURED_REPORTS)
    [first] = of_classes(journey.first.scp, *STRUCTURED_REPORTS)

    [second] = [report for report in reports if report.SOPInstanceUID != first.SOPInstanceUID]
    [predecessor] = second.PredecessorDocumentsSequence
    [series] = predecessor.ReferencedSeriesSequence
    [reference] = series.ReferencedSOPSequence
    assert predecessor.StudyInstanceUID == STUDY
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert len(reports) == 2


def test_the_corrected_oru_has_a_new_control_id_and_the_same_filler_number(corrected: Received) -> None:
    first, second = corrected.his

    assert str(second.segment("OBR")[25]) == "C"
    assert str(second.segment("MSH")[10]) != str(first.segment("MSH")[10])
    assert str(second.segment("OBR")[3]) == str(first.segment("OBR")[3])


def test_the_fhir_report_is_updated_in_place_as_corrected(journey: Journey, corrected: Received) -> None:
    [report] = corrected.reports

    assert report["status"] == "corrected"
    assert report["id"] == journey.first.reports[0]["id"]


def test_the_webhook_tells_of_the_corrected_revision(corrected: Received) -> None:
    first, second = corrected.hook

    assert second.event["type"] == "result.corrected"
    assert first.webhook_id != second.webhook_id
