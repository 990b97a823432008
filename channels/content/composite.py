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
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import VR, validate_value

from channels.content.coding import scheme_oid
from channels.content.standing import BANNERS, aware, replaced, site_zone, told_status
from engine.model import Code, History, InstanceReference, Issuer, Part, Result, uid_from

MEDIA_TYPE = "application/dicom"

IMPLEMENTATION_CLASS_UID = uid_from("pons")
IMPLEMENTATION_VERSION_NAME = "PONS_0_1"

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

_TEXT_VRS = frozenset(["AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"])
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


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
    _copy(dataset, header, "BodyPartExamined")
    _copy(dataset, header, "Laterality")
    if "Laterality" not in dataset and dataset.get("BodyPartExamined") not in UNPAIRED:
        put(dataset, "Laterality", None)


def evidence(result: Result) -> list[Dataset]:
    """All source instances in the Hierarchical SOP Instance Reference Macro (table C.17-3)."""
    series: dict[str, list[Dataset]] = {}
    for one in result.study.instances:
        reference = sop_reference(one.sop_class_uid, one.sop_instance_uid)
        series.setdefault(one.series_instance_uid, []).append(reference)
    if not series:
        return []
    members = [item(SeriesInstanceUID=uid, ReferencedSOPSequence=ones) for uid, ones in series.items()]
    return [item(StudyInstanceUID=result.study.study_instance_uid, ReferencedSeriesSequence=members)]


def sop_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A SOP Instance Reference Macro item (table 10-11)."""
    return item(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid)


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
        _copy(request, requested, keyword)
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


# ── values ──────────────────────────────────────────────────────────────────────────────────────


def put(dataset: Dataset, keyword: str, value: Any) -> None:
    """Set an element without validation: what is put here is either legal or must stay as it is."""
    vr = dictionary_VR(keyword)
    if vr == VR.SQ:
        value = Sequence(value)
    tag = Tag(tag_for_keyword(keyword) or 0)
    dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))


def item(**values: Any) -> Dataset:
    """A sequence item from keywords."""
    made = Dataset()
    for keyword, value in values.items():
        put(made, keyword, value)
    return made


def code_item(code: Code) -> Dataset:
    """A Code Sequence item (table 8.8-1); a value over 16 characters is a long one."""
    keyword = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    return item(
        **{keyword: short(code.value)},
        CodingSchemeDesignator=short(code.scheme, 16),
        CodeMeaning=short(code.meaning) or "unnamed",
    )


def issuer_item(issuer: Issuer) -> Dataset | None:
    """An HL7v2 Hierarchic Designator item (table 10-17); None when there is no issuer."""
    made = Dataset()
    if issuer.namespace:
        put(made, "LocalNamespaceEntityID", text(issuer.namespace))
    if issuer.oid:
        put(made, "UniversalEntityID", text(issuer.oid))
        put(made, "UniversalEntityIDType", "ISO")
    return made if len(made) else None


def short(value: str, limit: int = 64) -> str:
    """A legal LO or SH: no backslash, no control characters, at most ``limit`` characters."""
    return _CONTROL.sub(" ", value).replace("\\", "/").strip()[:limit].strip()


def text(value: str) -> str:
    """A legal UT or UC: control characters only for lines (PS3.5 6.1.3)."""
    return _CONTROL_IN_TEXT.sub("", value).rstrip()


def local(moment: datetime, result: Result) -> datetime:
    """The moment on the clock that the study's own dates and times are on."""
    offset = _offset(result)
    return moment.astimezone(offset) if offset else aware(moment, site_zone(result.study.timezone))


def da(moment: datetime) -> str:
    """A DA."""
    return moment.strftime("%Y%m%d")


def tm(moment: datetime) -> str:
    """A TM in whole seconds."""
    return moment.strftime("%H%M%S")


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
        _copy(dataset, result.study.header, keyword)


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
        _copy(dataset, study.header, keyword)
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


def _copy(dataset: Dataset, header: Mapping[str, Any], keyword: str) -> None:
    """Copy an attribute of a DICOM JSON header if it is there and legal."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    element = _element(tag, header.get(f"{tag:08X}"))
    if element is not None:
        dataset.add(element)


def _element(tag: Any, entry: Any) -> DataElement | None:
    """A DICOM JSON attribute (PS3.18 F.2.2) as a data element; None when empty or not legal."""
    if not isinstance(entry, Mapping):
        return None
    vr, values = entry.get("vr"), entry.get("Value")
    if not isinstance(values, list) or not values:
        return None
    if vr == "SQ":
        items = [made for one in values if isinstance(one, Mapping) and len(made := _item(one))]
        return DataElement(tag, "SQ", Sequence(items)) if items else None
    if vr not in _TEXT_VRS:
        return None
    plain = [_plain(vr, value) for value in values]
    try:
        for value in plain:
            validate_value(vr, value, config.RAISE)
        return DataElement(tag, vr, plain[0] if len(plain) == 1 else plain, validation_mode=config.IGNORE)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _item(attributes: Mapping[str, Any]) -> Dataset:
    made = Dataset()
    for key, entry in attributes.items():
        if not re.fullmatch("[0-9A-Fa-f]{8}", str(key)) or int(key, 16) >> 16 & 1:
            continue  # a private element without its creator means nothing
        element = _element(Tag(int(key, 16)), entry)
        if element is not None:
            made.add(element)
    return made


def _plain(vr: str, value: Any) -> str:
    if vr == "PN" and isinstance(value, Mapping):
        groups = (str(value.get(key, "")) for key in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)
