"""The part of a DICOM composite object that it takes from its study (PS3.3 C.7.1 to C.7.5, C.12.1).

Enter: a result, whose study carries a source instance's header, and the history of the delivery.
Leave: a data set that already says which patient, study, series, equipment and instance it is, and
the bytes of a finished one. Shared by SR, SC and Encapsulated PDF.

Identity (patient id and name, accession number, UIDs) travels exactly as the source has it, legal or
not: a receiver matches by equality. Anything else that breaks its value representation is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from channels.content.attribute import (
    code_item,
    copy,
    da,
    issuer_item,
    item,
    put,
    short,
    sop_reference,
    text,
    tm,
)
from channels.content.coding import scheme_oid
from channels.content.standing import BANNERS, aware, replaced, site_zone, told_status
from engine.model import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    History,
    InstanceReference,
    Part,
    Result,
    uid_from,
)

MEDIA_TYPE = "application/dicom"


# Carried over from the source header where legal: patient (C.7.1.1), clinical trial (C.7.1.3),
# study (C.7.2.1), patient study (C.7.2.2).
CARRIED_OVER = (
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientSpeciesDescription",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "StudyDescription",
    "PhysiciansOfRecord",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
)

UNPAIRED = frozenset(
    {
        *("ABDOMEN", "BLADDER", "BRAIN", "CHEST", "CSPINE", "HEAD", "HEART", "LIVER", "LSPINE"),
        *("NECK", "PELVIS", "PROSTATE", "SKULL", "SPINE", "TSPINE", "UTERUS", "WHOLEBODY"),
    }
)
"""Body parts (PS3.16 annex L) that have no side."""


def start(
    result: Result,
    history: History,
    *,
    sop_class_uid: str,
    purpose: str,
    modality: str,
    series_number: int,
    title: str,
) -> Dataset:
    """A data set with everything but its content.

    Args:
        purpose: tells apart the objects that one delivery makes; names their UIDs.
        title: what the object is, for the series description.
    """
    dataset = Dataset()
    put(dataset, "SpecificCharacterSet", "ISO_IR 192")
    _carry_over(dataset, result)
    _identify_patient(dataset, result)
    _identify_study(dataset, result)
    now = local(history.rendered_at, result)
    status = told_status(result, history)
    description = " ".join(filter(None, (BANNERS[status].partition(" - ")[0], title)))
    put(dataset, "Modality", modality)
    put(dataset, "SeriesInstanceUID", series_instance_uid(history))
    put(dataset, "SeriesNumber", str(series_number))
    put(dataset, "SeriesDescription", short(description))
    put(dataset, "SeriesDate", da(now))
    put(dataset, "SeriesTime", tm(now))
    _equipment(dataset, result)
    put(dataset, "SOPClassUID", sop_class_uid)
    put(dataset, "SOPInstanceUID", history.uid(purpose))
    put(dataset, "InstanceCreationDate", da(now))
    put(dataset, "InstanceCreationTime", tm(now))
    put(dataset, "ContentDate", da(now))
    put(dataset, "ContentTime", tm(now))
    offset = _offset(result)
    if offset is not None:
        put(dataset, "TimezoneOffsetFromUTC", now.strftime("%z")[:5])
    return dataset


def series_instance_uid(history: History) -> str:
    """Each delivery makes one series of its own."""
    return history.uid("series")


def predecessor(result: Result, history: History) -> list[Dataset]:
    """What this object replaces at its destination, as PredecessorDocumentsSequence (C.17.2.2)."""
    before = replaced(result, history)
    if before is None or not any(before.sop_class_uids):
        return []
    references = [
        sop_reference(sop_class, identifier)
        for sop_class, identifier in zip(before.sop_class_uids, before.identifiers, strict=False)
    ]
    series = item(
        ReferencedSOPSequence=references,
        SeriesInstanceUID=uid_from(before.delivery_id, "series"),
    )
    return [item(StudyInstanceUID=result.study.study_instance_uid, ReferencedSeriesSequence=[series])]


def copy_laterality(dataset: Dataset, result: Result) -> None:
    """Which part and side was imaged, for an image's series (C.7.3.1: Laterality is type 2C)."""
    header = result.study.header
    copy(dataset, header, "BodyPartExamined")
    copy(dataset, header, "Laterality")
    if "Laterality" not in dataset and dataset.get("BodyPartExamined") not in UNPAIRED:
        put(dataset, "Laterality", None)


def evidence(result: Result, further: Iterable[InstanceReference] = ()) -> list[Dataset]:
    """All source instances, and ``further`` ones, as hierarchical references (table C.17-3)."""
    return hierarchy(result.study.study_instance_uid, dict.fromkeys((*result.study.instances, *further)))


def hierarchy(study_instance_uid: str, instances: Iterable[InstanceReference]) -> list[Dataset]:
    """Instances of one study in the Hierarchical SOP Instance Reference Macro (table C.17-3)."""
    series: dict[str, list[Dataset]] = {}
    for one in instances:
        reference = sop_reference(one.sop_class_uid, one.sop_instance_uid)
        series.setdefault(one.series_instance_uid, []).append(reference)
    if not series:
        return []
    members = [item(SeriesInstanceUID=uid, ReferencedSOPSequence=ones) for uid, ones in series.items()]
    return [item(StudyInstanceUID=study_instance_uid, ReferencedSeriesSequence=members)]


def source_references(instances: Iterable[InstanceReference]) -> list[Dataset]:
    """Instances as a flat list of references."""
    return [sop_reference(one.sop_class_uid, one.sop_instance_uid) for one in instances]


def referenced_request(result: Result) -> list[Dataset]:
    """The order that the study answers, as ReferencedRequestSequence (table C.17-2)."""
    order = result.order
    if not (order.accession_number or order.placer_order_number or order.filler_order_number):
        return []
    requests = result.study.header.get("00400275", {}).get("Value") or [{}]
    requested = requests[0] if isinstance(requests[0], Mapping) else {}
    request = item(
        StudyInstanceUID=result.study.study_instance_uid,
        ReferencedStudySequence=[],
        AccessionNumber=order.accession_number,
        PlacerOrderNumberImagingServiceRequest=order.placer_order_number,
        FillerOrderNumberImagingServiceRequest=order.filler_order_number,
        RequestedProcedureID=None,
        RequestedProcedureDescription=None,
        RequestedProcedureCodeSequence=[code_item(order.procedure)] if order.procedure else [],
    )
    for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
        copy(request, requested, keyword)
    issuer = issuer_item(order.issuer_of_accession_number)
    if issuer:
        put(request, "IssuerOfAccessionNumberSequence", [issuer])
    return [request]


def coding_schemes(dataset: Dataset) -> list[Dataset]:
    """The private schemes that a finished data set uses (C.12.1.1.6); the well-known need none."""
    found = {
        str(element.value)
        for element in dataset.iterall()
        if element.tag == 0x00080102 and str(element.value).startswith("99")
    }
    return [
        item(CodingSchemeDesignator=designator, CodingSchemeUID=scheme_oid(designator))
        for designator in sorted(found)
    ]


def finish(dataset: Dataset) -> Part:
    """The data set as a Part 10 file in explicit VR little endian."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    buffer = BytesIO()
    file = FileDataset(buffer, dataset, preamble=b"\0" * 128, file_meta=meta)
    file.save_as(buffer, enforce_file_format=True)
    return Part(
        identifier=str(dataset.SOPInstanceUID),
        media_type=MEDIA_TYPE,
        content=buffer.getvalue(),
        facts={
            "sop_class_uid": str(dataset.SOPClassUID),
            "transfer_syntax_uid": str(ExplicitVRLittleEndian),
            "study_instance_uid": str(dataset.StudyInstanceUID),
            "series_instance_uid": str(dataset.SeriesInstanceUID),
        },
    )


def local(moment: datetime, result: Result) -> datetime:
    """The moment on the clock that the study's own dates and times are on."""
    offset = _offset(result)
    return moment.astimezone(offset) if offset else aware(moment, site_zone(result.study.timezone))


# ── modules ─────────────────────────────────────────────────────────────────────────────────────


def _offset(result: Result) -> timezone | None:
    """The study's own offset from UTC; None when its header tells none.

    The site's zone does not count here: TimezoneOffsetFromUTC would then also be claimed of the
    dates copied from the source, whose clock nobody has vouched for.
    """
    values = result.study.header.get("00080201", {}).get("Value") or [""]
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", str(values[0]).strip())
    if found is None or int(found[2]) > 14:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes)) if minutes else UTC


def _carry_over(dataset: Dataset, result: Result) -> None:
    for keyword in CARRIED_OVER:
        copy(dataset, result.study.header, keyword)


def _identify_patient(dataset: Dataset, result: Result) -> None:
    patient = result.patient
    put(dataset, "PatientName", str(patient.name))
    put(dataset, "PatientID", patient.patient_id)
    if patient.issuer.namespace:
        put(dataset, "IssuerOfPatientID", patient.issuer.namespace)
    if patient.issuer.oid:
        qualifiers = item(UniversalEntityID=patient.issuer.oid, UniversalEntityIDType="ISO")
        put(dataset, "IssuerOfPatientIDQualifiersSequence", [qualifiers])
    put(dataset, "PatientBirthDate", patient.birth_date.strftime("%Y%m%d") if patient.birth_date else None)
    put(dataset, "PatientSex", patient.sex or None)


def _identify_study(dataset: Dataset, result: Result) -> None:
    study, order = result.study, result.order
    put(dataset, "StudyInstanceUID", study.study_instance_uid)
    put(dataset, "StudyID", short(study.study_id, 16) or None)
    started = study.started_at
    if started is not None and started.tzinfo is not None:
        started = local(started, result)
    for keyword, value in (
        ("StudyDate", da(started) if started else None),
        ("StudyTime", tm(started) if started else None),
        ("ReferringPhysicianName", str(order.requester) or None),
    ):
        copy(dataset, study.header, keyword)
        if keyword not in dataset:
            put(dataset, keyword, value)  # type 2: there, if need be empty
    if "StudyDescription" not in dataset and short(study.description):
        put(dataset, "StudyDescription", short(study.description))
    put(dataset, "AccessionNumber", order.accession_number or None)
    issuer = issuer_item(order.issuer_of_accession_number)
    if issuer:
        put(dataset, "IssuerOfAccessionNumberSequence", [issuer])


def _equipment(dataset: Dataset, result: Result) -> None:
    algorithm = result.report.algorithm
    put(dataset, "Manufacturer", short(algorithm.manufacturer or algorithm.name) or "unknown")
    put(dataset, "ManufacturerModelName", short(algorithm.name) or "unknown")
    put(dataset, "DeviceSerialNumber", device_uid(result)[-16:])
    put(dataset, "SoftwareVersions", short(algorithm.version) or "unknown")
    if algorithm.udi:
        udi = item(UniqueDeviceIdentifier=text(algorithm.udi), DeviceDescription=short(algorithm.name))
        put(dataset, "UDISequence", [udi])


def device_uid(result: Result) -> str:
    """A UID for the algorithm in this version."""
    algorithm = result.report.algorithm
    return uid_from("device", algorithm.manufacturer, algorithm.name, algorithm.version)
