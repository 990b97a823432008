"""`keep:` what stays of a data set of which only some attributes are wanted.

Enters: a data set and the tags that a route lists. Leaves: the same data set with these, and with what
makes it a valid object of its SOP Class that can still be found and shown. In the manner of PS3.15
Annex E, by the type that an attribute has in a mandatory or conditional module of the class (PS3.3
Annex A; `needed.json`, which tests compare with a table of others):

    UIDs, Patient ID and its issuer, character set, groups 0028 and 7FE0     stay
    offset from UTC, body part and side, what orders the frames           stay
    type 1 and 1C                                                           stay
    type 2 and 2C                                                           stay, empty
    anything else: type 3, optional modules, overlays, private elements     go

Sequences that stay, stay whole but for their private elements.
"""

from __future__ import annotations

import json
from collections.abc import Collection, MutableSequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

IDENTITY = frozenset(
    {"PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "SpecificCharacterSet"}
)
"""What an object is known and read by, beside its UIDs."""

_PIXELS = frozenset({0x0028, 0x7FE0})
_MEANING = frozenset({"TimezoneOffsetFromUTC", "BodyPartExamined", "Laterality", "ImageLaterality"})
"""Without these, times that stay mean other times, and images may be taken for those of another side."""


def keep_only(dataset: Dataset, wanted: Collection[int], *, private: bool) -> None:
    """Take everything away but what is wanted and what the object needs; in place.

    Args:
        wanted: tags that stay as they are.
        private: whether all private elements of the top level stay too.
    """
    needed, empty = needed_by(str(dataset.get("SOPClassUID") or ""))
    pointed = dataset.get("FrameIncrementPointer") or ()  # attributes by which frames are told apart
    wanted = {*wanted, *(pointed if isinstance(pointed, MutableSequence) else (pointed,))}
    for tag in list(dataset.keys()):
        if tag in wanted or tag.group in _PIXELS:
            continue
        if tag.is_private:
            continue  # the caller's, here and inside of sequences
        keyword = dictionary_keyword(tag) if dictionary_has_tag(tag) else ""
        vr = dictionary_VR(tag) if keyword else ""
        if vr == "UI" or keyword in IDENTITY or keyword in needed or keyword in _MEANING:
            continue
        if keyword in empty:
            dataset[tag] = DataElement(tag, vr, [] if vr == "SQ" else "")
        else:
            del dataset[tag]


@lru_cache(maxsize=256)
def needed_by(sop_class_uid: str) -> tuple[frozenset[str], frozenset[str]]:
    """What an object of a class has to say, and what it has to have if need be empty; keywords.

    Of a class that the Standard does not know: what is needed by any.
    """
    tables = _tables()
    modules = tables["classes"].get(sop_class_uid, tables["modules"])
    first = {keyword for one in modules for keyword in tables["modules"][one][0]}
    second = {keyword for one in modules for keyword in tables["modules"][one][1]}
    return frozenset(first), frozenset(second - first)


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("engine.transform").joinpath("needed.json").read_text("utf-8"))
    return found
