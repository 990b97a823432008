"""A result as a DICOM structured report: TID 1500 Measurement Report.

Enter: a result and the history of the delivery. Leave: one SR object in the study's own hierarchy
(PS3.3 A.35.3, A.35.13, PS3.16 TID 1500, 1600; IHE AI Results): a Comprehensive SR, or a
Comprehensive 3D SR where a region lies in space. All source instances are evidence; the image
library holds one of them, and those that a region is drawn on.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from channels.content import composite, measurement_group, region
from channels.content.attribute import code_item, put
from channels.content.coding import dcm, ln, sct
from channels.content.content_item import (
    CONTAINS,
    HAS_ACQ_CONTEXT,
    HAS_CONCEPT_MOD,
    coded,
    container,
    image,
    words,
)
from channels.content.observer import device_observer, language
from channels.content.standing import BANNERS, told_status
from engine.model import Code, History, Payload, Result, ResultStatus, SpatialRegion

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SERIES_NUMBER = 9901

REPORT = dcm("126000", "Imaging Measurement Report")
PROCEDURE_REPORTED = dcm("121058", "Procedure reported")
QUALITATIVE_EVALUATIONS = Code(value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations")
COMMENT = dcm("121106", "Comment")
FINDING = dcm("121071", "Finding")
IMPRESSION = dcm("121073", "Impression")
MODALITY = dcm("121139", "Modality")

PROCEDURES = {  # CID 100
    "CT": ln("25045-6", "CT unspecified body region"),
    "MR": ln("25056-3", "MRI unspecified body region"),
    "NM": ln("49118-3", "NM unspecified body region"),
    "PT": ln("44136-0", "PET unspecified body region"),
}
"""What was reported on, as TID 1500 wants it told; the hospital's own code stands in the header."""
IMAGING = sct("363679005", "Imaging procedure")


def render(result: Result, history: History) -> Payload:
    """One SR.

    Raises:
        Refused: a region names an image that is not of the study.
    """
    status = told_status(result, history)
    rois = [one.roi for one in result.report.findings if one.roi is not None]
    in_space = any(isinstance(roi, SpatialRegion) for roi in rois)
    dataset = composite.start(
        result,
        history,
        sop_class_uid=COMPREHENSIVE_3D_SR if in_space else COMPREHENSIVE_SR,
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
    performed = [code_item(result.order.procedure)] if result.order.procedure else []
    put(dataset, "PerformedProcedureCodeSequence", performed)
    for keyword, items in (
        ("PredecessorDocumentsSequence", composite.predecessor(result, history)),
        ("ReferencedRequestSequence", composite.referenced_request(result)),
        ("CurrentRequestedProcedureEvidenceSequence", composite.evidence(result, region.segmentations(rois))),
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
        language(),
        *device_observer(result),
        coded(HAS_CONCEPT_MOD, PROCEDURE_REPORTED, _procedure(result)),
    ]
    library = _image_library(result)
    if library:
        children.append(library)
    groups = measurement_group.groups(result)
    if groups:
        children.append(container(CONTAINS, dcm("126010", "Imaging Measurements"), groups))
    evaluations = _evaluations(result, status)
    if evaluations or not groups:  # the template demands measurements or evaluations
        evaluations = evaluations or [words(CONTAINS, FINDING, "no findings")]
        children.append(container(CONTAINS, QUALITATIVE_EVALUATIONS, evaluations))
    return children


def _procedure(result: Result) -> Code:
    modality = result.study.modalities[0] if result.study.modalities else ""
    return PROCEDURES.get(modality, IMAGING)


def _image_library(result: Result) -> Dataset | None:
    """TID 1600, small: one representative image and those that regions are drawn on."""
    if not result.study.instances:
        return None
    rois = [one.roi for one in result.report.findings if one.roi is not None]
    shown = dict.fromkeys((*result.study.instances[:1], *region.images(rois, result)))
    entries = [image(one.sop_class_uid, one.sop_instance_uid, _described(result)) for one in shown]
    group = container(CONTAINS, dcm("126200", "Image Library Group"), entries)
    return container(CONTAINS, dcm("111028", "Image Library"), [group])


def _described(result: Result) -> list[Dataset]:
    if not result.study.modalities:
        return []
    modality = result.study.modalities[0]
    return [coded(HAS_ACQ_CONTEXT, MODALITY, dcm(modality, _MODALITY_NAMES.get(modality, modality)))]


_MODALITY_NAMES = {
    "CT": "Computed Tomography",
    "MR": "Magnetic Resonance",
    "PT": "Positron emission tomography",
    "US": "Ultrasound",
}


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
