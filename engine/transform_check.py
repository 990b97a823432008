"""Which edits a route may make on what goes onward.

Enters: one step of `transform:`. Leave: complaints. Identity is not for editing: a study that went
on under other UIDs or another patient could never be matched with its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.valuerep import validate_value

from engine.attribute import BULK, NUMERIC
from engine.finding import Location, did_you_mean, shown

_TEXTUAL = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"})
_WRITTEN = frozenset({"DS", "IS"})  # numbers that DICOM writes as text


def complaints_of_step(step: dict[str, Any]) -> Iterator[tuple[Location, str]]:
    """What is wrong with one step, by location inside it."""
    if bool(step.get("set")) == bool(step.get("remove")):
        yield (), "a step is either {set: {Keyword: value}} or {remove: [Keyword]}"
    for keyword, value in (step.get("set") or {}).items():
        message = _of_name(keyword) or _of_value(keyword, value)
        if message:
            yield ("set", keyword), message
    for index, keyword in enumerate(step.get("remove") or ()):
        message = _of_name(keyword)
        if message:
            yield ("remove", index), message


def _of_name(keyword: str) -> str:
    tag = tag_for_keyword(keyword) if keyword else None  # some attributes have no keyword
    if tag is None:
        return f"no DICOM attribute {shown(keyword)}{did_you_mean(keyword, keyword_dict)}"
    vr = dictionary_VR(tag)
    if vr == "UI" or keyword in ("PatientID", "IssuerOfPatientID", "SpecificCharacterSet"):
        return f"{keyword} is part of an object's identity and is never edited"
    if tag >> 16 == 0x0028 or tag >> 16 == 0x7FE0 or vr in BULK:
        return f"{keyword} describes pixels and is never edited"
    return ""


def _of_value(keyword: str, value: Any) -> str:
    vr = dictionary_VR(keyword)
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            return f"{keyword} takes a text, a number, or a list of them"
        if vr in NUMERIC and isinstance(one, str):
            return f"{keyword} holds numbers; write one without quotes"
        if vr in _TEXTUAL and not isinstance(one, str):
            return f"{keyword} is text; put the value in quotes"
        if vr == "SQ":
            return f"{keyword} is a sequence; only remove works on it"
        try:
            validate_value(vr, str(one) if vr in _WRITTEN else one, RAISE)
        except (ValueError, TypeError, OverflowError):
            return f"{keyword} cannot hold this value (PS3.5 6.2, {vr})"
    return ""
