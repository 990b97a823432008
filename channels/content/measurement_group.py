"""Findings as measurement groups of a structured report (PS3.16 TID 1501, 1410, 1411, 300, 4019).

Enter: a result. Leave: one container for each thing that is tracked: the findings of one group, one
tracking identifier and one region. A flag and a range stand where every judge takes them: a
flagged number is followed by a Normality that is inferred from it by reference, its range is TID
312's description in words (docs/decisions/flags-beside-numbers.md).
"""

from __future__ import annotations

from decimal import Decimal

from pydicom.dataset import Dataset

from channels.content import region
from channels.content.attribute import put
from channels.content.coding import MEASUREMENT_GROUP, dcm, sct
from channels.content.content_item import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    INFERRED_FROM,
    coded,
    container,
    number,
    uid_reference,
    words,
)
from channels.content.standing import lineage_uid
from channels.content.wording import range_text, unit_text
from engine.model import Code, Finding, Flag, Range, Result, Roi

COMMENT = dcm("121106", "Comment")
LATERALITY = sct("272741003", "Laterality")
FINDING_SITE = sct("363698007", "Finding Site")
NORMALITY = dcm("121402", "Normality")
NORMALITY_CODES = {  # CID 222
    Flag.NORMAL: sct("17621005", "Normal"),
    Flag.ABNORMAL: sct("263654008", "Abnormal"),
    Flag.LOW: sct("371880002", "Abnormally Low"),
    Flag.HIGH: sct("371879000", "Abnormally High"),
}
RANGE_LOW = sct("385524004", "Normal Range Lower Limit")
RANGE_HIGH = sct("371933006", "Normal Range Upper Limit")
RANGE_TEXT = dcm("121407", "Normal Range description")

Key = tuple[str, str, str, Roi | None]


def groups(result: Result) -> list[Dataset]:
    """A container for each thing tracked, in the order of the findings."""
    tracked: dict[Key, list[Finding]] = {}
    for finding in result.report.findings:  # one group tracks one thing (TID 1501 rows 2, 3)
        key = (finding.group, finding.tracking_id, finding.tracking_uid, finding.roi)
        tracked.setdefault(key, []).append(finding)
    seen: dict[tuple[str, str], int] = {}
    made = []
    for key, findings in tracked.items():
        name, tracking_id, *_ = key
        seen[name, tracking_id] = ordinal = seen.get((name, tracking_id), 0) + 1
        made.append(_group(result, key, findings, ordinal))
    return made


def _group(result: Result, key: Key, findings: list[Finding], ordinal: int) -> Dataset:
    """What belongs together, tracked under a name and a UID that later versions keep."""
    name, tracking_id, tracking_uid, roi = key
    suffix = f" {ordinal}" if ordinal > 1 else ""  # like regions of one name are told apart in order
    children = [
        words(
            HAS_OBS_CONTEXT,
            dcm("112039", "Tracking Identifier"),
            tracking_id or (name or "Findings") + suffix,
        ),
        uid_reference(
            HAS_OBS_CONTEXT,
            dcm("112040", "Tracking Unique Identifier"),
            tracking_uid or lineage_uid(result, f"tracking {name} {tracking_id}{suffix}"),
        ),
        *region.of_group(roi, result),
        *_algorithm(result),
    ]
    for finding in findings:
        children.append(_observation(finding, result))
        children.extend(_normality(finding))
    return container(CONTAINS, MEASUREMENT_GROUP, children, template=region.template(roi))


def _normality(finding: Finding) -> list[Dataset]:
    """What a flag says of a number, with the number and the limits that it follows from."""
    if not finding.flag or not isinstance(finding.value, Decimal):
        return []
    span = finding.reference_range or Range()
    reasons = [
        number(INFERRED_FROM, concept, value, finding.unit)
        for concept, value in (
            (finding.concept, finding.value),
            (RANGE_LOW, span.low),
            (RANGE_HIGH, span.high),
        )
        if value is not None
    ]
    return [coded(CONTAINS, NORMALITY, NORMALITY_CODES[finding.flag], reasons)]


def _algorithm(result: Result) -> list[Dataset]:
    """TID 4019 Algorithm Identification."""
    algorithm = result.report.algorithm
    texts = (
        (dcm("111001", "Algorithm Name"), algorithm.name or "unknown"),
        (dcm("111003", "Algorithm Version"), algorithm.version or "unknown"),
    )
    return [words(HAS_CONCEPT_MOD, concept, value) for concept, value in texts]


def _observation(finding: Finding, result: Result) -> Dataset:
    """A measurement of TID 300 or a qualitative evaluation."""
    value = finding.value
    properties = [*_properties(finding), *region.of_finding(finding.roi, result)]
    if isinstance(value, Decimal):
        return number(CONTAINS, finding.concept, value, finding.unit, properties)
    if isinstance(value, Code):
        return coded(CONTAINS, finding.concept, value, properties)
    made = words(CONTAINS, finding.concept, value)
    if properties:
        put(made, "ContentSequence", properties)
    return made


def _properties(finding: Finding) -> list[Dataset]:
    """Where it was found, what is normal, and of what is no number also whether this is."""
    made = []
    side = [coded(HAS_CONCEPT_MOD, LATERALITY, finding.laterality)] if finding.laterality else []
    made += [coded(HAS_CONCEPT_MOD, FINDING_SITE, finding.site, side)] if finding.site else side
    if finding.flag and not isinstance(finding.value, Decimal):
        made.append(coded(HAS_PROPERTIES, NORMALITY, NORMALITY_CODES[finding.flag]))
    if finding.reference_range and (span := range_text(finding.reference_range)):
        made.append(words(HAS_PROPERTIES, RANGE_TEXT, f"{span} {unit_text(finding.unit)}".strip()))
    if finding.comment:
        made.append(words(HAS_PROPERTIES, COMMENT, finding.comment))
    return made
