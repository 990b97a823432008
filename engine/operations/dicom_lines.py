"""A DICOM object as lines, an element each, without pixels, with what tells of the patient behind a shield.

Enter: a file of the format of PS3.10. Leave: lines. `engine.patient_attributes` says what is shielded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from engine.delivery_model import MessageLine
from engine.patient_attributes import SHIELD, is_about_the_patient

BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
LONG = 200  # characters of a value
DEEPEST = 12  # sequences in sequences
DEFER = 4096  # bytes from which a value is left in the file


def lines(file: Path, *, revealed: bool) -> Iterator[MessageLine]:
    """Every element up to the pixels; ValueError where it is no DICOM file."""
    try:
        data_set = pydicom.dcmread(file, stop_before_pixels=True, defer_size=DEFER)
    except (InvalidDicomError, EOFError, AttributeError, NotImplementedError):
        raise ValueError("not a DICOM file that can be read") from None
    yield from _elements(data_set.file_meta, 0, revealed)
    yield from _elements(data_set, 0, revealed)


def _elements(data_set: Dataset, depth: int, revealed: bool, hidden: bool = False) -> Iterator[MessageLine]:
    for tag in sorted(data_set.keys()):
        element = _read(data_set, tag)
        vr = element.VR if element is not None else "UN"
        name = f"({tag.group:04x},{tag.element:04x}) {vr} {keyword_for_tag(tag) or _kind(tag.group)}"
        behind = hidden or is_about_the_patient(int(tag), vr)
        if element is None:
            yield MessageLine("cannot be read", name, depth)
        elif vr == "SQ":
            yield from _items(element, name, depth, revealed, behind)
        else:
            value = _text(element)
            shielded = behind and not revealed and value != ""
            yield MessageLine(SHIELD if shielded else value, name, depth, shielded)


def _items(
    element: DataElement, name: str, depth: int, revealed: bool, hidden: bool
) -> Iterator[MessageLine]:
    items = list(element.value or ())
    yield MessageLine(f"{len(items)} item{'' if len(items) == 1 else 's'}", name, depth)
    if depth >= DEEPEST:
        return
    for number, item in enumerate(items, start=1):
        if len(items) > 1:
            yield MessageLine("", f"item {number}", depth + 1)
        yield from _elements(item, depth + 1, revealed, hidden)


def _read(data_set: Dataset, tag: Any) -> DataElement | None:
    try:
        element: DataElement = data_set[tag]
    except Exception:  # pydicom raises whatever a broken value makes it stumble over
        return None
    return element


def _text(element: DataElement) -> str:
    value = element.value
    if value is None or value == "":
        return ""
    if isinstance(value, bytes) or element.VR in BINARY:
        return f"{len(value)} bytes" if hasattr(value, "__len__") else str(value)
    text = "\\".join(map(str, value)) if element.VM > 1 else str(value)
    text = " ".join(text.split())
    return text if len(text) <= LONG else f"{text[:LONG]}… ({len(text)} characters)"


def _kind(group: int) -> str:
    return "private" if group % 2 else "unknown"
