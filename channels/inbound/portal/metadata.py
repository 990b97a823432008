"""The metadata of an order as a form: the usual attributes by name, any other as a line `Keyword: value`.

Enter: fields of a form, or metadata. Leave: metadata by keyword, as the desk checks it, or the form filled
in; and what the desk found wrong, by the field where it was typed. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import FormData

OTHERS = "others"
LONGEST = 4000
_PREFIX = "metadata."

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("PatientID", "Patient ID", ""),
    ("PatientName", "Patient name", "Family^Given"),
    ("PatientBirthDate", "Birth date", "as 1956-01-31"),
    ("PatientAge", "Age", "whole years"),
    ("PatientSex", "Sex", "M, F or O"),
    ("AccessionNumber", "Accession number", ""),
    ("StudyDescription", "Study description", ""),
    ("ReferringPhysicianName", "Referring physician", "Family^Given"),
)
"""Keyword of PS3.6, label, hint."""

_NAMED = {keyword for keyword, _, _ in FIELDS}


def given(form: FormData) -> dict[str, str]:
    """What the form says: an attribute for each field that is not empty; a line counts more than a field."""
    found = {}
    for keyword, _, _ in FIELDS:
        value = str(form.get(keyword, "")).strip()
        if value:
            found[keyword] = value
    for line in str(form.get(OTHERS, ""))[:LONGEST].splitlines():
        key, colon, value = line.partition(":")
        if line.strip():
            found[key.strip() if colon else line.strip()] = value.strip()
    return found


def typed(form: FormData) -> dict[str, str]:
    """The form as it was filled in."""
    return {name: str(form.get(name, ""))[:LONGEST] for name in (*_NAMED, OTHERS)}


def filled(metadata: Mapping[str, str]) -> dict[str, str]:
    """The form for metadata that there are."""
    others = "\n".join(f"{key}: {value}" for key, value in metadata.items() if key not in _NAMED)
    return {**{keyword: metadata.get(keyword, "") for keyword in _NAMED}, OTHERS: others}


def mistakes(said: str) -> dict[str, str]:
    """What the desk found, by field; what is of none of them is of the lines."""
    found: dict[str, str] = {}
    for line in said.splitlines():
        key, colon, why = line.removeprefix(_PREFIX).partition(": ")
        if not line.startswith(_PREFIX) or not colon:
            name, text = "", line
        elif key in _NAMED:
            name, text = key, why
        else:
            name, text = OTHERS, f"{re.sub(r'[^A-Za-z0-9_]', '?', key)[:64]}: {why}"
        found[name] = f"{found[name]}; {text}" if name in found else text
    return found
