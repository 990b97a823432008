"""Data sets of pydicom with their text as Unicode, decoded as it is for routing.

Enter: a data set as pydicom read it, its text still in bytes. Leave: elements that hold Unicode.
pydicom's own decoding looks for `=`, `^` and `\\` first, and finds them inside of two-byte characters.
"""

from __future__ import annotations

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from engine.character_set import Repertoire
from engine.element_value import BULK, LOCALISED, value_of


def repertoire_of(dataset: Dataset, inherited: Repertoire | None = None) -> Repertoire:
    """The character sets of a data set, or of an item, which has those of what it is in (C.12.1.1.2)."""
    terms = dataset.get("SpecificCharacterSet")
    if terms is None:
        return inherited or Repertoire()
    joined = terms if isinstance(terms, str) else "\\".join(str(term) for term in terms)
    return Repertoire.of(joined.encode("latin-1", "replace"))


def decoded(dataset: Dataset, tag: BaseTag, repertoire: Repertoire) -> DataElement:
    """An element with its text as Unicode; the items of a sequence are decoded in place."""
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        vr = raw.VR or ""
        if vr in ("", "UN") and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr in LOCALISED:
            value = value_of(vr, raw.value, big_endian=False, repertoire=repertoire, signed=False)
            return DataElement(tag, vr, value, validation_mode=config.IGNORE)
    element = dataset[tag]
    if element.VR == "SQ":
        for item in element.value:
            inner = repertoire_of(item, repertoire)
            for nested in list(item.keys()):
                item[nested] = decoded(item, nested, inner)
            item.pop("SpecificCharacterSet", None)
    return element


def turn_into_utf8(dataset: Dataset) -> None:
    """Make a data set one that can hold any text, in place; what it says stays the same."""
    repertoire = repertoire_of(dataset)
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag, keep_deferred=True)
        if isinstance(raw, RawDataElement) and raw.value is None and _is_bulk(raw):
            continue  # it is no text, and too large to be read for that
        dataset[tag] = decoded(dataset, tag, repertoire)
    dataset.SpecificCharacterSet = "ISO_IR 192"


def _is_bulk(raw: RawDataElement) -> bool:
    vr = raw.VR or "UN"
    if vr == "UN" and dictionary_has_tag(raw.tag):
        vr = dictionary_VR(raw.tag)
    return vr in BULK
