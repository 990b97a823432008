"""Look into one DICOM file: is it whole, what is it, and what may routing ask of it?

Enters: a Part 10 file (PS3.10 7.1: preamble, `DICM`, group 2, data set) as a sender made it.
Leaves: its four UIDs, its transfer syntax and the attributes asked for, as plain Unicode values;
or `Rejected` with the reason. The structure is followed to the last byte, so a file that was cut
short is never taken for a whole one; pixel data and other bulk is stepped over, so memory stays
constant whatever the size. The file is only read: what is stored stays byte-exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedIOBase, BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from engine.data_set import DataSetWalk, Encoding, Wanted
from engine.element_source import DeflatedSource, FileSource, MemorySource, Source
from engine.errors import Rejected, RejectedReason
from engine.model import InstanceFacts

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")  # PS3.5 9.1, but for leading zeros, which real devices send
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010, 0x00287FE0})  # the last one is a URL
_BITS_ALLOCATED = 0x00280100


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    ``attributes`` has every key asked for: None where the file has no such attribute, a list
    where it has several values or the key is a path through sequences.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    attributes: dict[str, Any]

    @property
    def facts(self) -> InstanceFacts:
        """What routing may ask of the instance."""
        return InstanceFacts(
            series_instance_uid=self.series_instance_uid,
            sop_instance_uid=self.sop_instance_uid,
            sop_class_uid=self.sop_class_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            attributes=self.attributes,
        )


def inspect(file: Path | bytes | bytearray, keywords: Iterable[str] = ()) -> Header:
    """Follow a Part 10 file to its end and read what is asked for; blocks for the reading.

    Args:
        file: the file as it landed, or its bytes.
        keywords: DICOM keywords, `(gggg,eeee)` tags, or paths such as
            `ProcedureCodeSequence.CodeValue`.

    Raises:
        Rejected: NOT_DICOM, TRUNCATED, INVALID_UID or SOP_MISMATCH.
        ValueError: a keyword names no attribute (the table's check finds that first).
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _inspect(FileSource(opened, file.stat().st_size), opened, keywords)
    data = bytes(file)
    return _inspect(MemorySource(data), BytesIO(data), keywords)


def inspect_stream(stream: BufferedReader, size: int, keywords: Iterable[str] = ()) -> Header:
    """`inspect` for a file that is not at a path; read forwards, but for what is buffered.

    Args:
        stream: at the first byte.
        size: bytes of the whole.
    """
    return _inspect(FileSource(stream, size), stream, keywords)


def _inspect(source: Source, file: BufferedIOBase, keywords: Iterable[str]) -> Header:
    names = tuple(keywords)
    meta = _read_file_meta(source)
    transfer_syntax_uid = _text(meta.found.get("TransferSyntaxUID"))
    if not transfer_syntax_uid:
        raise Rejected(RejectedReason.NOT_DICOM, "the file meta names no transfer syntax (PS3.10 7.1)")
    walk = DataSetWalk(_open_data_set(file, source, transfer_syntax_uid), _wanted(names))
    walk.run(_encoding(transfer_syntax_uid))
    identity = {keyword: _uid(keyword, walk.found.get(keyword)) for keyword in _IDENTITY}
    _check_pixel_data(walk.top_level)
    for announced, found, what in (
        ("MediaStorageSOPClassUID", "SOPClassUID", "SOP Class UID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID", "SOP Instance UID"),
    ):
        value = _text(meta.found.get(announced))
        if value and value != identity[found]:
            raise Rejected(RejectedReason.SOP_MISMATCH, f"file meta and data set disagree on the {what}")
    return Header(
        sop_class_uid=identity["SOPClassUID"],
        sop_instance_uid=identity["SOPInstanceUID"],
        study_instance_uid=identity["StudyInstanceUID"],
        series_instance_uid=identity["SeriesInstanceUID"],
        transfer_syntax_uid=transfer_syntax_uid,
        attributes={name: walk.found.get(name) for name in names},
    )


@lru_cache(maxsize=64)
def _wanted(names: tuple[str, ...]) -> Wanted:
    return Wanted.of((*names, *_IDENTITY))


def _read_file_meta(source: Source) -> DataSetWalk:
    if source.at_end():
        raise Rejected(RejectedReason.NOT_DICOM, "the object is empty")
    if source.peek(132)[128:] != b"DICM":
        raise Rejected(RejectedReason.NOT_DICOM, "not a DICOM file: no preamble and DICM prefix (PS3.10 7.1)")
    source.skip(132)
    walk = DataSetWalk(source, _FILE_META)
    walk.run_group(2)
    return walk


_FILE_META = Wanted.of(("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"))


def _open_data_set(file: BufferedIOBase, source: Source, transfer_syntax_uid: str) -> Source:
    if transfer_syntax_uid not in _DEFLATED:
        return source
    file.seek(source.position)
    return DeflatedSource(file)


def _encoding(transfer_syntax_uid: str) -> Encoding:
    """How elements are written (PS3.5 A); an unknown, private syntax is taken for explicit VR."""
    return Encoding(
        implicit=transfer_syntax_uid == _IMPLICIT_LITTLE, big_endian=transfer_syntax_uid == _EXPLICIT_BIG
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _uid(keyword: str, value: Any) -> str:
    if value is None or value == "":
        raise Rejected(RejectedReason.INVALID_UID, f"the data set has no {keyword}")
    if not isinstance(value, str):
        raise Rejected(RejectedReason.INVALID_UID, f"the data set has more than one {keyword}")
    if len(value) > 64:
        raise Rejected(
            RejectedReason.INVALID_UID, f"{keyword} has {len(value)} characters, 64 are allowed (PS3.5 9.1)"
        )
    if not _UID.fullmatch(value):
        raise Rejected(RejectedReason.INVALID_UID, f"{keyword} is no UID: digits and dots only (PS3.5 9.1)")
    return value


def _check_pixel_data(top_level: frozenset[int]) -> None:
    """An image cut off exactly between two elements is still well-formed, but has lost its pixels."""
    if _BITS_ALLOCATED in top_level and not top_level & _PIXEL_DATA:
        raise Rejected(RejectedReason.TRUNCATED, "an image without its pixel data (PS3.3 C.7.6.3)")
