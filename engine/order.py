"""What keeps its order at a destination: the name of the lane that a delivery goes into.

Enter: what the destination asks for (`order:`), a study, what is sent of it. Leave: a key without
patient data. Deliveries with the same key to the same destination go out one after the other.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from engine import part10
from engine.errors import PonsError
from engine.model import Study


def order_key(order: str, study: Study, lineage: str, document: dict[str, Any] | None) -> str:
    """The lane of a delivery.

    Args:
        order: study, patient, result or destination.
        lineage: whose versions supersede each other.
        document: of the result that is sent; None where the study itself is, whose patient is then read
            from its first instance. A study that names no patient keeps its own order.
    """
    if order == "destination":
        return "everything"
    if order == "result":
        return f"result/{lineage}"
    if order == "patient":
        who = _of_result(document) if document is not None else _of_study(study)
        if who is not None:
            text = json.dumps([study.site, *who], separators=(",", ":"))
            return f"patient/{hashlib.sha256(text.encode()).hexdigest()}"
    return f"{study.site}/{study.study_instance_uid}"


def _of_result(document: dict[str, Any]) -> tuple[str, str] | None:
    patient = document["patient"]
    issuer = patient["issuer"]
    number = patient["patient_id"].strip()
    return (issuer["oid"] or issuer["namespace"], number) if number else None


def _of_study(study: Study) -> tuple[str, str] | None:
    if not study.stored:
        return None
    try:
        found = part10.inspect(study.stored[0].path, ("PatientID", "IssuerOfPatientID")).attributes
    except (PonsError, OSError):
        return None
    number, issuer = (str(found.get(keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID"))
    return (issuer, number) if number else None
