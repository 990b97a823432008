"""What orders are found by: attributes of their study, or of their metadata. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED_BY = {  # column of `orders` -> the attribute that fills it, and the longest value that is kept
    "accession_number": ("AccessionNumber", 64),
    "patient_id": ("PatientID", 64),
    "patient_name": ("PatientName", 200),
    "study_description": ("StudyDescription", 64),
}
IDENTIFYING = frozenset(keyword for keyword, _ in NAMED_BY.values())
"""They are recorded with every instance, beside what routing asks for."""


def named(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What an order is found by, as an instance or metadata name it; empty where they do not."""
    found = {}
    for column, (keyword, length) in NAMED_BY.items():
        value = attributes.get(keyword)
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        found[column] = str(value if value is not None else "").strip(" \0")[:length]
    return found
