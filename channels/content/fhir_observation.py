"""The findings of a result as FHIR R4 Observations (http://hl7.org/fhir/R4/observation.html).

Enter: a result whose status is already the one to tell, and links to its subject, maker and study.
Leave: one Observation a finding, as plain dictionaries without ids.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from channels.content.coding import ln, scheme_uri
from channels.content.fhir_resource import (
    RFC_3986,
    STATUS,
    TERMINOLOGY,
    Resource,
    concept,
    effective,
    identifier,
    instant,
    kept,
    text,
    token,
)
from channels.content.standing import lineage_uid
from engine.model import Code, Finding, Range, Result

LATERALITY = ln("20228-3", "Anatomic part Laterality")
FLAG_NAMES = {"N": "Normal", "A": "Abnormal", "L": "Low", "H": "High"}


def observations(result: Result, subject: Resource, made_by: Resource, of_study: Resource) -> list[Resource]:
    """One Observation a finding; its identifier is the same in every version of the result."""
    seen: Counter[str] = Counter()
    made = []
    for finding in result.report.findings:
        kind = finding.tracking_uid or "\0".join(
            (finding.group, finding.tracking_id, finding.concept.scheme, finding.concept.value)
        )
        seen[kind] += 1
        own = lineage_uid(result, f"observation {kind} {seen[kind]}")
        made.append(_observation(result, finding, own, subject, made_by, of_study))
    return made


def _observation(
    result: Result, finding: Finding, uid: str, subject: Resource, made_by: Resource, of_study: Resource
) -> Resource:
    flag = finding.flag
    interpretation = {}
    if flag:
        system = f"{TERMINOLOGY}/v3-ObservationInterpretation"
        interpretation = {
            "coding": [{"system": system, "code": flag.value, "display": FLAG_NAMES[flag.value]}]
        }
    imaging = {"system": f"{TERMINOLOGY}/observation-category", "code": "imaging", "display": "Imaging"}
    return kept(
        {
            "resourceType": "Observation",
            "identifier": [identifier(RFC_3986, f"urn:oid:{uid}")],
            "status": STATUS[result.status],
            "category": [
                {"coding": [imaging]},
                *([{"text": text(finding.group)}] if text(finding.group) else []),
            ],
            "code": concept(finding.concept),
            "subject": subject,
            "effectiveDateTime": effective(result),
            "issued": instant(result.produced_at, result),
            **_value(finding),
            "interpretation": [interpretation] if interpretation else [],
            "note": [{"text": text(finding.comment)}] if text(finding.comment) else [],
            "bodySite": concept(finding.site) if finding.site else {},
            "device": made_by,
            "referenceRange": _reference_range(finding.reference_range, finding.unit),
            "derivedFrom": [of_study],
            "component": (
                [{"code": concept(LATERALITY), "valueCodeableConcept": concept(finding.laterality)}]
                if finding.laterality
                else []
            ),
        }
    )


def _value(finding: Finding) -> Resource:
    value = finding.value
    if isinstance(value, Decimal):
        return {"valueQuantity": _quantity(value, finding.unit)}
    if isinstance(value, Code):
        return {"valueCodeableConcept": concept(value)}
    if not text(value):
        unknown = {"system": f"{TERMINOLOGY}/data-absent-reason", "code": "unknown", "display": "Unknown"}
        return {"dataAbsentReason": {"coding": [unknown]}}
    return {"valueString": text(value)}


def _quantity(value: Decimal, unit: Code | None) -> Resource:
    quantity: Resource = {"value": value}
    if unit:
        quantity["unit"] = text(unit.meaning) if unit.value == "1" else text(unit.value)
        quantity["system"] = scheme_uri(unit.scheme)
        quantity["code"] = token(unit.value)
    return kept(quantity)


def _reference_range(span: Range | None, unit: Code | None) -> list[Resource]:
    if span is None or (span.low is None and span.high is None):
        return []
    return [
        {
            key: _quantity(limit, unit)
            for key, limit in (("low", span.low), ("high", span.high))
            if limit is not None
        }
    ]
