"""Which elements of a data set a name in a step means.

Enters: a name as a table writes it. Leaves: a target that finds its elements: one attribute, at the top
level or down a path of sequences; every one of a repeating group (`(60xx,3000)`, PS3.5 7.6) or of a
private group (`(0009,xxxx)`); or every private one (`private`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from engine import attribute
from engine.finding import shown

PRIVATE = "private"
"""The name for every private element (PS3.5 7.8)."""

_MASK = re.compile(r"\(([0-9A-Fa-fx]{4}),([0-9A-Fa-fx]{4})\)")
_REPEATING = ("50xx", "60xx")


class Target(NamedTuple):
    """Elements whose tags agree with ``tag`` in the bits of ``mask``; all private ones where that is 0."""

    path: tuple[int, ...]  # tags of the sequences that lead there
    tag: int
    mask: int = 0xFFFFFFFF
    creator: str = ""  # whose block the element is in; the block in the tag is open then

    @property
    def is_one(self) -> bool:
        """Whether it is one public attribute."""
        return self.mask == 0xFFFFFFFF and not self.tag >> 16 & 1

    def tags_in(self, dataset: Dataset) -> list[BaseTag]:
        """The elements of a data set, or of an item, that it means."""
        if not self.mask:
            return [tag for tag in list(dataset.keys()) if tag.is_private]
        tags = [tag for tag in list(dataset.keys()) if (tag ^ self.tag) & self.mask == 0]
        return [tag for tag in tags if self._is_of_creator(dataset, tag)] if self.creator else tags

    def _is_of_creator(self, dataset: Dataset, tag: BaseTag) -> bool:
        reserved = dataset.get(BaseTag(tag.group << 16 | tag.element >> 8))  # PS3.5 7.8.1
        return reserved is not None and str(reserved.value).strip(" \0") == self.creator


@lru_cache(maxsize=4096)
def target(name: str) -> Target:
    """The target of a name; ValueError says why it has none."""
    if name == PRIVATE:
        return Target((), 0, 0)
    masked = _MASK.fullmatch(name)
    if masked and "x" in name:
        return _masked(name, masked[1], masked[2])
    *path, last = attribute.steps(name)
    attribute.resolve(name)  # also that what leads there are sequences
    if any(step.is_private for step in path):
        raise ValueError(f"{shown(name)} leads through a private sequence; edits do not reach into those")
    if last.creator:
        return Target(tuple(step.tag for step in path), last.tag, 0xFFFF00FF, last.creator)
    return Target(tuple(step.tag for step in path), last.tag)


def _masked(name: str, group: str, element: str) -> Target:
    private = "x" not in group and int(group, 16) & 1 and int(group, 16) > 8
    if group.lower() not in _REPEATING and not private:
        raise ValueError(
            f"{shown(name)} is no group that repeats; x may stand in (50xx,eeee), (60xx,eeee) and in the "
            "element of a private group, (0009,xxxx)"
        )
    digits = group + element
    mask = int("".join("0" if digit == "x" else "F" for digit in digits), 16)
    return Target((), int(digits.replace("x", "0"), 16), mask)
