"""FHIR judges that nobody here wrote: fhirkit, pyfhircheck and the models of fhir.resources, all for R4."""

from __future__ import annotations

import json
from typing import Any

import fhirkit
import pyfhircheck
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

# What http://hl7.org/fhir/R4/valueset-diagnostic-report-status.html and -observation-status.html
# share; pyfhircheck has only the first four codes of either.
R4_STATUSES = (
    *("registered", "preliminary", "final", "amended", "corrected", "cancelled"),
    *("entered-in-error", "unknown"),
)
STATUS_PATHS = ("DiagnosticReport.status", "Observation.status")


def _pyfhircheck_issues(resource: dict[str, Any]) -> list[str]:
    """What pyfhircheck finds, but for status codes that R4 has and it has not."""
    found = pyfhircheck.Validator().validate_resource(resource).issues
    short = [
        one for one in found if one.path.endswith(STATUS_PATHS) and one.message.split("'")[1] in R4_STATUSES
    ]
    return [str(one) for one in found if one not in short]


def fhir_errors(content: bytes) -> list[str]:
    """What the three find wrong with a resource in JSON."""
    plain = json.loads(content)
    found = [f"fhirkit: {one}" for one in fhirkit.validate(content.decode("utf-8"))]
    found += [f"pyfhircheck: {one}" for one in _pyfhircheck_issues(plain)]
    try:
        get_fhir_model_class(plain["resourceType"]).model_validate_json(content)
    except ValidationError as error:
        found += [f"fhir.resources: {one['loc']}: {one['msg']}" for one in error.errors()]
    return found
