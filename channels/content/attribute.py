"""Attributes of a DICOM data set: values enter, data elements and sequence items leave.

PS3.5 6.2 (value representations), PS3.3 8.8 (code sequences), PS3.18 F.2 (DICOM JSON, from which the
source's attributes are copied). What is put stays as it is; what is copied must be legal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.valuerep import VR, validate_value

from engine.model import Code, Issuer

_TEXT_VRS = frozenset(["AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT"])
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")


def put(dataset: Dataset, keyword: str, value: Any) -> None:
    """Set an element without validation: what is put here is either legal or must stay as it is."""
    vr = dictionary_VR(keyword)
    if vr == VR.SQ:
        value = Sequence(value)
    tag = Tag(tag_for_keyword(keyword) or 0)
    dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))


def item(**values: Any) -> Dataset:
    """A sequence item from keywords."""
    made = Dataset()
    for keyword, value in values.items():
        put(made, keyword, value)
    return made


def code_item(code: Code) -> Dataset:
    """A Code Sequence item (table 8.8-1); a value over 16 characters is a long one."""
    keyword = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    return item(
        **{keyword: short(code.value)},
        CodingSchemeDesignator=short(code.scheme, 16),
        CodeMeaning=short(code.meaning) or "unnamed",
    )


def issuer_item(issuer: Issuer) -> Dataset | None:
    """An HL7v2 Hierarchic Designator item (table 10-17); None when there is no issuer."""
    made = Dataset()
    if issuer.namespace:
        put(made, "LocalNamespaceEntityID", text(issuer.namespace))
    if issuer.oid:
        put(made, "UniversalEntityID", text(issuer.oid))
        put(made, "UniversalEntityIDType", "ISO")
    return made if len(made) else None


def short(value: str, limit: int = 64) -> str:
    """A legal LO or SH: no backslash, no control characters, at most ``limit`` characters."""
    return _CONTROL.sub(" ", value).replace("\\", "/").strip()[:limit].strip()


def text(value: str) -> str:
    """A legal UT or UC: control characters only for lines (PS3.5 6.1.3)."""
    return _CONTROL_IN_TEXT.sub("", value).rstrip()


def sop_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A SOP Instance Reference Macro item (table 10-11)."""
    return item(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid)


def da(moment: datetime) -> str:
    """A DA."""
    return moment.strftime("%Y%m%d")


def tm(moment: datetime) -> str:
    """A TM in whole seconds."""
    return moment.strftime("%H%M%S")


def copy(dataset: Dataset, header: Mapping[str, Any], keyword: str) -> None:
    """Copy an attribute of a DICOM JSON header if it is there and legal."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    element = _element(tag, header.get(f"{tag:08X}"))
    if element is not None:
        dataset.add(element)


def _element(tag: Any, entry: Any) -> DataElement | None:
    """A DICOM JSON attribute (PS3.18 F.2.2) as a data element; None when empty or not legal."""
    if not isinstance(entry, Mapping):
        return None
    vr, values = entry.get("vr"), entry.get("Value")
    if not isinstance(values, list) or not values:
        return None
    if vr == "SQ":
        items = [made for one in values if isinstance(one, Mapping) and len(made := _item(one))]
        return DataElement(tag, "SQ", Sequence(items)) if items else None
    if vr not in _TEXT_VRS:
        return None
    plain = [_plain(vr, value) for value in values]
    try:
        for value in plain:
            validate_value(vr, value, config.RAISE)
        return DataElement(tag, vr, plain[0] if len(plain) == 1 else plain, validation_mode=config.IGNORE)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _item(attributes: Mapping[str, Any]) -> Dataset:
    made = Dataset()
    for key, entry in attributes.items():
        if not re.fullmatch("[0-9A-Fa-f]{8}", str(key)) or int(key, 16) >> 16 & 1:
            continue  # a private element without its creator means nothing
        element = _element(Tag(int(key, 16)), entry)
        if element is not None:
            made.add(element)
    return made


def _plain(vr: str, value: Any) -> str:
    if vr == "PN" and isinstance(value, Mapping):
        groups = (str(value.get(key, "")) for key in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)
