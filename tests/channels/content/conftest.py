"""Results to render, full and minimal, and the judges that read what was rendered."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from channels.content import event, fhir, oru, pdf, sc, sr
from engine.model import (
    Acknowledged,
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
from engine.study_context import read_header
from tests.peers.judges import dciodvfy_errors
from tests.peers.process import binary

RENDERED_AT = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)

MM = Code(value="mm", scheme="UCUM", meaning="millimeter")
ML = Code(value="mL", scheme="UCUM", meaning="milliliter")
ONE = Code(value="1", scheme="UCUM", meaning="no units")

HEADER: dict[str, Any] = {
    "00080020": {"vr": "DA", "Value": ["20240409"]},
    "00080030": {"vr": "TM", "Value": ["124518"]},
    "00080060": {"vr": "CS", "Value": ["MR"]},
    "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Ref^Ann"}]},
    "00080201": {"vr": "SH", "Value": ["+0100"]},
    "00081030": {"vr": "LO", "Value": ["MR brain"]},
    "00101010": {"vr": "AS", "Value": ["054Y"]},
    "00180015": {"vr": "CS", "Value": ["BRAIN"]},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {
                "00401001": {"vr": "SH", "Value": ["RP-7"]},
                "00321060": {"vr": "LO", "Value": ["MR brain with diffusion"]},
            }
        ],
    },
}


def _findings() -> tuple[Finding, ...]:
    hippocampus = Code(value="5366008", scheme="SCT", meaning="Hippocampus")
    return (
        Finding(
            concept=Code(value="protocol-check", scheme="99PONS", meaning="Protocol check"),
            value=Code(value="out-of-protocol", scheme="99PONS", meaning="Out of protocol"),
            flag=Flag.ABNORMAL,
            group="Verdict",
            comment="DTI | 3 T",
        ),
        Finding(
            concept=Code(value="in-plane", scheme="99PONS", meaning="In-plane resolution"),
            value=Decimal("1.60"),
            unit=MM,
            reference_range=Range(low=Decimal("1.85"), high=Decimal("2.15")),
            flag=Flag.LOW,
            group="Geometry",
        ),
        *(
            Finding(
                concept=Code(value="118565006", scheme="SCT", meaning="Volume"),
                value=Decimal(value),
                unit=ML,
                reference_range=Range(low=Decimal("2.0")),
                flag=flag,
                site=hippocampus,
                laterality=Code(value=code, scheme="SCT", meaning=side),
                tracking_id=f"hippocampus {side.lower()}",
                tracking_uid=uid_from("test", side),
                group="Volumes",
            )
            for value, flag, code, side in (
                ("3.50", Flag.NORMAL, "7771000", "Left"),
                ("1.900", Flag.LOW, "24028007", "Right"),
            )
        ),
        Finding(
            concept=Code(value="snr", scheme="99PONS", meaning="SNR"),
            value=Decimal("-0.0000123"),
            unit=ONE,
            reference_range=Range(high=Decimal(5)),
        ),
        Finding(
            concept=Code(value="remark", scheme="99PONS", meaning="Remark"),
            value="first line ~ ^ & \\ |\nzweite Zeile µ",
        ),
    )


@pytest.fixture
def picture_png() -> Callable[..., bytes]:
    """A function that makes a PNG file of one colour."""

    def make(width: int = 640, height: int = 480, mode: str = "RGB", colour: Any = (20, 90, 160)) -> bytes:
        buffer = BytesIO()
        Image.new(mode, (width, height), colour).save(buffer, "png")
        return buffer.getvalue()

    return make


@pytest.fixture
def full(tmp_path: Path, picture_png: Callable[..., bytes]) -> Result:
    """A result with a value in every place that has one."""
    montage = tmp_path / "montage.png"
    montage.write_bytes(picture_png())
    series = uid_from("test", "series")
    return Result(
        result_id="5f0c9d0e-2a65-4c0b-9f53-4d9b3c1f7a10",
        site="st-marys",
        route="brain dti",
        status=ResultStatus.FINAL,
        produced_at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
        patient=Patient(
            patient_id="P|1",
            issuer=Issuer(namespace="STM", oid="1.2.3.4"),
            name=PersonName.parse("Yamada^Tarou^^Dr^Jr=山田^太郎=やまだ^たろう"),
            birth_date=date(1970, 3, 1),
            sex="F",
        ),
        order=Order(
            placer_order_number="PL-1",
            filler_order_number="FI-1",
            accession_number="ACC-1",
            issuer_of_accession_number=Issuer(namespace="RIS", oid="1.2.3.5"),
            procedure=Code(value="BRDTI", scheme="99STM", meaning="Brain diffusion"),
            requester=PersonName.parse("Ref^Ann^^Prof"),
        ),
        study=StudyReference(
            study_instance_uid=uid_from("test", "study"),
            revision=1,
            study_id="S-1",
            description="MR brain",
            started_at=datetime(2024, 4, 9, 12, 45, 18),
            timezone="Europe/Dublin",
            modalities=("MR",),
            instances=tuple(
                InstanceReference(
                    series_instance_uid=series,
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                    sop_instance_uid=uid_from("test", "instance", str(number)),
                )
                for number in range(3)
            ),
            header=HEADER,
        ),
        report=Report(
            title="Diffusion MR quality control",
            findings=_findings(),
            narrative="Protocol: brain diffusion.\nIn-plane resolution is 1.60 mm.",
            impression="protocol check failed: in-plane resolution",
            artefacts=(Artefact(name="montage.png", media_type="image/png", title="Montage", path=montage),),
            algorithm=Algorithm(
                name="Pons quality control",
                version="0.1.0",
                manufacturer="Pons",
                udi="(01)00844588003288(10)A213B1",
            ),
            disclaimer="technical quality control, not for diagnostic use",
        ),
    )


@pytest.fixture
def minimal() -> Result:
    """A result of a study that says nothing but its UID."""
    return Result(
        result_id="r-1",
        site="st-marys",
        route="any",
        status=ResultStatus.FINAL,
        produced_at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
        patient=Patient(),
        order=Order(),
        study=StudyReference(study_instance_uid=uid_from("test", "bare study")),
        report=Report(algorithm=Algorithm(name="algorithm", version="1")),
    )


@pytest.fixture
def history() -> Callable[..., History]:
    """A function that makes the history of a destination from what it acknowledged before."""

    def make(*statuses: ResultStatus, sop_class_uid: str = "", delivery: str = "d-9") -> History:
        acknowledged = tuple(
            Acknowledged(
                delivery_id=DeliveryId(f"d-{number}"),
                status=status,
                revision=number,
                identifiers=(uid_from(f"d-{number}", "earlier"),),
                sop_class_uids=(sop_class_uid,),
            )
            for number, status in enumerate(statuses, start=1)
        )
        return History(DeliveryId(delivery), RENDERED_AT, acknowledged)

    return make


@pytest.fixture
def in_standing(
    full: Result, minimal: Result, history: Callable[..., History]
) -> Callable[..., tuple[Result, History]]:
    """A function: the full or minimal result in some status, with the history that goes with it."""

    def make(kind: str, status: ResultStatus, sop_class_uid: str = "1.2.3") -> tuple[Result, History]:
        result = {"full": full, "minimal": minimal}[kind].model_copy(update={"status": status})
        if status is ResultStatus.FAILED:
            algorithm = Algorithm(name="dti-qc", version="")
            report = Report(
                title="Processing failed", narrative="Processor dti-qc: timed out.", algorithm=algorithm
            )
            result = result.model_copy(update={"report": report})
        before = (ResultStatus.FINAL,) if status in (ResultStatus.CORRECTED, ResultStatus.RETRACTED) else ()
        return result, history(*before, sop_class_uid=sop_class_uid)

    return make


RENDERERS: dict[str, Callable[[Result, History], Any]] = {
    "sr": sr.render,
    "sc": sc.render,
    "pdf": pdf.render,
    "oru": oru.render,
    "oru with pdf": lambda r, h: oru.render(r, h, oru.Profile(include_pdf=True)),
    "oru 2.3.1": lambda r, h: oru.render(r, h, oru.Profile(version="2.3.1", charset="8859/1")),
    "oru in japanese": lambda r, h: oru.render(
        r, h, oru.Profile(version="2.4", charset="ISO IR87", segments=("PV1",))
    ),
    "fhir upsert": fhir.render,
    "fhir r5": lambda r, h: fhir.render(r, h, "upsert", "R5", include_pdf=True),
    "fhir report": lambda r, h: fhir.render(r, h, "report"),
    "fhir document": lambda r, h: fhir.render(r, h, "document"),
    "event": event.render,
}


@pytest.fixture(params=list(RENDERERS))
def renderer(request: pytest.FixtureRequest) -> Callable[[Result, History], Any]:
    """Each renderer in turn."""
    return RENDERERS[request.param]


@pytest.fixture
def read() -> Callable[[Any], Dataset]:
    """A function that parses a DICOM part of a payload."""
    return lambda part: dcmread(BytesIO(part.read()))


@pytest.fixture
def dciodvfy(tmp_path: Path) -> Callable[[Any], list[str]]:
    """A judge: the errors that dicom3tools finds in a part."""

    def judge(part: Any) -> list[str]:
        path = tmp_path / f"{part.identifier}.dcm"
        path.write_bytes(part.read())
        return dciodvfy_errors(path)

    return judge


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., str]:
    """A function that runs a reading tool on some bytes and returns what it printed."""

    def run(name: str, package: str, content: bytes, *arguments: str) -> str:
        path = tmp_path / "read"
        path.write_bytes(content)
        command = [binary(name, package), *(str(path) if one == "{}" else one for one in arguments)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[:2000]
        return done.stdout.decode("utf-8")

    return run


@pytest.fixture(scope="session")
def real_header(real_study: Path) -> dict[str, Any]:
    """The header of a real MR instance, as a study context carries it."""
    header: dict[str, Any] = read_header(sorted(real_study.iterdir())[0]).to_json_dict()
    return header
