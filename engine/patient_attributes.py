"""Which DICOM attributes tell of the patient, and stand behind a shield until he is revealed. Pure.

Enter: a tag with its value representation, or the words of a predicate. Leaves: whether it is one: the
patient's group (0010), names of persons, further attributes by which PS3.15 table E.1-1 says somebody can
be known, free text, and private elements, for nobody knows what those hold. Times, UIDs and the accession
number are none: by them a study is found.
"""

from __future__ import annotations

import re

from pydicom.datadict import dictionary_VR, tag_for_keyword

SHIELD = "••••"
"""Stands where a value of a patient is not shown."""
PATIENT_GROUP = 0x0010
NAMES, FREE_TEXT = frozenset({"PN"}), frozenset({"LT", "ST", "UT"})
KNOWN_BY = frozenset(
    {
        0x00380010,  # Admission ID
        0x00380060,  # Service Episode ID
        0x00380400,  # Patient's Institution Residence
        0x00401001,  # Requested Procedure ID
        0x00401400,  # Requested Procedure Comments
        0x00402016,  # Placer Order Number / Imaging Service Request
        0x00402017,  # Filler Order Number / Imaging Service Request
        0x40080114,  # Physician Approving Interpretation
    }
)
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]+")
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),[0-9A-Fa-f]{4}\)")


def is_about_the_patient(tag: int, vr: str) -> bool:
    """Whether an element's value is behind the shield."""
    group = tag >> 16
    return (
        group == PATIENT_GROUP
        or bool(group % 2 and group > 8)
        or vr in NAMES
        or vr in FREE_TEXT
        or tag in KNOWN_BY
    )


def asks_the_patient(words: str) -> bool:
    """Whether a predicate, in words, wants an attribute of the patient: then what it found is one, too."""
    for keyword in _KEYWORD.findall(words):
        tag = tag_for_keyword(keyword)
        if tag is not None and is_about_the_patient(tag, dictionary_VR(tag)):
            return True
    return any(group == "0010" for group in _TAG.findall(words))


def without_what_was_found(why: str) -> str:
    """The reason of a miss, `wanted …, found …`: what may tell of the patient behind the shield."""
    wanted, found, _ = why.partition(", found ")
    return f"{wanted}{found}{SHIELD}" if found and asks_the_patient(wanted) else why
