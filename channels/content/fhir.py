"""A result as FHIR JSON, R4 or R5.

Enter: a result, the destination's history, the mode that the server can take. Leave: one resource
in JSON with every decimal as it was written. Modes: *upsert* is a transaction Bundle (conditional
create of what the result refers to, conditional update of report and observations, http.html#transaction);
*report* one DiagnosticReport with everything contained; *document* one DocumentReference that holds
the PDF. The choices are told in docs/formats.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Literal
from urllib.parse import quote

from channels.content import fhir_observation, fhir_r5
from channels.content import fhir_resource as build
from channels.content.fhir_resource import Resource
from channels.content.standing import lineage_uid, replaced, told_status
from engine.model import History, Part, Payload, Result, ResultStatus, uid_from

MEDIA_TYPE = "application/fhir+json"
IDENTIFIER_SYSTEM = "urn:ietf:rfc:3986"

Mode = Literal["upsert", "report", "document"]
FhirVersion = Literal["R4", "R5"]

CLINICAL_NOTE = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category"

DOCUMENT_STATUS = {
    ResultStatus.PRELIMINARY: "preliminary",
    ResultStatus.FINAL: "final",
    ResultStatus.CORRECTED: "amended",
    ResultStatus.RETRACTED: "entered-in-error",
    ResultStatus.FAILED: "final",
}
"""http://hl7.org/fhir/R4/valueset-composition-status.html"""


def render(
    result: Result,
    history: History,
    mode: Mode = "upsert",
    fhir_version: FhirVersion = "R4",
    *,
    include_pdf: bool = False,
) -> Payload:
    """One resource; the part's identifier is the value of the identifier to search for.

    In *upsert* mode that value is the same for every version of a result, so that an update finds
    what it replaces. In *report* and *document* mode it is the delivery's own, so that a repeat
    after a timeout finds what that attempt already made.

    Args:
        include_pdf: whether an upserted report carries the page; the other two always do.
    """
    told = result.model_copy(update={"status": told_status(result, history)})
    if mode == "upsert":
        identifier, resource = _upsert(told, history, include_pdf)
    else:
        identifier, resource = (_report if mode == "report" else _document)(told, history)
    if fhir_version == "R5":
        resource = fhir_r5.translate(resource)
    part = Part(
        identifier=identifier,
        media_type=MEDIA_TYPE,
        content=encode(resource),
        facts={
            "resource_type": resource["resourceType"],
            "identifier_system": IDENTIFIER_SYSTEM,
            "mode": mode,
            "fhir_version": fhir_version,
        },
    )
    summary = f"FHIR {resource['resourceType']}, {len(result.report.findings)} findings"
    return Payload(parts=(part,), summary=summary)


def _upsert(result: Result, history: History, include_pdf: bool) -> tuple[str, Resource]:
    """A transaction: PUT report and observations by identifier, the rest created where absent."""
    links = _Links(history)
    patient = build.patient(result)
    entries: list[Resource] = []
    subject: Resource
    contained: list[Resource] = []
    if "identifier" in patient:
        subject = links.add(entries, patient, patient["identifier"][0])
    else:  # nothing to recognise a patient by: a copy travels inside the report
        contained = [patient | {"id": "patient"}]
        subject = {"type": "Patient", "display": build.patient_display(result)}
    device = build.device(result)
    made_by = links.add(entries, device, device["identifier"][0])
    study = build.imaging_study(result, subject)
    of_study = links.add(entries, study, study["identifier"][0])
    request = build.service_request(result, subject)
    basis = links.add(entries, request, request["identifier"][0]) if request else None
    results = [
        links.put(entries, observation)
        for observation in fhir_observation.observations(result, subject, made_by, of_study)
    ]
    value = f"urn:oid:{lineage_uid(result, 'fhir report')}"
    report = build.diagnostic_report(result, subject, results, of_study, basis)
    report["identifier"] = [build.identifier(IDENTIFIER_SYSTEM, value)]
    if include_pdf:
        report["presentedForm"] = [_attachment(result, history.rendered_at)]
    if contained:
        report["contained"] = contained
        report["subject"] = {"reference": "#patient", **subject}
    links.put(entries, report)
    return value, {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _report(result: Result, history: History) -> tuple[str, Resource]:
    """A DiagnosticReport on its own: what it refers to is contained, the page is attached."""
    patient = build.patient(result) | {"id": "patient"}
    subject = {"reference": "#patient", "type": "Patient", "display": build.patient_display(result)}
    device = build.device(result) | {"id": "device"}
    study = build.imaging_study(result, subject, instances=False) | {"id": "study"}
    request = build.service_request(result, subject)
    observations = [
        {**observation, "id": f"finding-{number}"}
        for number, observation in enumerate(
            fhir_observation.observations(result, subject, {"reference": "#device"}, {"reference": "#study"}),
            start=1,
        )
    ]
    report = build.diagnostic_report(
        result,
        subject,
        [{"reference": f"#{observation['id']}"} for observation in observations],
        {"reference": "#study"},
        {"reference": "#request"} if request else None,
    )
    value = f"urn:oid:{history.uid('fhir report')}"
    shared = f"urn:oid:{lineage_uid(result, 'fhir report')}"
    report["identifier"] = [
        build.identifier(IDENTIFIER_SYSTEM, value),
        build.identifier(IDENTIFIER_SYSTEM, shared),
    ]
    contained = [patient, *([device] if observations else []), study, *observations]
    if request:
        contained.append(request | {"id": "request"})
    report["contained"] = contained
    report["presentedForm"] = [_attachment(result, history.rendered_at)]
    return value, report


def _document(result: Result, history: History) -> tuple[str, Resource]:
    """A DocumentReference with the PDF; a later version is a new one that replaces the earlier."""
    value = f"urn:oid:{history.uid('fhir document')}"
    subject = {"reference": "#patient", "type": "Patient", "display": build.patient_display(result)}
    document: Resource = {
        "resourceType": "DocumentReference",
        "contained": [
            build.patient(result) | {"id": "patient"},
            build.device(result) | {"id": "device"},
        ],
        "masterIdentifier": build.identifier(IDENTIFIER_SYSTEM, value),
        "identifier": [build.identifier(IDENTIFIER_SYSTEM, value)],
        "status": "entered-in-error" if result.status is ResultStatus.RETRACTED else "current",
        "docStatus": DOCUMENT_STATUS[result.status],
        "type": build.report_type(),
        "category": [
            {"coding": [{"system": CLINICAL_NOTE, "code": "clinical-note", "display": "Clinical Note"}]},
            build.category(),
        ],
        "subject": subject,
        "date": build.instant(history.rendered_at, result),
        "author": [{"reference": "#device"}],
        "description": build.title(result),
        "content": [{"attachment": _attachment(result, history.rendered_at)}],
        "context": {"period": {"start": build.effective(result)}, "related": build.related(result)},
    }
    before = replaced(result, history)
    if before:
        target = build.identifier(IDENTIFIER_SYSTEM, before.identifiers[0])
        document["relatesTo"] = [
            {"code": "replaces", "target": {"type": "DocumentReference", "identifier": target}}
        ]
    return value, document


class _Links:
    """The entries of a transaction and the `urn:uuid:` links between them (http.html#trules)."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._count = 0

    def add(self, entries: list[Resource], resource: Resource, known_by: Resource) -> Resource:
        """Created unless one with this identifier exists (http.html#ccreate)."""
        request = {
            "method": "POST",
            "url": resource["resourceType"],
            "ifNoneExist": f"identifier={_token(known_by)}",
        }
        return self._entry(entries, resource, request)

    def put(self, entries: list[Resource], resource: Resource) -> Resource:
        """Updated where one with this identifier exists, else created (http.html#cond-update)."""
        kind = resource["resourceType"]
        request = {"method": "PUT", "url": f"{kind}?identifier={_token(resource['identifier'][0])}"}
        return self._entry(entries, resource, request)

    def _entry(self, entries: list[Resource], resource: Resource, request: Resource) -> Resource:
        self._count += 1
        number = int(
            uid_from(self._history.delivery_id, "fhir entry", str(self._count)).removeprefix("2.25.")
        )
        digits = f"{number:032x}"
        link = f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        entries.append({"fullUrl": link, "resource": resource, "request": request})
        return {"reference": link, "type": resource["resourceType"]}


def _token(known_by: Resource) -> str:
    """A search token `system|value` (search.html#token); its own delimiters are escaped by `\\`."""
    value = known_by["value"]
    for special in "\\$,|":
        value = value.replace(special, "\\" + special)
    return f"{quote(known_by['system'], safe=':/.')}|{quote(value, safe=':/.')}"


def _attachment(result: Result, rendered_at: datetime) -> Resource:
    from channels.content import pdf  # typst is heavy and only two modes want it

    document = pdf.render_pdf(result, rendered_at)
    # Attachment.hash is SHA-1 by definition (datatypes.html#attachment); it guards nothing here.
    digest = hashlib.sha1(document, usedforsecurity=False).digest()
    return {
        "contentType": "application/pdf",
        "data": base64.b64encode(document).decode("ascii"),
        "size": len(document),
        "hash": base64.b64encode(digest).decode("ascii"),
        "title": build.title(result),
        "creation": build.instant(rendered_at, result),
    }


def encode(value: Any) -> bytes:
    """JSON in UTF-8 with each Decimal in its own digits, which `json` cannot write."""
    return _json(value).encode("utf-8", "replace")


def _json(value: Any) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return "{" + ",".join([f'"{key}":{_json(one)}' for key, one in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_json(one) for one in value]) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
