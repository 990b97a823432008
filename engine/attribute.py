"""Names of DICOM attributes as a table writes them: keyword, `(gggg,eeee)`, path through sequences.

Enters: a name. Leaves: its value representation, or the reason why it names nothing that a route
could ask for. The dictionary is PS3.6 as pydicom carries it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict, tag_for_keyword

from engine.finding import did_you_mean, shown

_TRANSFER_SYNTAX_UID = 0x00020010  # of the file meta, but known of every instance
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})
"""Value representations whose bytes are stepped over: they can be asked for existence only."""

NUMERIC = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
"""Value representations that hold numbers."""

ORDERED = NUMERIC | {"DA", "TM"}
"""Value representations with a least and a most; dates and times order as the numbers they look like."""

UNKNOWN = ""
"""The representation of a private attribute: its values are compared as text or as numbers."""


class Named(NamedTuple):
    """An attribute that exists."""

    name: str
    vr: str


def resolve(name: str) -> Named:
    """The attribute a table means; ValueError says why there is none."""
    steps = name.split(".")
    vr = UNKNOWN
    for index, step in enumerate(steps):
        vr = _vr(step)
        if index < len(steps) - 1 and vr not in ("SQ", UNKNOWN):
            raise ValueError(f"{step} is no sequence, so {name} leads nowhere")
    return Named(name, vr)


def _vr(step: str) -> str:
    match = _TAG.fullmatch(step)
    if match:
        tag = int(match[1] + match[2], 16)
    elif step[:1] == "(" or step[-1:] == ")":  # YAML splits `{(0018,9087): 1}` at the comma
        raise ValueError(f'{shown(step)} is no tag; write it in quotes: "(gggg,eeee)"')
    else:
        number = tag_for_keyword(step) if step else None  # some attributes have no keyword
        if number is None:
            raise ValueError(f"no DICOM attribute {shown(step)}{did_you_mean(step, keyword_dict)}")
        tag = number
    if tag >> 16 < 8 and tag != _TRANSFER_SYNTAX_UID:
        raise ValueError(f"{shown(step)} is not of the data set; a route reads groups 0008 and up")
    return dictionary_VR(tag) if dictionary_has_tag(tag) else UNKNOWN
