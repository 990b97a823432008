"""Who a study is of, which order it answers, what it holds: read from its own stored instances.

Enter: the stored instances of a study revision. Leave: the clinical facts that every result
carries (patient, order, study reference), from the header of one representative instance
(PS3.3 C.7.1.1, C.7.2.1, C.7.3.1). A sloppy value (an impossible date, an unknown sex) becomes an
empty one: a result must not fail because a technologist mistyped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, cast

from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from engine.decoded import decoded, repertoire_of
from engine.model import (
    Code,
    InstanceReference,
    Issuer,
    Order,
    Patient,
    PersonName,
    Site,
    StoredInstance,
    StudyReference,
)

MAX_HEADER_VALUE = 4096  # bytes; longer elements are no identification and stay out of the header


@dataclass(frozen=True, slots=True)
class StudyContext:
    """The clinical facts of a study revision."""

    patient: Patient
    order: Order
    study: StudyReference


def read_context(stored: Sequence[StoredInstance], site: Site, revision: int) -> StudyContext:
    """Read the clinical facts; blocks for one file. ``stored`` must not be empty."""
    found = context_of_header(read_header(stored[0].path), site.issuer_of_patient_id)
    study = found.study.model_copy(
        update={
            "revision": revision,
            "timezone": site.timezone,
            "instances": tuple(
                InstanceReference(
                    series_instance_uid=one.series_instance_uid,
                    sop_class_uid=one.sop_class_uid,
                    sop_instance_uid=one.sop_instance_uid,
                )
                for one in stored
            ),
        }
    )
    return StudyContext(found.patient, found.order, study)


def context_of_header(header: Dataset, issuer: Issuer) -> StudyContext:
    """What a header says; of the study revision, its zone and its instances it says nothing.

    Args:
        issuer: of the patient's identifier where the header names none.
    """
    return StudyContext(
        patient=_patient(header, issuer),
        order=_order(header),
        study=StudyReference(
            study_instance_uid=_text(header, "StudyInstanceUID"),
            study_id=_text(header, "StudyID"),
            description=_text(header, "StudyDescription"),
            started_at=_started_at(header),
            modalities=(_text(header, "Modality"),) if _text(header, "Modality") else (),
            header=header.to_json_dict(),
        ),
    )


def read_header(path: Path) -> Dataset:
    """The data set of a stored instance without pixel data, private and bulky elements.

    Values are decoded to Unicode; `SpecificCharacterSet` is dropped with that, as DICOM JSON is
    UTF-8 (PS3.18 F.2).
    """
    source = dcmread(path, stop_before_pixels=True, defer_size=MAX_HEADER_VALUE)
    repertoire = repertoire_of(source)
    header = Dataset()
    for element in source.elements():
        length = getattr(element, "length", 0) or 0
        if element.tag.is_private or length > MAX_HEADER_VALUE or element.tag.group > 0x0054:
            continue
        try:
            with contextlib.suppress(KeyError):
                converted = decoded(source, element.tag, repertoire)
                converted.to_json_dict(None, 1024)  # what cannot be written as JSON is left out
                header.add(converted)
        except (ValueError, TypeError, AttributeError, NotImplementedError):
            continue
    header.pop("SpecificCharacterSet", None)
    return header


def _text(header: Dataset, keyword: str) -> str:
    value: Any = header.get(keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Sequence):
        return str(value[0]).strip() if value else ""
    return str(value).strip()


def _patient(header: Dataset, default: Issuer) -> Patient:
    qualifiers = header.get("IssuerOfPatientIDQualifiersSequence") or []
    oid = _text(qualifiers[0], "UniversalEntityID") if qualifiers else ""
    issuer = Issuer(namespace=_text(header, "IssuerOfPatientID"), oid=oid)
    sex = _text(header, "PatientSex").upper()
    return Patient(
        patient_id=_text(header, "PatientID"),
        issuer=issuer if issuer.namespace or issuer.oid else default,
        name=PersonName.parse(_text(header, "PatientName")),
        birth_date=_date(header, "PatientBirthDate"),
        sex=cast(Literal["M", "F", "O"], sex) if sex in ("M", "F", "O") else "",
    )


def _order(header: Dataset) -> Order:
    requests = header.get("RequestAttributesSequence") or []
    request = requests[0] if requests else Dataset()
    issuers = header.get("IssuerOfAccessionNumberSequence") or []
    issuer = issuers[0] if issuers else Dataset()
    procedures = header.get("ProcedureCodeSequence") or request.get("RequestedProcedureCodeSequence") or []
    return Order(
        placer_order_number=_first(header, request, "PlacerOrderNumberImagingServiceRequest"),
        filler_order_number=_first(header, request, "FillerOrderNumberImagingServiceRequest"),
        accession_number=_first(header, request, "AccessionNumber"),
        issuer_of_accession_number=Issuer(
            namespace=_text(issuer, "LocalNamespaceEntityID"), oid=_text(issuer, "UniversalEntityID")
        ),
        procedure=_code(procedures[0]) if procedures else None,
        requester=PersonName.parse(
            _text(header, "ReferringPhysicianName") or _text(header, "RequestingPhysician")
        ),
    )


def _first(header: Dataset, request: Dataset, keyword: str) -> str:
    return _text(header, keyword) or _text(request, keyword)


def _code(item: Dataset) -> Code | None:
    value, scheme = _text(item, "CodeValue"), _text(item, "CodingSchemeDesignator")
    if not value or not scheme:
        return None
    return Code(value=value[:64], scheme=scheme[:16], meaning=(_text(item, "CodeMeaning") or value)[:256])


def _date(header: Dataset, keyword: str) -> date | None:
    try:
        parsed = DA(_text(header, keyword))
    except ValueError:
        return None
    return date(parsed.year, parsed.month, parsed.day) if parsed else None


def _started_at(header: Dataset) -> datetime | None:
    day = _date(header, "StudyDate")
    if day is None:
        return None
    clock = time()
    with contextlib.suppress(ValueError):
        parsed = TM(_text(header, "StudyTime"))
        if parsed:
            clock = time(parsed.hour, parsed.minute, parsed.second)
    return datetime.combine(day, clock, _offset(_text(header, "TimezoneOffsetFromUTC")))


def _offset(text: str) -> timezone | None:
    """`+0530` as a time zone; None when absent or malformed (PS3.3 C.12.1.1.8)."""
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    if minutes >= 24 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes)) if minutes else UTC


def tolerate_sloppy_values() -> None:
    """Real devices break value rules; reading them must neither warn nor fail."""
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
