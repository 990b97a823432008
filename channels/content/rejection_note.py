"""The retraction of a result, for a PACS: a Key Object Selection that rejects what was sent before.

Enter: a retracted result and the history of its destination. Leave: one rejection note (IHE RAD
Imaging Object Change Management; PS3.3 A.35.4, PS3.16 TID 2010) in the study's own hierarchy that
names every report object of this result which the destination acknowledged. Its title is "Rejected
for Patient Safety Reasons" (113037): IOCM lets a PACS go on showing what was rejected for quality
(113001), and a finding that was taken back must not be read by anybody. Where nothing was
acknowledged, nothing is rejected: a payload without parts, which the engine settles as delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from channels.content import composite
from channels.content.attribute import put
from channels.content.coding import dcm
from channels.content.content_item import CONTAINS, composite_reference, container, image, words
from channels.content.observer import device_observer, language
from engine.model import History, InstanceReference, Payload, Result, ResultStatus, uid_from

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.88.59"
SERIES_NUMBER = 9904

TITLE = dcm("113037", "Rejected for Patient Safety Reasons")
DESCRIPTION = dcm("113012", "Key Object Description")
SAID = "The result was retracted by its maker. Do not use the objects listed here."
NO_IMAGES = re.compile(  # storage classes without pixel data (PS3.6 annex A)
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."
    r"((9|11|88|104)\..*"  # waveforms, presentation states, structured reports, encapsulated documents
    r"|66|66\.[1-3]|66\.[56]|67"  # raw data, registrations, fiducials, surfaces, tractography, value maps
    r"|481\.([3-9]|1[0-9]))"  # radiotherapy but for its images and doses
)


def render(result: Result, history: History) -> Payload:
    """One rejection note; no part when this destination holds nothing to reject."""
    rejected = list(dict.fromkeys(_held(history)))
    if not rejected:
        return Payload(parts=(), summary="nothing to retract")
    dataset = composite.start(
        result,
        history,
        sop_class_uid=SOP_CLASS_UID,
        purpose="rejection note",
        modality="KO",
        series_number=SERIES_NUMBER,
        title="Rejection note",
    )
    put(dataset, "ReferencedPerformedProcedureStepSequence", [])
    put(dataset, "InstanceNumber", "1")
    request = composite.referenced_request(result)
    if request:
        put(dataset, "ReferencedRequestSequence", request)
    study = result.study.study_instance_uid
    put(dataset, "CurrentRequestedProcedureEvidenceSequence", composite.hierarchy(study, rejected))
    children = [
        language(),
        *device_observer(result),
        words(CONTAINS, DESCRIPTION, SAID),
        *(
            (composite_reference if NO_IMAGES.fullmatch(one.sop_class_uid) else image)(
                one.sop_class_uid, one.sop_instance_uid
            )
            for one in rejected
        ),
    ]
    dataset.update(container("", TITLE, children, template="2010"))
    return Payload(
        parts=(composite.finish(dataset),),
        summary=f"rejection note, {len(rejected)} object{'s' if len(rejected) > 1 else ''}",
    )


def _held(history: History) -> Iterator[InstanceReference]:
    """What the destination acknowledged since the last rejection note, oldest first.

    A failure report is no result and stays; so do parts that are no DICOM objects.
    """
    since = 0
    for number, one in enumerate(history.acknowledged, start=1):
        if one.status is ResultStatus.RETRACTED:
            since = number
    for one in history.acknowledged[since:]:
        if one.status is ResultStatus.FAILED:
            continue
        series = one.series_instance_uids or (uid_from(one.delivery_id, "series"),) * len(one.identifiers)
        for sop_instance_uid, sop_class_uid, series_instance_uid in zip(
            one.identifiers, one.sop_class_uids, series, strict=False
        ):
            if sop_class_uid and series_instance_uid:
                yield InstanceReference(
                    series_instance_uid=series_instance_uid,
                    sop_class_uid=sop_class_uid,
                    sop_instance_uid=sop_instance_uid,
                )
