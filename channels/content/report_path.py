"""Where a report is filed: a template of the table and a result in, a relative path out.

The template's own text is the table's and stays as it is. What stands for a field comes from a study, which
anybody may have written: it is made of ASCII letters, digits, `.`, `_` and `-` only, begins with a letter or
a digit, is no name that a file system reserves, and stays another's when that had to change it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from string import Formatter

from engine.model import Result, ResultStatus

FIELDS = (
    *("study", "accession_number", "study_instance_uid", "patient_id"),
    *("route", "status", "revision", "result", "date", "ext"),
)
DISTINCT = frozenset({"study", "study_instance_uid", "result", "accession_number"})
"""One of these must be in a template: reports of two studies must not be one file."""
DEFAULT = "{study}/{route}.{ext}"
LONGEST_VALUE = 64

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LITERAL = re.compile(r"[^\x00-\x1f\x7f\\]*")
_MADE = re.compile(r"_[0-9a-f]{8}$")  # what a name ends in that had to be changed
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # of Windows, whatever follows the dot


def checked_relative(template: str) -> str:
    """As `checked`, of a template that begins in a folder of ours."""
    if template.startswith("/"):
        raise ValueError("a path begins with a folder's or file's name: remove the / before it")
    return checked(template)


def checked(template: str) -> str:
    """The template; ValueError says what is wrong with it and what to write."""
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    try:
        pieces = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(f"braces do not fit: a field is one of {known}") from None
    fields = [field for _, field, _, _ in pieces if field is not None]
    for field, kind, conversion in ((f, k, c) for _, f, k, c in pieces if f is not None):
        if field not in FIELDS or kind or conversion:
            raise ValueError(f"there is no such field; there are {known}")
    if not DISTINCT.intersection(fields):
        raise ValueError("two studies would share a file: name {study}, {accession_number} or {result} in it")
    if not all(_LITERAL.fullmatch(text) for text, _, _, _ in pieces):
        raise ValueError("control characters and backslashes are not taken; folders are parted by /")
    segments = template.removeprefix("/").split("/")
    if not all(segments) or {".", ".."}.intersection(segments) or segments[0].startswith("~"):
        raise ValueError("every folder and the file need a name, and . .. ~ are none")
    return template


def path_of(template: str, result: Result, suffix: str) -> str:
    """Where a report of this suffix is filed; a failure report never takes the place of an earlier report."""
    path = template.format_map(values(result, suffix))
    if result.status is not ResultStatus.FAILED or "{status}" in template or "{result}" in template:
        return path
    stem, dot, ending = path.rpartition(".")
    return f"{stem}-failed.{ending}" if dot and "/" not in ending else f"{path}-failed"


def values(result: Result, suffix: str) -> Mapping[str, str]:
    """What stands for each field; an order without an accession number is called by its study's UID."""
    uid = result.study.study_instance_uid
    accession = result.order.accession_number
    return {
        "study": safe(f"{accession}-{_digest(uid)}") if accession else safe(uid),
        "accession_number": safe(accession or uid),
        "study_instance_uid": safe(uid),
        "patient_id": safe(result.patient.patient_id or "unknown"),
        "route": safe(result.route),
        "status": safe(result.status.value),
        "revision": str(result.revision),
        "result": safe(result.result_id),
        "date": result.produced_at.strftime("%Y%m%d"),
        "ext": suffix.removeprefix("."),
    }


def safe(value: str) -> str:
    """A value as one piece of a file's name; two values that differ still do."""
    made = _UNSAFE.sub("_", value).lstrip("._-")[:LONGEST_VALUE].rstrip(".")
    if made and made == value and not _RESERVED.fullmatch(made) and not _MADE.search(made):
        return made
    return f"{made[: LONGEST_VALUE - 9].rstrip('.') or 'x'}_{_digest(value)}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:8]
