"""The DICOM files of a package: each followed to its last byte, instances of one study out (PS3.10 7).

A package is taken as a whole or not at all, so all of it is read here before anything is landed: a file that
is cut short, a second study, or two contents for one SOP Instance UID refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.data_set_digest import DataSetDigest
from engine.errors import PackageRefused, PackageRefusedReason, Rejected
from engine.package.files import PackageFile
from engine.package.reading import chunks_of, drain, stream_of
from engine.part10 import Header, inspect_stream
from engine.settings import size_text

if TYPE_CHECKING:
    from engine.channel import Landing


@dataclass(frozen=True, slots=True)
class FileInstance:
    """A DICOM file of a package; `engine.package.instances.PackagedInstance`."""

    file: PackageFile
    sop_class_uid: str
    sop_instance_uid: str

    def write_to(self, landing: Landing) -> None:
        """Its bytes as they are."""
        for chunk in chunks_of(self.file):
            landing.write(chunk)


def instances_of(files: Sequence[PackageFile], max_instance: int) -> tuple[str, list[FileInstance]]:
    """The Study Instance UID of all the files, and an instance for each; blocks for the reading.

    Raises:
        PackageRefused: one of them cannot be stored, or they are not of one study.
    """
    studies: dict[str, None] = {}
    known: dict[str, FileInstance] = {}
    found = []
    for file in files:
        if file.size > max_instance:
            raise PackageRefused(
                PackageRefusedReason.TOO_LARGE,
                f"{file.place} has {file.size} bytes, an instance may have {size_text(max_instance)}; "
                "ask for engine.max_instance to be raised",
            )
        header = _header(file)
        studies[header.study_instance_uid] = None
        one = FileInstance(file, header.sop_class_uid, header.sop_instance_uid)
        earlier = known.setdefault(one.sop_instance_uid, one)
        if earlier is one:
            found.append(one)
        elif _digest(earlier.file) != _digest(file):
            raise PackageRefused(
                PackageRefusedReason.DUPLICATE,
                f"{earlier.file.place} and {file.place} have the same SOP Instance UID and other contents; "
                "export the study anew",
            )
    if len(studies) > 1:
        raise PackageRefused(
            PackageRefusedReason.SEVERAL_STUDIES,
            f"the package holds {len(studies)} studies; upload each in a package of its own",
        )
    return next(iter(studies)), found


def _header(file: PackageFile) -> Header:
    with stream_of(file) as stream:
        try:
            header = inspect_stream(stream, file.size)
        except Rejected as error:
            raise PackageRefused(
                PackageRefusedReason.NOT_DICOM,
                f"{file.place} cannot be stored: {error}; export the study anew",
            ) from None
        drain(stream, file)
        return header


def _digest(file: PackageFile) -> str:
    digest = DataSetDigest()
    for chunk in chunks_of(file):
        digest.update(memoryview(chunk))
    return digest.hexdigest()
