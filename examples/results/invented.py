"""An invented patient's volumetry of the hippocampi, as a processor and the engine would leave it."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

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

MONTAGE = Path(__file__).with_name("montage.png")
RENDERED_AT = datetime(2026, 3, 2, 9, 31, 12, tzinfo=UTC)

_MILLILITRE = Code(value="mL", scheme="UCUM", meaning="milliliter")
_PERCENT = Code(value="%", scheme="UCUM", meaning="percent")
_HIPPOCAMPUS = Code(value="5366008", scheme="SCT", meaning="Hippocampus")
_VOLUME = Code(value="118565006", scheme="SCT", meaning="Volume")
_SIDES = {
    "left": Code(value="7771000", scheme="SCT", meaning="Left"),
    "right": Code(value="24028007", scheme="SCT", meaning="Right"),
}


def result() -> Result:
    """The result, final and the first of its kind."""
    return Result(
        result_id="7a3d1f60-52c4-4f0e-8a53-0c1b6a1f9d21",
        site="st-marys",
        route="hippocampal volumetry",
        status=ResultStatus.FINAL,
        produced_at=datetime(2026, 3, 2, 9, 31, tzinfo=UTC),
        patient=Patient(
            patient_id="STM-004711",
            issuer=Issuer(namespace="STM", oid="2.999.1"),
            name=PersonName.parse("Yamada^Tarou=山田^太郎=やまだ^たろう"),
            birth_date=date(1951, 7, 14),
            sex="M",
        ),
        order=Order(
            placer_order_number="PL-2026-0815",
            filler_order_number="FI-2026-0815",
            accession_number="ACC0815",
            issuer_of_accession_number=Issuer(namespace="STM-RIS", oid="2.999.2"),
            procedure=Code(value="MRBRAIN", scheme="99STM", meaning="MR brain"),
            requester=PersonName.parse("Welby^Marcus^^Dr"),
        ),
        study=_study(),
        report=Report(
            title="Hippocampal volumetry",
            findings=_findings(),
            narrative="The volumes were measured on the T1-weighted series.\nMotion: slight, tolerable.",
            impression="Right hippocampus below the normal range for age.",
            artefacts=(
                Artefact(
                    name=MONTAGE.name,
                    media_type="image/png",
                    title="Hippocampi",
                    sha256=hashlib.sha256(MONTAGE.read_bytes()).hexdigest(),
                    path=MONTAGE,
                ),
            ),
            algorithm=Algorithm(
                name="Hippo",
                version="2.4.0",
                manufacturer="Example Imaging",
                udi="(01)00844588003288(10)A213B1",
            ),
            disclaimer="Invented example, not of a person.",
        ),
    )


def history() -> History:
    """A destination that never had a version of it."""
    return History(DeliveryId("b1c0b1f5-6f8c-4b7e-93a4-2f7f4f4d9a10"), RENDERED_AT)


def _study() -> StudyReference:
    study, series = uid_from("example", "study"), uid_from("example", "series")
    return StudyReference(
        study_instance_uid=study,
        study_id="815",
        description="MR brain without contrast",
        started_at=datetime(2026, 3, 2, 8, 55),
        timezone="Europe/Dublin",
        modalities=("MR",),
        instances=tuple(
            InstanceReference(
                series_instance_uid=series,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                sop_instance_uid=uid_from("example", "instance", str(number)),
            )
            for number in (1, 2)
        ),
        header={
            "00080020": {"vr": "DA", "Value": ["20260302"]},
            "00080030": {"vr": "TM", "Value": ["085500"]},
            "00080060": {"vr": "CS", "Value": ["MR"]},
            "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Welby^Marcus^^Dr"}]},
            "00080201": {"vr": "SH", "Value": ["+0000"]},
            "00081030": {"vr": "LO", "Value": ["MR brain without contrast"]},
            "00101010": {"vr": "AS", "Value": ["074Y"]},
            "00180015": {"vr": "CS", "Value": ["BRAIN"]},
        },
    )


def _findings() -> tuple[Finding, ...]:
    volumes = tuple(
        Finding(
            concept=_VOLUME,
            value=Decimal(value),
            unit=_MILLILITRE,
            reference_range=Range(low=Decimal("3.10"), high=Decimal("4.60")),
            flag=flag,
            site=_HIPPOCAMPUS,
            laterality=_SIDES[side],
            tracking_id=f"hippocampus {side}",
            tracking_uid=uid_from("example", "hippocampus", side),
            group=f"Hippocampus, {side}",
        )
        for side, value, flag in (("left", "3.42", Flag.NORMAL), ("right", "2.87", Flag.LOW))
    )
    return (
        *volumes,
        Finding(
            concept=Code(value="asymmetry", scheme="99EXAMPLE", meaning="Asymmetry of volumes"),
            value=Decimal("17.5"),
            unit=_PERCENT,
            reference_range=Range(high=Decimal("10.0")),
            flag=Flag.HIGH,
            group="Comparison",
        ),
        Finding(
            concept=Code(value="image-quality", scheme="99EXAMPLE", meaning="Image quality"),
            value=Code(value="sufficient", scheme="99EXAMPLE", meaning="Sufficient"),
            flag=Flag.NORMAL,
        ),
        Finding(
            concept=Code(value="remark", scheme="99EXAMPLE", meaning="Remark"),
            value="Compare with an earlier examination | if there is one.",
        ),
    )
