"""Copies of stored instances, edited where there are steps; the originals stay byte-exact.

Enter: stored instances and steps. Leave: copies in a folder, under the same names and UIDs, in the
transfer syntax that they came in. Whatever is large and untouched, pixel data above all, goes from file
to file and is never held in memory (but for deflated objects, PS3.5 A.5, which are one stream).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag

from engine.model import StoredInstance
from engine.spool import fsync_folder
from engine.transform.steps import Edit, Steps, apply_edits, edits_of

LARGE = 1 << 18  # bytes of a value that is copied rather than read
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_UNDEFINED, _ITEM, _SEQUENCE_END = 0xFFFFFFFF, 0xFFFEE000, 0xFFFEE0DD
_CHUNK = 1 << 20


def copy_instances(
    stored: Sequence[StoredInstance],
    folder: Path,
    steps: Steps,
    base: Path = Path(),
    *,
    durable: bool = False,
) -> tuple[StoredInstance, ...]:
    """Copy instances to `<folder>/<series>/<sop>.dcm`, edited when there are steps; blocks.

    Args:
        base: the folder that secrets in the steps start from, the table's.
        durable: whether the copies must outlive a loss of power from when this returns.

    Raises:
        TransformFailed: an edit cannot be made; copies made so far are left in the folder.
        TryAgain: a secret is not there.
    """
    copies = []
    edits = edits_of(steps, base)
    for instance in stored:
        target = folder / instance.series_instance_uid / f"{instance.sop_instance_uid}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = instance.sha256
        if edits:
            write_edited(instance.path, target, edits)
            with target.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            shutil.copyfile(instance.path, target)
        if durable:
            _sync(target)
        copies.append(replace(instance, path=target, sha256=digest))
    if durable:
        for made in {*(one.path.parent for one in copies), folder, folder.parent}:
            fsync_folder(made)
    return tuple(copies)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_edited(source: Path, target: Path, edits: Sequence[Edit]) -> None:
    """Write an edited copy of a Part 10 file."""
    dataset = dcmread(source, defer_size=LARGE)
    apply_edits(dataset, edits)
    with source.open("rb") as original:
        spans = _spans(dataset, original)
        if not spans:
            dcmwrite(target, dataset, enforce_file_format=False)
            return
        with target.open("wb") as out:
            _write(dataset, original, out, spans)


def _spans(dataset: FileDataset, original: BinaryIO) -> dict[BaseTag, tuple[int, int]]:
    """Where the large elements stand that nobody has touched: first byte and the one behind the last."""
    found: dict[BaseTag, tuple[int, int]] = {}
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_private or syntax.is_deflated:
        return found
    if (syntax.is_implicit_VR, syntax.is_little_endian) != dataset.original_encoding:
        return found  # it will be written as its transfer syntax says, which is not how it was
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    size = original.seek(0, 2)
    for tag in dataset.keys():  # noqa: SIM118  # iterating would convert the elements
        element = dataset.get_item(tag, keep_deferred=True)
        if not isinstance(element, RawDataElement) or element.value is not None or not element.length:
            continue
        start = element.value_tell - (12 if not element.is_implicit_VR and element.VR in _LONG else 8)
        original.seek(start)
        head = original.read(4)
        if (int.from_bytes(head[:2], order), int.from_bytes(head[2:], order)) != (tag.group, tag.element):
            continue  # written in some way of its own: read and written like any other
        if element.length == _UNDEFINED:
            end = _end_of_fragments(original, element.value_tell, order, size)
        else:
            end = element.value_tell + element.length
        if start < end <= size:
            found[tag] = (start, end)
    return found


def _end_of_fragments(original: BinaryIO, at: int, order: Literal["little", "big"], size: int) -> int:
    """Behind the Sequence Delimitation Item that ends encapsulated pixel data (PS3.5 A.4); 0 if none does."""
    while at + 8 <= size:
        original.seek(at)
        head = original.read(8)
        tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
        length = int.from_bytes(head[4:], order)
        if tag == _SEQUENCE_END:
            return at + 8
        if tag != _ITEM or length == _UNDEFINED:
            return 0
        at += 8 + length
    return 0


def _write(
    dataset: FileDataset, original: BinaryIO, out: BinaryIO, spans: Mapping[BaseTag, tuple[int, int]]
) -> None:
    """Write a data set, its spans from the original, and between them what pydicom holds."""
    between: list[BaseTag] = []
    begun = False
    for tag in sorted(dataset.keys()):
        if tag not in spans:
            between.append(tag)
            continue
        _write_some(dataset, between, out, begun)
        between, begun = [], True
        start, end = spans[tag]
        original.seek(start)
        _copy(original, out, end - start)
    _write_some(dataset, between, out, begun)


def _write_some(dataset: FileDataset, tags: Sequence[BaseTag], out: BinaryIO, begun: bool) -> None:
    """Write some elements of a data set as pydicom would write them all; at first the file meta."""
    implicit, little = dataset.original_encoding
    character_set: Any = dataset.get("SpecificCharacterSet") or dataset.original_character_set
    some = Dataset({tag: dataset.get_item(tag) for tag in tags}, parent_encoding=character_set)
    some.set_original_encoding(implicit, little, dataset.original_character_set)
    if begun:
        stream = DicomIO(out)
        stream.is_implicit_VR, stream.is_little_endian = bool(implicit), bool(little)
        write_dataset(stream, some, character_set)
    else:
        some.file_meta = dataset.file_meta
        some.preamble = dataset.preamble
        dcmwrite(out, some, enforce_file_format=False)


def _copy(original: BinaryIO, out: BinaryIO, length: int) -> None:
    while length:
        chunk = original.read(min(_CHUNK, length))
        if not chunk:
            raise OSError("the original ended before its time")
        out.write(chunk)
        length -= len(chunk)
