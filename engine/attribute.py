"""Names of DICOM attributes as a table writes them.

Enters: a keyword, a tag `(gggg,eeee)`, a private element by its creator as DCMTK's dictionaries write
it, `(0019,"SIEMENS MR HEADER",0C)`, or a path of these through sequences, joined by dots. Leaves: the
one spelling by which it is known from then on, and its value representation; or the reason why it names
nothing that a route could ask for. The dictionaries are PS3.6 and the private ones that pydicom carries.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pydicom._private_dict import private_dictionaries
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_keyword,
    dictionary_VR,
    keyword_dict,
    private_dictionary_VR,
    tag_for_keyword,
)

from engine.finding import did_you_mean, shown

_TRANSFER_SYNTAX_UID = 0x00020010  # of the file meta, but known of every instance
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")
_BY_CREATOR = re.compile(r'\(([0-9A-Fa-f]{4}),"([^"\\\x00-\x1f]{1,64})",([0-9A-Fa-f]{2})\)')
_STEP = re.compile(r'\([^()"]*"[^"]*"[^()"]*\)|[^.]*')  # a creator may hold dots, commas and brackets

BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "UN"})
"""Value representations whose bytes are stepped over: they can be asked for existence only."""

NUMERIC = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
"""Value representations that hold numbers."""

ORDERED = NUMERIC | {"AS", "DA", "TM"}
"""Value representations with a least and a most: ages in years, dates and times as they are written."""

UNKNOWN = ""
"""The representation of a private attribute of no dictionary: its values are compared as text or numbers."""


class Step(NamedTuple):
    """One attribute on a path. Of a private one by its creator the block in the tag is open, and 0."""

    tag: int
    creator: str = ""

    @property
    def is_private(self) -> bool:
        """Of an odd group (PS3.5 7.8)."""
        return bool(self.tag >> 16 & 1)

    @property
    def in_some_block(self) -> bool:
        """Whether it is a private element by plain tag, whose block another device may not have given it."""
        return self.is_private and not self.creator and self.tag & 0xFFFF >= 0x1000

    def __str__(self) -> str:
        if self.creator:
            return f'({self.tag >> 16:04X},"{self.creator}",{self.tag & 0xFF:02X})'
        keyword = dictionary_keyword(self.tag) if dictionary_has_tag(self.tag) else ""
        return keyword or f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"


class Named(NamedTuple):
    """An attribute that exists."""

    name: str
    vr: str


def resolve(name: str) -> Named:
    """The attribute a table means; ValueError says why there is none."""
    found = steps(name)
    texts = _split(name)
    for step, text in zip(found, texts, strict=True):
        if step.tag >> 16 < 8 and step.tag != _TRANSFER_SYNTAX_UID:
            raise ValueError(f"{shown(text)} is not of the data set; a route reads groups 0008 and up")
    for step, text in zip(found[:-1], texts, strict=False):
        if _vr(step) not in ("SQ", UNKNOWN):
            raise ValueError(f"{text} is no sequence, so {name} leads nowhere")
    return Named(".".join(map(str, found)), _vr(found[-1]))


@lru_cache(maxsize=4096)
def steps(name: str) -> tuple[Step, ...]:
    """The attributes on the path to the one that is named, of the file meta too; ValueError as `resolve`."""
    return tuple(map(_step, _split(name)))


def doubts(name: str) -> Iterator[str]:
    """What is probably not meant about the private attributes in a name that resolves."""
    for step in steps(name):
        if step.in_some_block:
            where = f'({step.tag >> 16:04X},"CREATOR",{step.tag & 0xFF:02X})'
            yield (
                f"{step} is where one device has this private element, and another may have it elsewhere; "
                f"name its creator: '{where}' (PS3.5 7.8.1)"
            )
        elif step.creator and step.creator not in private_dictionaries:
            near = difflib.get_close_matches(step.creator, private_dictionaries, n=1, cutoff=0.85)
            if near:
                yield f"no known device writes as {shown(step.creator)}; did you mean {near[0]!r}?"


def _split(name: str) -> list[str]:
    """The steps of a path; a dot within a creator's quotes parts nothing."""
    parts, at = [], 0
    while True:
        match = _STEP.match(name, at)
        end = match.end() if match else at
        if end < len(name) and name[end] != ".":
            return name.split(".")  # no path at all; what is wrong is told of its parts
        parts.append(name[at:end])
        if end == len(name):
            return parts
        at = end + 1


def _step(text: str) -> Step:
    private = _BY_CREATOR.fullmatch(text)
    if private:
        return _private(text, int(private[1], 16), private[2].strip(), int(private[3], 16))
    match = _TAG.fullmatch(text)
    if match:
        tag = int(match[1] + match[2], 16)
    elif text[:1] == "(" or text[-1:] == ")":  # YAML splits `{(0018,9087): 1}` at the comma
        if '"' in text:
            raise ValueError(
                f"{shown(text)} names no private element; write it in quotes: "
                "'(gggg,\"CREATOR\",ee)', without the block"
            )
        raise ValueError(f'{shown(text)} is no tag; write it in quotes: "(gggg,eeee)"')
    else:
        number = tag_for_keyword(text) if text else None  # some attributes have no keyword
        if number is None:
            raise ValueError(f"no DICOM attribute {shown(text)}{did_you_mean(text, keyword_dict)}")
        tag = int(number)
    return Step(tag)


def _private(text: str, group: int, creator: str, element: int) -> Step:
    if not group & 1 or group < 9:
        raise ValueError(f"{shown(text)} is not private; private groups are odd, from 0009 (PS3.5 7.8)")
    if not creator:
        raise ValueError(f"{shown(text)} names no creator; a data set names one in each block it uses")
    return Step(group << 16 | element, creator)


def _vr(step: Step) -> str:
    if not step.is_private:
        return dictionary_VR(step.tag) if dictionary_has_tag(step.tag) else UNKNOWN
    if not step.creator:
        return "LO" if 0x10 <= step.tag & 0xFFFF <= 0xFF else UNKNOWN
    try:  # pydicom's dictionaries are asked with some block
        vr = private_dictionary_VR(step.tag | 0x1000, step.creator)
    except KeyError:
        return UNKNOWN
    return UNKNOWN if vr in ("UN", "OB_OW") else vr
