"""A result as a DICOM structured report: TID 1500 Measurement Report in a Comprehensive SR.

Enter: a result and the history of the delivery. Leave: one SR object in the study's own hierarchy
(PS3.3 A.35.3, PS3.16 TID 1500, 1501, 300, 4019; IHE AI Results). Each group of findings is one
measurement group with its tracking identifiers; all source instances are evidence, one of them
stands in the image library.
"""

from __future__ import annotations

from decimal import Decimal

from pydicom.dataset import Dataset

from channels.content import composite
from channels.content.attribute import put
from channels.content.coding import MEASUREMENT_GROUP, dcm, sct
from channels.content.content_item import (
    CONTAINS,
    HAS_ACQ_CONTEXT,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    coded,
    container,
    image,
    number,
    uid_reference,
    words,
)
from channels.content.standing import BANNERS, lineage_uid, told_status
from engine.model import Code, Finding, Flag, History, Payload, Range, Result, ResultStatus

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.88.33"
SERIES_NUMBER = 9901

REPORT = dcm("126000", "Imaging Measurement Report")
LANGUAGE = dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code(value="en-US", scheme="RFC5646", meaning="English (United States)")
OBSERVER_TYPE = dcm("121005", "Observer Type")
DEVICE = dcm("121007", "Device")
PROCEDURE_REPORTED = dcm("121058", "Procedure reported")
QUALITATIVE_EVALUATIONS = Code(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")
COMMENT = dcm("121106", "Comment")
FINDING = dcm("121071", "Finding")
IMPRESSION = dcm("121073", "Impression")
MODALITY = dcm("121139", "Modality")

NORMALITY = dcm("121402", "Normality")
NORMALITY_CODES = {  # CID 222; HIGH and LOW say more, SCT has them as general qualifiers
    Flag.NORMAL: sct("17621005", "Normal"),
    Flag.ABNORMAL: sct("263654008", "Abnormal"),
    Flag.LOW: sct("62482003", "Low"),
    Flag.HIGH: sct("75540009", "High"),
}
RANGE_LOW = sct("385524004", "Normal Range Lower Limit")
RANGE_HIGH = sct("371933006", "Normal Range Upper Limit")
RANGE_TEXT = dcm("121407", "Normal Range description")

PROCEDURES = {
    "CR": sct("168537006", "Plain X-ray"),
    "CT": sct("77477000", "Computed tomography"),
    "DX": sct("168537006", "Plain X-ray"),
    "MG": sct("71651007", "Mammography"),
    "MR": sct("113091000", "Magnetic resonance imaging"),
    "NM": sct("373205008", "Nuclear medicine imaging"),
    "PT": sct("82918005", "Positron emission tomography"),
    "US": sct("16310003", "Ultrasonography"),
}
"""What was done, where the study names no procedure: TID 1500 demands one."""
IMAGING = sct("363679005", "Imaging")


def render(result: Result, history: History) -> Payload:
    """One SR."""
    status = told_status(result, history)
    dataset = composite.start(
        result,
        history,
        sop_class_uid=SOP_CLASS_UID,
        purpose="sr",
        modality="SR",
        series_number=SERIES_NUMBER,
        title=" - ".join(filter(None, (result.report.title, result.report.disclaimer))) or "Result",
    )
    put(dataset, "ReferencedPerformedProcedureStepSequence", [])
    put(dataset, "InstanceNumber", "1")
    put(dataset, "CompletionFlag", "PARTIAL" if status is ResultStatus.PRELIMINARY else "COMPLETE")
    put(dataset, "PreliminaryFlag", "PRELIMINARY" if status is ResultStatus.PRELIMINARY else "FINAL")
    put(dataset, "VerificationFlag", "UNVERIFIED")
    put(dataset, "PerformedProcedureCodeSequence", [])
    for keyword, items in (
        ("PredecessorDocumentsSequence", composite.predecessor(result, history)),
        ("ReferencedRequestSequence", composite.referenced_request(result)),
        ("CurrentRequestedProcedureEvidenceSequence", composite.evidence(result)),
    ):
        if items:
            put(dataset, keyword, items)
    observed_at = composite.local(result.produced_at, result)
    put(dataset, "ObservationDateTime", observed_at.strftime("%Y%m%d%H%M%S"))
    dataset.update(container("", REPORT, _tree(result, status), template="1500"))
    schemes = composite.coding_schemes(dataset)
    if schemes:
        put(dataset, "CodingSchemeIdentificationSequence", schemes)
    return Payload(parts=(composite.finish(dataset),), summary=f"SR, {len(result.report.findings)} findings")


def _tree(result: Result, status: ResultStatus) -> list[Dataset]:
    """The children of TID 1500, in the template's order."""
    children = [
        coded(HAS_CONCEPT_MOD, LANGUAGE, ENGLISH),
        *_device_observer(result),
        coded(HAS_CONCEPT_MOD, PROCEDURE_REPORTED, _procedure(result)),
    ]
    library = _image_library(result)
    if library:
        children.append(library)
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in result.report.findings:  # one group tracks one thing (TID 1501 rows 2, 3)
        key = (finding.group, finding.tracking_id, finding.tracking_uid)
        groups.setdefault(key, []).append(finding)
    if groups:
        measured = [_group(result, *key, findings) for key, findings in groups.items()]
        children.append(container(CONTAINS, dcm("126010", "Imaging Measurements"), measured))
    evaluations = _evaluations(result, status)
    if evaluations or not groups:  # the template demands measurements or evaluations
        evaluations = evaluations or [words(CONTAINS, FINDING, "no findings")]
        children.append(container(CONTAINS, QUALITATIVE_EVALUATIONS, evaluations))
    return children


def _device_observer(result: Result) -> list[Dataset]:
    """TID 1001 with 1002 and 1004: the algorithm observed."""
    algorithm = result.report.algorithm
    texts = (
        (dcm("121013", "Device Observer Name"), algorithm.name),
        (dcm("121014", "Device Observer Manufacturer"), algorithm.manufacturer),
        (dcm("121015", "Device Observer Model Name"), f"{algorithm.name} {algorithm.version}".strip()),
    )
    return [
        coded(HAS_OBS_CONTEXT, OBSERVER_TYPE, DEVICE),
        uid_reference(HAS_OBS_CONTEXT, dcm("121012", "Device Observer UID"), composite.device_uid(result)),
        *(words(HAS_OBS_CONTEXT, concept, value) for concept, value in texts if value),
    ]


def _procedure(result: Result) -> Code:
    if result.order.procedure:
        return result.order.procedure
    modality = result.study.modalities[0] if result.study.modalities else ""
    return PROCEDURES.get(modality, IMAGING)


def _image_library(result: Result) -> Dataset | None:
    """TID 1600 with one representative image; what was looked at in full is the evidence."""
    if not result.study.instances:
        return None
    first = result.study.instances[0]
    described = []
    if result.study.modalities:
        modality = result.study.modalities[0]
        described = [coded(HAS_ACQ_CONTEXT, MODALITY, dcm(modality, _MODALITY_NAMES.get(modality, modality)))]
    entry = image(first.sop_class_uid, first.sop_instance_uid, described)
    group = container(CONTAINS, dcm("126200", "Image Library Group"), [entry])
    return container(CONTAINS, dcm("111028", "Image Library"), [group])


_MODALITY_NAMES = {
    "CT": "Computed Tomography",
    "MR": "Magnetic Resonance",
    "PT": "Positron emission tomography",
    "US": "Ultrasound",
}


def _group(
    result: Result, name: str, tracking_id: str, tracking_uid: str, findings: list[Finding]
) -> Dataset:
    """TID 1501: what belongs together, tracked under a name and a UID that later versions keep."""
    children = [
        words(HAS_OBS_CONTEXT, dcm("112039", "Tracking Identifier"), tracking_id or name or "Findings"),
        uid_reference(
            HAS_OBS_CONTEXT,
            dcm("112040", "Tracking Unique Identifier"),
            tracking_uid or lineage_uid(result, f"tracking {name} {tracking_id}"),
        ),
        *_algorithm(result),
        *(_observation(finding) for finding in findings),
    ]
    return container(CONTAINS, MEASUREMENT_GROUP, children, template="1501")


def _algorithm(result: Result) -> list[Dataset]:
    """TID 4019 Algorithm Identification."""
    algorithm = result.report.algorithm
    texts = (
        (dcm("111001", "Algorithm Name"), algorithm.name or "unknown"),
        (dcm("111003", "Algorithm Version"), algorithm.version or "unknown"),
    )
    return [words(HAS_CONCEPT_MOD, concept, value) for concept, value in texts]


def _observation(finding: Finding) -> Dataset:
    """A measurement of TID 300 or a qualitative evaluation."""
    value = finding.value
    if isinstance(value, Decimal):
        return number(CONTAINS, finding.concept, value, finding.unit, _modifiers(finding))
    if isinstance(value, Code):
        return coded(CONTAINS, finding.concept, value, _modifiers(finding))
    made = words(CONTAINS, finding.concept, value)
    modifiers = _modifiers(finding)
    if modifiers:
        put(made, "ContentSequence", modifiers)
    return made


def _modifiers(finding: Finding) -> list[Dataset]:
    """Where it was found, what is normal, and whether this is (TID 310, 312)."""
    made = []
    if finding.site:
        side = (
            [coded(HAS_CONCEPT_MOD, sct("272741003", "Laterality"), finding.laterality)]
            if finding.laterality
            else []
        )
        made.append(coded(HAS_CONCEPT_MOD, sct("363698007", "Finding Site"), finding.site, side))
    elif finding.laterality:
        made.append(coded(HAS_CONCEPT_MOD, sct("272741003", "Laterality"), finding.laterality))
    if finding.flag:
        made.append(coded(HAS_PROPERTIES, NORMALITY, NORMALITY_CODES[finding.flag]))
    made.extend(_range(finding.reference_range, finding.unit))
    if finding.comment:
        made.append(words(HAS_PROPERTIES, COMMENT, finding.comment))
    return made


def _range(span: Range | None, unit: Code | None) -> list[Dataset]:
    limits = ((RANGE_LOW, span.low), (RANGE_HIGH, span.high)) if span else ()
    return [number(HAS_PROPERTIES, concept, limit, unit) for concept, limit in limits if limit is not None]


def _evaluations(result: Result, status: ResultStatus) -> list[Dataset]:
    """What the report says in words, its standing first."""
    report = result.report
    said = (
        (COMMENT, BANNERS[status]),
        (FINDING, report.narrative),
        (IMPRESSION, report.impression),
        (COMMENT, report.disclaimer),
    )
    return [words(CONTAINS, concept, value) for concept, value in said if value]
