"""The FHIR R4 resources that speak of one result, as plain dictionaries.

Enter: a result whose status is already the one to tell. Leave: resources without the ids and links
that tie them together; those belong to the mode (`fhir`). Empty elements are left out, because FHIR
has none (json.html#null).
"""

from __future__ import annotations

import re
from datetime import datetime
from html import escape
from typing import Any

from channels.content.coding import IMAGING_REPORT, scheme_uri
from channels.content.standing import BANNERS, aware, site_zone
from channels.content.wording import finding_text
from engine.model import Code, Issuer, PersonName, Result, ResultStatus, uid_from

Resource = dict[str, Any]

RFC_3986 = "urn:ietf:rfc:3986"
DICOM_UID = "urn:dicom:uid"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
MAX_LISTED_INSTANCES = 1000

STATUS = {
    ResultStatus.PRELIMINARY: "preliminary",
    ResultStatus.FINAL: "final",
    ResultStatus.CORRECTED: "corrected",
    ResultStatus.RETRACTED: "entered-in-error",
    ResultStatus.FAILED: "cancelled",  # not completed, "sometimes called aborted"
}
"""http://hl7.org/fhir/R4/valueset-diagnostic-report-status.html; observation-status has the same."""

GENDER = {"M": "male", "F": "female", "O": "other"}
MODALITY_NAMES = "http://dicom.nema.org/resources/ontology/DCM"

# What neither a FHIR string nor XHTML may hold (datatypes.html#string).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: str) -> str:
    """A FHIR string: no control characters, no white space around it."""
    return _UNPRINTABLE.sub("", value).strip()


def token(value: str) -> str:
    """A FHIR code: single inner blanks only (datatypes.html#code)."""
    return " ".join(text(value).split())


def kept(resource: Resource) -> Resource:
    """Without what is empty; False and 0 stay."""
    return {key: value for key, value in resource.items() if value not in ("", [], {}, None)}


def identifier(system: str, value: str) -> Resource:
    """An Identifier; ``system`` may be empty."""
    return kept({"system": system, "value": text(value)})


def issued_identifier(value: str, issuer: Issuer, result: Result, kind: str, name: str) -> Resource:
    """An Identifier of a hospital's own numbering.

    Without an OID its system is one derived from the site and the namespace (or the kind of number):
    two sites' patient 1 must never be one patient.
    """
    oid = issuer.oid or uid_from("issuer", result.site, issuer.namespace or kind)
    return kept(
        {
            "type": {"coding": [{"system": f"{TERMINOLOGY}/v2-0203", "code": kind, "display": name}]},
            "system": f"urn:oid:{token(oid)}",
            "value": text(value),
            "assigner": kept({"display": text(issuer.namespace)}),
        }
    )


def coding(code: Code) -> Resource:
    """A Coding."""
    return kept(
        {
            "system": scheme_uri(code.scheme),
            "code": token(code.value),
            "display": text(code.meaning),
        }
    )


def concept(code: Code) -> Resource:
    """A CodeableConcept of one coding."""
    return kept({"coding": [coding(code)], "text": text(code.meaning)})


def report_type() -> Resource:
    """What kind of report or document this is."""
    return concept(IMAGING_REPORT)


def category() -> Resource:
    """Radiology, in the code system of US Core (us-core-diagnosticreport-category) and in R4's own."""
    return {
        "coding": [
            {"system": "http://loinc.org", "code": "LP29684-5", "display": "Radiology"},
            {"system": f"{TERMINOLOGY}/v2-0074", "code": "RAD", "display": "Radiology"},
        ]
    }


def performer(result: Result) -> Resource:
    """Who stands behind the report: R4 knows no Device here, so the maker of the algorithm."""
    algorithm = result.report.algorithm
    maker = text(algorithm.manufacturer) or text(algorithm.name) or "algorithm"
    return {"type": "Organization", "display": maker}


def effective(result: Result) -> str:
    """The clinically relevant time: that of the study, else that of the result."""
    return instant(result.study.started_at or result.produced_at, result)


def instant(moment: datetime, result: Result) -> str:
    """A dateTime or instant; a time needs an offset, a naive one is taken for the site's."""
    return aware(moment, site_zone(result.study.timezone)).replace(microsecond=0).isoformat()


def title(result: Result) -> str:
    """The report's title, or what kind of report it is."""
    return text(result.report.title) or IMAGING_REPORT.meaning


def patient_display(result: Result) -> str:
    """A name to show where no Patient is linked."""
    name = result.patient.name
    shown = name.alphabetic or name.ideographic or name.phonetic
    return text(" ".join(part for part in shown.split("^") if part)) or "unknown patient"


def patient(result: Result) -> Resource:
    """The Patient; without an ``identifier`` where the study names none."""
    person = result.patient
    number = []
    if text(person.patient_id):
        number = [issued_identifier(person.patient_id, person.issuer, result, "MR", "Medical record number")]
    return kept(
        {
            "resourceType": "Patient",
            "identifier": number,
            "name": [_human_name(group, kind) for group, kind in _name_groups(person.name)],
            "gender": GENDER.get(person.sex, "unknown"),
            "birthDate": person.birth_date.isoformat() if person.birth_date else "",
        }
    )


def device(result: Result) -> Resource:
    """The algorithm as a Device."""
    algorithm = result.report.algorithm
    own = uid_from("device", algorithm.manufacturer, algorithm.name, algorithm.version)
    return kept(
        {
            "resourceType": "Device",
            "identifier": [identifier(RFC_3986, f"urn:oid:{own}")],
            "udiCarrier": [{"carrierHRF": text(algorithm.udi)}] if text(algorithm.udi) else [],
            "status": "active",
            "manufacturer": text(algorithm.manufacturer),
            "deviceName": [{"name": text(algorithm.name) or "algorithm", "type": "model-name"}],
            "type": {"text": "Software"},
            "version": [{"value": text(algorithm.version)}] if text(algorithm.version) else [],
        }
    )


def imaging_study(result: Result, subject: Resource, *, instances: bool = True) -> Resource:
    """The study; very many instances are counted rather than listed."""
    study = result.study
    started = study.started_at
    series: dict[str, list[Resource]] = {}
    for one in study.instances:
        sop_class = {"system": RFC_3986, "code": f"urn:oid:{one.sop_class_uid}"}
        series.setdefault(one.series_instance_uid, []).append(
            {"uid": one.sop_instance_uid, "sopClass": sop_class}
        )
    listed = instances and len(study.instances) <= MAX_LISTED_INSTANCES
    modality = {"system": MODALITY_NAMES, "code": token(study.modalities[0]) if study.modalities else "OT"}
    return kept(
        {
            "resourceType": "ImagingStudy",
            "identifier": [identifier(DICOM_UID, f"urn:oid:{study.study_instance_uid}")],
            "status": "available",
            "modality": [{"system": MODALITY_NAMES, "code": token(one)} for one in study.modalities],
            "subject": subject,
            "started": instant(started, result) if started else "",
            "numberOfSeries": len(series),
            "numberOfInstances": len(study.instances),
            "description": text(study.description),
            "series": [
                kept(
                    {
                        "uid": uid,
                        "modality": modality,
                        "numberOfInstances": len(members),
                        "instance": members if listed else [],
                    }
                )
                for uid, members in series.items()
            ],
        }
    )


def service_request(result: Result, subject: Resource) -> Resource | None:
    """The order, when the study names one by any number."""
    order = result.order
    issuer = order.issuer_of_accession_number
    numbers = (
        (order.accession_number, issuer, "ACSN", "Accession ID"),
        (order.placer_order_number, Issuer(), "PLAC", "Placer Identifier"),
        (order.filler_order_number, Issuer(), "FILL", "Filler Identifier"),
    )
    identifiers = [
        issued_identifier(value, by, result, kind, name) for value, by, kind, name in numbers if text(value)
    ]
    if not identifiers:
        return None
    requester = text(" ".join(part for part in order.requester.alphabetic.split("^") if part))
    return kept(
        {
            "resourceType": "ServiceRequest",
            "identifier": identifiers,
            "status": "unknown",  # the order's keeper knows; a result does not
            "intent": "order",
            "code": concept(order.procedure) if order.procedure else {},
            "subject": subject,
            "requester": {"display": requester} if requester else {},
        }
    )


def diagnostic_report(
    result: Result,
    subject: Resource,
    results: list[Resource],
    of_study: Resource,
    basis: Resource | None,
) -> Resource:
    """The report itself, with everything it says also as text for people."""
    conclusion = [text(result.report.impression), text(result.report.disclaimer)]
    banner = BANNERS[result.status]
    return kept(
        {
            "resourceType": "DiagnosticReport",
            "text": {"status": "generated", "div": _narrative(result)},
            "basedOn": [basis] if basis else [],
            "status": STATUS[result.status],
            "category": [category()],
            "code": {**report_type(), "text": title(result)},
            "subject": subject,
            "effectiveDateTime": effective(result),
            "issued": instant(result.produced_at, result),
            "performer": [performer(result)],
            "result": results,
            "imagingStudy": [of_study],
            "conclusion": "\n".join(filter(None, [banner, *conclusion])),
        }
    )


def related(result: Result) -> list[Resource]:
    """What a document is about, by identifier: the study and the order."""
    study = identifier(DICOM_UID, f"urn:oid:{result.study.study_instance_uid}")
    found: list[Resource] = [{"type": "ImagingStudy", "identifier": study}]
    request = service_request(result, {})
    if request:
        found.append({"type": "ServiceRequest", "identifier": request["identifier"][0]})
    return found


def _narrative(result: Result) -> str:
    """XHTML for people: banner, findings, narrative, impression, who made it, disclaimer."""
    report = result.report
    rows = "".join(
        f"<tr><td>{_html(one.concept.meaning)}</td><td>{_html(finding_text(one))}</td></tr>"
        for one in report.findings
    )
    paragraphs = [
        BANNERS[result.status],
        *report.narrative.splitlines(),
        *report.impression.splitlines(),
        f"{report.algorithm.name} {report.algorithm.version}",
        report.disclaimer,
    ]
    body = "".join(f"<p>{_html(one)}</p>" for one in paragraphs if text(one))
    table = f"<table>{rows}</table>" if rows else ""
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><h3>{_html(title(result))}</h3>{table}{body}</div>'


def _html(value: str) -> str:
    return escape(text(value), quote=False)


def _name_groups(name: PersonName) -> list[tuple[str, str]]:
    groups = ((name.alphabetic, "ABC"), (name.ideographic, "IDE"), (name.phonetic, "SYL"))
    return [(group, kind) for group, kind in groups if text(group.replace("^", " "))]


def _human_name(group: str, representation: str) -> Resource:
    family, given, middle, prefix, suffix = [text(part) for part in [*group.split("^"), *[""] * 5][:5]]
    url = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
    return kept(
        {
            "extension": [{"url": url, "valueCode": representation}],
            "use": "official",
            "family": family,
            "given": [part for part in (given, middle) if part],
            "prefix": [prefix] if prefix else [],
            "suffix": [suffix] if suffix else [],
        }
    )
