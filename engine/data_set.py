"""Walk an encoded data set element by element, to its end, and pick out what is wanted.

Enter: a source of bytes, how they are encoded (PS3.5 7), and the wanted attributes. Leave: their
values and the tags of the top level; or `Rejected` when the structure does not hold. Nothing but
wanted values is kept, however large or deep the data set is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from engine.attribute import steps
from engine.character_set import Repertoire
from engine.element_source import Source
from engine.element_value import BULK, MAX_PLAIN, unknown_value, value_of
from engine.errors import Rejected, RejectedReason

MAX_VALUE = 1 << 16  # bytes of one wanted value; a longer one is counted, not read
_MAX_DEPTH = 100  # sequences in sequences
_MAX_ELEMENTS = 20_000_000  # a real multi-frame object stays far below
_MAX_FOUND = 100_000  # values found along one path

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_CHARACTER_SET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103
# PS3.5 7.1.2: these have two reserved bytes and a 32-bit length
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)  # and a 16-bit length


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written (PS3.5 7.1 and 7.3)."""

    implicit: bool = False
    big_endian: bool = False


@dataclass(slots=True)
class Wanted:
    """The wanted attributes as a tree."""

    names: list[str] = field(default_factory=list)
    inside: dict[tuple[int, str], Wanted] = field(default_factory=dict)
    private: bool = False  # whether some of those inside are named by their creators

    @classmethod
    def of(cls, names: Iterable[str]) -> Wanted:
        """Build the tree; ValueError says what is wrong with a name."""
        root = cls()
        for name in dict.fromkeys(names):
            node = root
            for step in steps(name):
                node.private = node.private or bool(step.creator)
                node = node.inside.setdefault(step, cls())
            node.names.append(name)
        return root

    def joined(self, other: Wanted | None) -> Wanted:
        """What either wants of one element: it may be named by its tag and by its creator."""
        if other is None:
            return self
        inside = dict(self.inside)
        for step, wanted in other.inside.items():
            inside[step] = wanted.joined(inside.get(step))
        return Wanted([*self.names, *other.names], inside, self.private or other.private)


@dataclass(slots=True)
class _Level:
    """What holds for the elements of one data set or item."""

    wanted: Wanted
    encoding: Encoding
    repertoire: Repertoire
    signed: bool = False
    path: bool = False  # inside a sequence: values are collected
    creators: dict[int, str] = field(default_factory=dict)  # group and block of private elements

    def creator_of(self, tag: int) -> str:
        """Who reserved the block that a private element is in (PS3.5 7.8.1); creators come before it."""
        return self.creators.get(tag >> 8 & 0xFFFF00 | tag >> 8 & 0xFF, "")

    def wants(self, tag: int) -> Wanted | None:
        """What is wanted of an element, by its tag or by its creator."""
        inside = self.wanted.inside
        by_tag = inside.get((tag, ""))
        if not self.wanted.private or not tag >> 16 & 1 or tag & 0xFFFF < 0x1000:
            return by_tag
        creator = self.creator_of(tag)
        by_creator = inside.get((tag & 0xFFFF00FF, creator)) if creator else None
        return by_creator.joined(by_tag) if by_creator else by_tag


class DataSetWalk:
    """One pass over one data set; `found` and `top_level` hold what it met."""

    def __init__(self, source: Source, wanted: Wanted) -> None:
        self.found: dict[str, Any] = {}
        self._source = source
        self._wanted = wanted
        self._tags: set[int] = set()
        self._elements = 0

    @property
    def top_level(self) -> frozenset[int]:
        """The tags outside any sequence."""
        return frozenset(self._tags)

    def run_group(self, group: int) -> None:
        """Walk the elements of one group, explicit VR little endian (the file meta, PS3.10 7.1)."""
        level = _Level(self._wanted, Encoding(), Repertoire())
        first = True
        while self._source.peek(2) == struct.pack("<H", group):
            self._element(level, None, 0, *self._header(level.encoding))
            first = False
        if first:
            raise Rejected(
                RejectedReason.NOT_DICOM, "not a DICOM file: no file meta information (PS3.10 7.1)"
            )

    def run(self, encoding: Encoding) -> None:
        """Walk to the end of the source."""
        level = _Level(self._wanted, self._actual(encoding), Repertoire())
        while not self._source.at_end():
            ahead = self._source.peek(8)
            if not any(ahead):
                self._padding()
                return
            tag, vr, length = self._header(level.encoding)
            if tag >> 16 in (0x0000, 0x0002, 0xFFFE):
                raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} has no place in a data set (PS3.5 7)")
            self._tags.add(tag)
            self._element(level, None, 0, tag, vr, length)

    def _actual(self, encoding: Encoding) -> Encoding:
        """Trust the first element rather than the transfer syntax: writers mistake the two."""
        explicit = self._source.peek(6)[4:6] in _LONG | _SHORT
        if encoding.big_endian or explicit != encoding.implicit:
            return encoding
        return replace(encoding, implicit=not explicit)

    def _padding(self) -> None:
        """Some writers fill up the last block of a file; zeros to the end are that, and no element."""
        while not self._source.at_end():
            ahead = self._source.peek(4096)
            if any(ahead):
                raise Rejected(RejectedReason.NOT_DICOM, "a run of zeros where an element should be")
            self._source.skip(len(ahead))

    def _header(self, encoding: Encoding) -> tuple[int, bytes, int]:
        """Tag, VR (empty when implicit) and length of the next element."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise Rejected(RejectedReason.NOT_DICOM, f"the data set has more than {_MAX_ELEMENTS} elements")
        head = self._source.read(8)
        order = ">" if encoding.big_endian else "<"
        group, element, length = struct.unpack(order + "HHI", head)
        tag = group << 16 | element
        if encoding.implicit or group == 0xFFFE:
            return tag, b"", length
        vr = head[4:6]
        if vr in _LONG:
            (length,) = struct.unpack(order + "I", self._source.read(4))
        elif vr.isalpha() and vr.isupper():  # also VRs that are yet to be invented (PS3.5 7.1.2)
            (length,) = struct.unpack(order + "H", head[6:8])
        else:
            vr = b""  # an implicit element among explicit ones
        return tag, vr, length

    def _element(self, level: _Level, end: int | None, depth: int, tag: int, vr: bytes, length: int) -> None:
        wanted = level.wants(tag)
        if length == _UNDEFINED:
            self._undefined(level, wanted, depth, tag, vr)
            return
        if end is not None and self._source.position + length > end:
            raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} runs past the end of its item")
        is_private_creator = tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        if not wanted and not is_private_creator and tag not in (_CHARACTER_SET, _PIXEL_REPRESENTATION):
            self._source.skip(length)
            return
        known = self._vr(level, tag, vr)
        if known == "SQ":
            stop = self._source.position + length
            encoding = Encoding(implicit=True) if vr == b"UN" else level.encoding
            self._sequence(level, wanted or Wanted(), depth, stop, encoding)
        elif known == "UN" and tag >> 16 & 1 and length <= MAX_PLAIN:
            self._keep(level, wanted, unknown_value(self._source.read(length)))
        elif length > MAX_VALUE or known in BULK:
            self._source.skip(length)
            self._keep(level, wanted, length)
        else:
            self._value(level, wanted, tag, known, self._source.read(length))

    def _value(self, level: _Level, wanted: Wanted | None, tag: int, vr: str, raw: bytes) -> None:
        if tag == _CHARACTER_SET:
            level.repertoire = Repertoire.of(raw)
        if tag == _PIXEL_REPRESENTATION:
            level.signed = any(raw)
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            level.creators[tag >> 8 & 0xFFFF00 | tag & 0xFF] = raw.decode("latin-1").strip(" \0")
        self._keep(
            level, wanted, value_of(vr, raw, level.encoding.big_endian, level.repertoire, level.signed)
        )

    def _keep(self, level: _Level, wanted: Wanted | None, value: Any) -> None:
        for name in wanted.names if wanted else ():
            if not level.path:
                self.found[name] = value
                continue
            collected = self.found.setdefault(name, [])
            if len(collected) < _MAX_FOUND:
                collected.extend(value if isinstance(value, list) else [value])

    def _vr(self, level: _Level, tag: int, vr: bytes) -> str:
        if vr and vr != b"UN":
            return vr.decode("ascii")
        try:
            if not tag >> 16 & 1:
                return dictionary_VR(tag)
            if 0x10 <= tag & 0xFFFF <= 0xFF:
                return "LO"
            return private_dictionary_VR(tag, level.creator_of(tag))
        except KeyError:
            return "UN"

    def _undefined(self, level: _Level, wanted: Wanted | None, depth: int, tag: int, vr: bytes) -> None:
        if vr in (b"OB", b"OW") or tag == _PIXEL_DATA:
            self._keep(level, wanted, self._fragments())
        elif vr in (b"", b"SQ"):
            self._sequence(level, wanted or Wanted(), depth, None, level.encoding)
        elif vr == b"UN":  # PS3.5 6.2.2 note 2: its items are implicit VR little endian
            self._sequence(level, wanted or Wanted(), depth, None, Encoding(implicit=True))
        else:
            raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} has no length")

    def _sequence(
        self, level: _Level, wanted: Wanted, depth: int, end: int | None, encoding: Encoding
    ) -> None:
        """Items until the delimitation, or until ``end`` (PS3.5 7.5)."""
        if depth >= _MAX_DEPTH:
            raise Rejected(RejectedReason.NOT_DICOM, f"sequences are nested more than {_MAX_DEPTH} deep")
        items = 0
        while end is None or self._source.position < end:
            tag, _, length = self._header(encoding)
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} where an item should be (PS3.5 7.5)")
            items += 1
            stop = None if length == _UNDEFINED else self._source.position + length
            if stop is not None and end is not None and stop > end:
                raise Rejected(RejectedReason.NOT_DICOM, "an item runs past the end of its sequence")
            if stop is not None and not wanted.inside:
                self._source.skip(length)
            else:
                inner = _Level(wanted, encoding, level.repertoire, level.signed, path=True)
                self._item(inner, stop, depth + 1)
        self._keep(level, wanted, items)

    def _item(self, level: _Level, end: int | None, depth: int) -> None:
        while end is None or self._source.position < end:
            tag, vr, length = self._header(level.encoding)
            if tag == _ITEM_END:
                return
            if tag >> 16 == 0xFFFE:
                raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} has no place in an item (PS3.5 7.5)")
            self._element(level, end, depth, tag, vr, length)

    def _fragments(self) -> int:
        """Encapsulated pixel data: fragments until the delimitation (PS3.5 A.4); their bytes."""
        size = 0
        while True:
            tag, _, length = self._header(Encoding())
            if tag == _SEQUENCE_END:
                return size
            if tag != _ITEM or length == _UNDEFINED:
                raise Rejected(RejectedReason.NOT_DICOM, f"{_name(tag)} among the fragments of pixel data")
            self._source.skip(length)
            size += length


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
