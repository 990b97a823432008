"""How long it takes to render one result, and how large it becomes, with 20 and with 400 findings.

    python -m bench.render [--short]

Enter: a result made for the purpose (a study of 260 instances, numbers with ranges in groups of ten, one
picture). Leave: rows of milliseconds (by the clock, and of the processor, which tells more on a busy
machine) and kB for each format, medians over the runs, beside what the libraries of others take in the
same runs: hl7apy for a message of the same observations, highdicom for a structured report of the same
measurements on the same evidence.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
from hl7apy.core import Message
from PIL import Image
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from channels.content import csv_table, event, fhir, json_document, oru, pdf, plain_text, sc, sr, xml_document
from engine.model import (
    Algorithm,
    Artefact,
    Code,
    DeliveryId,
    Finding,
    Flag,
    History,
    InstanceReference,
    Issuer,
    Order,
    Patient,
    PersonName,
    Range,
    Report,
    Result,
    ResultStatus,
    StudyReference,
    uid_from,
)

OUT = Path(__file__).parent / "out" / "render.json"
SIZES = (20, 400)
INSTANCES = 260
GROUP = 10  # findings
METRICS = ("ms", "cpu ms", "kB")
MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"
STUDY, SERIES = uid_from("bench", "study"), uid_from("bench", "series")
MM = Code(value="mm", scheme="UCUM", meaning="millimeter")

Work = Callable[[], list[bytes]]


def result(findings: int, picture: Path) -> Result:
    """A result with so many findings."""
    chance = random.Random(1)
    return Result(
        result_id="bench",
        site="st-marys",
        route="bench",
        status=ResultStatus.FINAL,
        produced_at=MOMENT,
        patient=Patient(
            patient_id="BENCH-1",
            issuer=Issuer(namespace="STM", oid="2.999.1"),
            name=PersonName.parse("Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ),
        order=Order(placer_order_number="PL-1", filler_order_number="FI-1", accession_number="ACC-1"),
        study=StudyReference(
            study_instance_uid=STUDY,
            started_at=datetime(2026, 3, 2, 8, 30),
            timezone="Europe/Dublin",
            modalities=("MR",),
            instances=tuple(
                InstanceReference(
                    series_instance_uid=SERIES,
                    sop_class_uid=MR,
                    sop_instance_uid=uid_from("bench", str(number)),
                )
                for number in range(INSTANCES)
            ),
            header={"00080020": {"vr": "DA", "Value": ["20260302"]}},
        ),
        report=Report(
            title="Measurements",
            findings=tuple(
                Finding(
                    concept=Code(value=f"m{number}", scheme="99BENCH", meaning=f"Measurement {number}"),
                    value=Decimal(chance.randrange(100, 999)) / 100,
                    unit=MM,
                    reference_range=Range(low=Decimal("1.85"), high=Decimal("2.15")),
                    flag=Flag.LOW,
                    group=f"Group {number // GROUP}",
                )
                for number in range(findings)
            ),
            narrative="All measurements are invented.",
            impression="None.",
            artefacts=(Artefact(name="p.png", media_type="image/png", title="Picture", path=picture),),
            algorithm=Algorithm(name="Bench", version="1", manufacturer="Pons"),
            disclaimer="Invented.",
        ),
    )


def ours(subject: Result) -> dict[str, Work]:
    """Name of a format -> render it, from the result to the bytes that travel."""
    history = History(DeliveryId("bench"), MOMENT)

    def parts(render: Callable[..., Any], *more: Any) -> Work:
        return lambda: [part.read() for part in render(subject, history, *more).parts]

    return {
        "oru": parts(oru.render),
        "fhir": parts(fhir.render, "upsert"),
        "webhook": parts(event.render, "full"),
        "sr": parts(sr.render),
        "sc": parts(sc.render),
        "pdf": parts(pdf.render),
        "json": lambda: [json_document.export(subject)],
        "csv": lambda: [csv_table.export(subject)],
        "txt": lambda: [plain_text.export(subject)],
        "xml": lambda: [xml_document.export(subject)],
    }


def by_hl7apy(subject: Result) -> bytes:
    """An ORU^R01 of the same observations, built as hl7apy's documentation builds one."""
    message = Message("ORU_R01", version="2.5.1")
    message.msh.msh_9 = "ORU^R01^ORU_R01"
    message.msh.msh_10 = "1"
    message.msh.msh_11 = "P"
    answer = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = answer.add_group("ORU_R01_PATIENT")
    patient.pid.pid_3 = f"{subject.patient.patient_id}^^^STM&2.999.1&ISO^MR"
    patient.pid.pid_5 = "Yamada^Tarou"
    order = answer.add_group("ORU_R01_ORDER_OBSERVATION")
    order.obr.obr_2, order.obr.obr_3, order.obr.obr_25 = "PL-1", "FI-1", "F"
    order.obr.obr_4 = "1^Measurements^99BENCH"
    for number, finding in enumerate(subject.report.findings, start=1):
        obx = order.add_group("ORU_R01_OBSERVATION").obx
        obx.obx_1 = str(number)
        obx.obx_2 = "NM"
        obx.obx_3 = f"{finding.concept.value}^{finding.concept.meaning}^{finding.concept.scheme}"
        obx.obx_4 = str((number - 1) // GROUP + 1)
        obx.obx_5 = str(finding.value)
        obx.obx_6 = "mm^millimeter^UCUM"
        obx.obx_7 = "1.85-2.15"
        obx.obx_8 = "L"
        obx.obx_11 = "F"
    text: str = message.to_er7()
    return text.encode()


def evidence(subject: Result) -> list[Dataset]:
    """The source instances as highdicom wants them: data sets of what it reads."""
    found = []
    for one in subject.study.instances:
        dataset = Dataset()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, one.series_instance_uid
        dataset.SOPClassUID, dataset.SOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
        dataset.Modality = "MR"
        dataset.PatientID, dataset.PatientName = "BENCH-1", "Yamada^Tarou"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260302", "083000", ""
        found.append(dataset)
    return found


def by_highdicom(subject: Result, sources: list[Dataset]) -> bytes:
    """A Comprehensive SR by TID 1500 of the same measurements, as highdicom makes one by default."""
    sr_ = highdicom.sr
    observer = sr_.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr_.DeviceObserverIdentifyingAttributes(
            uid=uid_from("bench", "device")
        ),
    )
    groups = []
    findings = subject.report.findings
    for start in range(0, len(findings), GROUP):
        measurements = [
            sr_.Measurement(
                name=sr_.CodedConcept(one.concept.value, one.concept.scheme, one.concept.meaning),
                value=float(str(one.value)),
                unit=codes.UCUM.Millimeter,
            )
            for one in findings[start : start + GROUP]
        ]
        tracking = sr_.TrackingIdentifier(
            uid=uid_from("bench", "group", str(start)), identifier=f"Group {start}"
        )
        groups.append(
            sr_.MeasurementsAndQualitativeEvaluations(tracking_identifier=tracking, measurements=measurements)
        )
    content = sr_.MeasurementReport(
        observation_context=sr_.ObservationContext(observer_device_context=observer),
        procedure_reported=sr_.CodedConcept("MRBRAIN", "99BENCH", "MR brain"),
        imaging_measurements=groups,
    )
    document = sr_.ComprehensiveSR(
        evidence=sources,
        content=content,
        series_instance_uid=uid_from("bench", "sr series"),
        series_number=1,
        sop_instance_uid=uid_from("bench", "sr"),
        instance_number=1,
        manufacturer="Bench",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    buffer = BytesIO()
    document.save_as(buffer)
    return buffer.getvalue()


def measure(runs: int, picture: Path) -> list[dict[str, Any]]:
    """Rows for every format and size; in each run every subject takes its turn."""
    works: dict[tuple[str, str], Work] = {}
    for size in SIZES:
        subject = result(size, picture)
        sources = evidence(subject)
        works |= {(f"{name}-{size}", "pons"): work for name, work in ours(subject).items()}
        works[f"oru-{size}", "hl7apy"] = lambda subject=subject: [by_hl7apy(subject)]
        works[f"sr-{size}", "highdicom"] = lambda subject=subject, sources=sources: [
            by_highdicom(subject, sources)
        ]
    sizes = {key: sum(map(len, work())) for key, work in works.items()}  # and everything is warm
    gc.collect()
    gc.freeze()  # what one subject keeps must not slow the collector down under another
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in works}
    for _ in range(runs):
        for key, work in works.items():
            gc.collect()
            started, worked = time.perf_counter(), time.process_time()
            work()
            taken = time.perf_counter() - started, time.process_time() - worked
            times[key].append(taken)
    gc.unfreeze()
    rows = []
    for (name, who), pairs in times.items():
        row = {"work": name, "subject": who, "runs": runs}
        for metric, seconds in zip(("ms", "cpu ms"), zip(*pairs, strict=True), strict=True):
            rows.append({**row, "metric": metric, "value": round(statistics.median(seconds) * 1000, 2)})
        rows.append({**row, "metric": "kB", "value": round(sizes[name, who] / 1000, 1)})
    return rows


def shown(rows: list[dict[str, Any]]) -> Table:
    """One table, a line for each work and subject."""
    table = Table("work", "subject", title="Rendering one result, medians")
    for heading in METRICS:
        table.add_column(heading, justify="right")
    values = {(row["work"], row["subject"], row["metric"]): row["value"] for row in rows}
    for work, subject in dict.fromkeys((row["work"], row["subject"]) for row in rows):
        table.add_row(work, subject, *(f"{values[work, subject, metric]:g}" for metric in METRICS))
    return table


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Milliseconds and kB per format.")
    parser.add_argument("--short", action="store_true", help="5 runs instead of 25")
    short = parser.parse_args().short
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "p.png"
        Image.effect_noise((512, 512), 40).convert("RGB").save(picture)
        rows = measure(5 if short else 25, picture)
    Console().print(shown(rows))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
