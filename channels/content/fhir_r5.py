"""FHIR R4 resources as FHIR R5 has them.

Enter: an R4 resource of `fhir`, or a Bundle of them. Leave: the same facts in R5 (5.0.0). Only what
differs in the elements that Pons writes is touched; each resource's page has the list of changes
under "R4 to R5" (https://hl7.org/fhir/R5/diff.html).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Resource = dict[str, Any]

_GS1 = "http://hl7.org/fhir/NamingSystem/gs1-di"
_GS1_DEVICE = re.compile(r"\(01\)(\d{14})")
_RELATIONSHIPS = "http://hl7.org/fhir/document-relationship-type"


def translate(resource: Resource) -> Resource:
    """A resource with all that it contains; the argument stays as it is."""
    made = dict(resource)
    if "contained" in made:
        made["contained"] = [translate(one) for one in made["contained"]]
    if made["resourceType"] == "Bundle":
        made["entry"] = [{**entry, "resource": translate(entry["resource"])} for entry in made["entry"]]
    change = _CHANGES.get(made["resourceType"])
    if change:
        change(made)
    return made


def _diagnostic_report(report: Resource) -> None:
    if "imagingStudy" in report:
        report["study"] = report.pop("imagingStudy")
    if "presentedForm" in report:
        report["presentedForm"] = [_attachment(one) for one in report["presentedForm"]]


def _imaging_study(study: Resource) -> None:
    if "modality" in study:
        study["modality"] = [{"coding": [one]} for one in study["modality"]]
    if "series" in study:
        study["series"] = [{**one, "modality": {"coding": [one["modality"]]}} for one in study["series"]]


def _device(device: Resource) -> None:
    names = device.pop("deviceName", [])
    device["name"] = [{"value": one["name"], "type": "user-friendly-name"} for one in names]
    device["type"] = [device["type"]]
    for carrier in device.pop("udiCarrier", []):
        told = carrier["carrierHRF"]
        found = _GS1_DEVICE.match(told)
        if found:  # R5 demands the device identifier and who issued it
            device["udiCarrier"] = [{"deviceIdentifier": found[1], "issuer": _GS1, "carrierHRF": told}]
        else:
            device["identifier"] = [*device["identifier"], {"type": {"text": "UDI"}, "value": told}]


def _service_request(request: Resource) -> None:
    if "code" in request:
        request["code"] = {"concept": request["code"]}


def _document_reference(document: Resource) -> None:
    document.pop("masterIdentifier", None)  # its value is an identifier too
    document["content"] = [
        {**one, "attachment": _attachment(one["attachment"])} for one in document["content"]
    ]
    document["relatesTo"] = [
        {**one, "code": {"coding": [{"system": _RELATIONSHIPS, "code": one["code"]}]}}
        for one in document.pop("relatesTo", [])
    ]
    if not document["relatesTo"]:
        del document["relatesTo"]
    context = document.pop("context", {})
    if "period" in context:
        document["period"] = context["period"]
    for one in context.get("related", []):
        if one["type"] == "ServiceRequest":
            document["basedOn"] = [one]
        else:
            document["event"] = [{"reference": one}]


def _attachment(attachment: Resource) -> Resource:
    return {**attachment, "size": str(attachment["size"])}  # integer64 is text (json.html#primitive)


_CHANGES: dict[str, Callable[[Resource], None]] = {
    "DiagnosticReport": _diagnostic_report,
    "ImagingStudy": _imaging_study,
    "Device": _device,
    "ServiceRequest": _service_request,
    "DocumentReference": _document_reference,
}
