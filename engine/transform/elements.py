"""Elements of a data set: found in sequences, read as text, given new values; the rest stays as it was read.

Enter: a data set as pydicom read it. Leave: values as text, or the data set with other values. pydicom keeps
an element as its bytes until somebody asks for it, and writes those bytes; whatever is only looked at here is
left, or put back, as bytes. Where a new value is not ASCII the data set becomes UTF-8 (ISO_IR 192).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydicom import config
from pydicom.config import RAISE
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from engine.attribute import NUMERIC
from engine.character_set import Repertoire
from engine.decoded import repertoire_of, turn_into_utf8
from engine.element_value import value_of
from engine.errors import TransformFailed

Act = Callable[[Dataset, Repertoire], bool]
"""What is done to a data set or to an item of a sequence; whether it changed."""

WRITTEN = frozenset({"DS", "IS"})  # numbers that DICOM writes as text
_LINES = frozenset({"LT", "ST", "UT"})  # text of several lines, in which a backslash is one


def at(dataset: Dataset, repertoire: Repertoire, path: Sequence[int], everywhere: bool, act: Act) -> bool:
    """Do something to the items at the end of a path, or to a data set and every item in it.

    A sequence in which nothing changed is put back as it was read, so that it is written byte for byte.
    """
    changed = act(dataset, repertoire) if not path else False
    for tag in path[:1] or (list(dataset.keys()) if everywhere else ()):
        raw = dataset.get_item(tag, keep_deferred=True)
        if raw is None or vr_of(raw, tag) != "SQ" or tag >> 16 & 1:
            continue
        below = [
            at(item, repertoire_of(item, repertoire), path[1:], everywhere, act)
            for item in dataset[tag].value or ()
        ]
        if any(below):
            changed = True
        elif isinstance(raw, RawDataElement):
            dataset[tag] = raw
    return changed


def vr_of(element: DataElement | RawDataElement | None, tag: int) -> str:
    """The representation of an element, from the dictionary (PS3.6) where it does not say."""
    vr = str(element.VR or "") if element is not None else ""
    if vr in ("", "UN") and dictionary_has_tag(tag):
        return dictionary_VR(tag)
    return vr


def texts(holder: Dataset, tag: int, repertoire: Repertoire) -> list[str]:
    """The values of an element as text, decoded as for routing."""
    raw = holder.get_item(tag, keep_deferred=True)
    vr = vr_of(raw, tag)
    value: Any
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr in WRITTEN:
        value = raw.value.decode("latin-1").split("\\")
    elif isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr not in NUMERIC:
        value = value_of(vr, raw.value, big_endian=False, repertoire=repertoire, signed=False)
    else:
        value = holder[tag].value
        if isinstance(raw, RawDataElement):
            holder[tag] = raw  # what is only read is written as it came
    if isinstance(value, str) or not isinstance(value, Sequence):
        value = [value]
    return ["" if one is None else str(one).strip(" \0") for one in value]


def put(dataset: Dataset, holder: Dataset, tag: int, values: Sequence[Any]) -> bool:
    """Give an attribute of a data set, or of an item in it, new values."""
    vr = dictionary_VR(tag)
    for one in values:
        if not is_legal(vr, one):
            raise TransformFailed(
                f"{dictionary_keyword(tag)} cannot hold what it would be given (PS3.5 6.2, {vr})"
            )
        if not str(one).isascii() and dataset.get("SpecificCharacterSet") != "ISO_IR 192":
            turn_into_utf8(dataset)  # its own character set may not have these letters
    value = list(values) if len(values) > 1 else values[0]
    holder[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
    return True


def is_legal(vr: str, value: Any) -> bool:
    """Whether a value is legal for a representation (PS3.5 6.2); empty is, in every one."""
    if isinstance(value, str) and not is_plain(vr, value):
        return False
    try:
        validate_value(vr, str(value) if vr in WRITTEN else value, RAISE)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def is_plain(vr: str, value: str) -> bool:
    """Whether a text is free of what its representation keeps for itself: separators, control characters."""
    if vr in _LINES:
        return not any(sign < " " and sign not in "\t\n\f\r" for sign in value)
    return "\\" not in value and not any(sign < " " for sign in value)
