"""What kind of file each of a package is, by its first bytes and then by its suffix.

A file that belongs to no study refuses the package: a report or a photograph that somebody packed along would
otherwise be dropped silently. It is named by its place: names of files often hold those of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.files import PackageFile
from engine.package.reading import stream_of

_PREFIX = 132  # bytes of preamble and DICM (PS3.10 7.1)
_ARCHIVES = (b"PK\3\4", b"PK\5\6", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\xfd7zXZ\0", b"BZh", b"\x1f\x8b")
_SUFFIXES = {
    "pdf",
    "txt",
    "jpg",
    "jpeg",
    "png",
    "tif",
    "tiff",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "csv",
    "xml",
} | {*("html", "htm", "exe", "dll", "inf", "ini", "bat", "dcm", "ima", "img", "hdr", "nrrd", "mgz", "tsv")}


@dataclass(slots=True)
class Kinds:
    """The files of a package by kind."""

    dicom: list[PackageFile] = field(default_factory=list)
    sidecars: list[PackageFile] = field(default_factory=list)
    nifti: list[PackageFile] = field(default_factory=list)
    b_values: list[PackageFile] = field(default_factory=list)
    b_vectors: list[PackageFile] = field(default_factory=list)


def kinds_of(files: Sequence[PackageFile]) -> Kinds:
    """Sort the files; PackageRefused at the first that may not be in a package."""
    kinds = Kinds()
    for file in files:
        with stream_of(file, _PREFIX) as stream:  # no more than is looked at is unpacked
            head = stream.read(_PREFIX)
        _place_of(file, head, kinds).append(file)
    return kinds


def _place_of(file: PackageFile, head: bytes, kinds: Kinds) -> list[PackageFile]:
    if head[128:] == b"DICM":
        return kinds.dicom
    for suffixes, place in (
        ((".json",), kinds.sidecars),
        ((".nii", ".nii.gz"), kinds.nifti),
        ((".bval", ".bvals"), kinds.b_values),
        ((".bvec", ".bvecs"), kinds.b_vectors),
    ):
        if file.name.endswith(suffixes) and not head.startswith(b"PK"):
            return place
    if head.startswith(_ARCHIVES):
        raise PackageRefused(
            PackageRefusedReason.NESTED,
            f"{file.place} is an archive inside the package; upload one ZIP archive of the study's files",
        )
    raise PackageRefused(
        PackageRefusedReason.NOT_DICOM,
        f"{file.place}{_suffix(file)} is neither DICOM (PS3.10 7.1) nor NIfTI with its gradients nor the "
        "sidecar; upload nothing but the study's own files",
    )


def _suffix(file: PackageFile) -> str:
    suffix = file.name.rpartition(".")[2]
    return f" (a .{suffix})" if suffix in _SUFFIXES else ""  # others could be part of a name
