"""What a store transaction is answered with: status code and Store Instances Response Module.

Enter: the outcome of each part, in order, and the request's Accept header. Leave: an HTTP status
(PS3.18 10.5.3) and a document with ReferencedSOPSequence, FailedSOPSequence and, for parts that
could not even be identified, OtherFailuresSequence (PS3.18 I.2), as DICOM JSON (PS3.18 F) or in
the Native DICOM Model (PS3.19 A.1). Retrieve URL is empty: Pons stores and forwards, it is not
asked for instances.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from xml.etree import ElementTree

JSON = "application/dicom+json"
XML = "application/dicom+xml"

# PS3.18 table I.2-2
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111  # beyond that table, as the Standard allows: the C-STORE status


class Cause(Enum):
    """Why a part failed, where the whole answer's status depends on it."""

    CONTENT = 409
    TOO_LARGE = 413
    MEDIA_TYPE = 415
    NESTED = 400
    BUSY = 503
    STORAGE_FULL = 507
    DEFECT = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """One instance that is durable."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failed:
    """One part that is not kept; UIDs are empty where the part did not tell them."""

    reason: int
    message: str
    cause: Cause = Cause.CONTENT
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


Outcome = Stored | Failed


def status_code(outcomes: Sequence[Outcome]) -> int:
    """The status of the whole answer (PS3.18 table 10.5.3-1)."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if not failures:
        return 200 if outcomes else 400
    if len(failures) < len(outcomes):
        return 202
    causes = {failure.cause for failure in failures}
    return causes.pop().value if len(causes) == 1 else Cause.CONTENT.value


def preferred_media_type(accept: str) -> str | None:
    """The best of JSON and XML that an Accept header allows; None when it allows neither."""
    best: tuple[float, str] | None = None
    for entry in (accept or "*/*").split(","):
        essence, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = next((_quality(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        offered = {
            "*/*": JSON,
            "application/*": JSON,
            JSON: JSON,
            "application/json": "application/json",
            XML: XML,
        }.get(essence)
        if offered and quality > 0 and (best is None or quality > best[0]):
            best = quality, offered
    return best[1] if best else None


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def render(outcomes: Iterable[Outcome], media_type: str) -> bytes:
    """The document in one of the two encodings."""
    data_set = _response_module(outcomes)
    return _native_model(data_set) if media_type == XML else json.dumps(data_set).encode()


def _response_module(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    stored, failed, others = [], [], []
    for outcome in outcomes:
        if isinstance(outcome, Stored):
            stored.append({**_reference(outcome), "00081190": {"vr": "UR"}})
            continue
        reason = {"00081197": {"vr": "US", "Value": [outcome.reason]}}
        if outcome.sop_instance_uid:
            failed.append({**_reference(outcome), **reason})
        else:
            others.append(reason)
    data_set: dict[str, Any] = {"00081190": {"vr": "UR"}}
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", others)):
        if items:
            data_set[tag] = {"vr": "SQ", "Value": items}
    return data_set


def _reference(outcome: Outcome) -> dict[str, Any]:
    reference: dict[str, Any] = {"00081150": {"vr": "UI"}}
    if outcome.sop_class_uid:
        reference["00081150"]["Value"] = [outcome.sop_class_uid]
    reference["00081155"] = {"vr": "UI", "Value": [outcome.sop_instance_uid]}
    return reference


_KEYWORDS = {
    "00081150": "ReferencedSOPClassUID",
    "00081155": "ReferencedSOPInstanceUID",
    "00081190": "RetrieveURL",
    "00081197": "FailureReason",
    "00081198": "FailedSOPSequence",
    "00081199": "ReferencedSOPSequence",
    "0008119A": "OtherFailuresSequence",
}


def _native_model(data_set: dict[str, Any]) -> bytes:
    root = ElementTree.Element(
        "NativeDicomModel",
        {"xmlns": "http://dicom.nema.org/PS3.19/models/NativeDICOM", "xml:space": "preserve"},
    )
    _attributes(root, data_set)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _attributes(parent: ElementTree.Element, data_set: dict[str, Any]) -> None:
    for tag, element in sorted(data_set.items()):
        facts = {"tag": tag, "vr": element["vr"], "keyword": _KEYWORDS[tag]}
        node = ElementTree.SubElement(parent, "DicomAttribute", facts)
        for number, value in enumerate(element.get("Value", ()), start=1):
            if element["vr"] == "SQ":
                _attributes(ElementTree.SubElement(node, "Item", {"number": str(number)}), value)
            else:
                ElementTree.SubElement(node, "Value", {"number": str(number)}).text = str(value)
