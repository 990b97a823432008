"""Data sets from attributes as a table writes them.

Enter: names (keyword, tag, private element by its creator, path through sequences) and values. Leave:
elements of a data set. Only tests and edits of tests make data sets so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, private_dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from engine.attribute import Step, steps
from engine.errors import PonsError


def data_set_of(attributes: Mapping[str, Any]) -> Dataset:
    """A data set with these attributes.

    Raises:
        PonsError: an attribute cannot have its value.
    """
    made = Dataset()
    for name, value in attributes.items():
        put(made, name, value)
    return made


def put(data_set: Dataset, name: str, value: Any) -> None:
    """Set one attribute; a path leads through the first item of each sequence, which is made if need be.

    Raises:
        PonsError: the attribute cannot have this value.
    """
    *path, last = steps(name)
    for step in path:
        tag = _tag(data_set, step)
        if tag not in data_set or not data_set[tag].value:
            data_set.add_new(tag, "SQ", Sequence([Dataset()]))
        data_set = data_set[tag].value[0]
    tag = _tag(data_set, last)
    vr = _vr(last)
    try:
        # Tests speak of what real devices send, which is not always legal.
        data_set.add(DataElement(tag, vr, _fitted(value, vr), validation_mode=IGNORE))
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise PonsError(f"{name} ({vr}) cannot be {value!r}") from None


def _tag(data_set: Dataset, step: Step) -> int:
    """The tag in this data set: of a private element, in the block of its creator (PS3.5 7.8.1)."""
    if not step.creator:
        return step.tag
    block = data_set.private_block(step.tag >> 16, step.creator, create=True)
    return int(block.get_tag(step.tag & 0xFF))


def _vr(step: Step) -> str:
    if step.creator:
        try:
            return private_dictionary_VR(step.tag | 0x1000, step.creator).split(" or ")[0]
        except KeyError:
            return "LO"
    if dictionary_has_tag(step.tag):
        return dictionary_VR(step.tag).split(" or ")[0]
    return "LO"


_WHOLE = frozenset({"SL", "SS", "SV", "UL", "US", "UV"})
_REAL = frozenset({"FL", "FD"})
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})  # PS3.5 6.1.2.2


def _fitted(value: Any, vr: str) -> Any:
    """A value of the table as pydicom takes it for a value representation."""
    if isinstance(value, list):
        return [_fitted(one, vr) for one in value]
    if vr in _WHOLE:
        return int(value)
    if vr in _REAL:
        return float(value)
    if vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
        return str(value).encode()
    if vr in _ASCII and not str(value).isascii():
        raise ValueError(f"{vr} is ASCII")
    return str(value)
