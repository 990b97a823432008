"""Open what somebody uploaded: a file or a folder in, one study's instances and its order's metadata out.

Enter: a DICOM file, a ZIP archive or a folder of the DICOM files of one study, each with a JSON sidecar or
none; or a ZIP archive or a folder of a diffusion image in NIfTI with its `.bval` and `.bvec`. Leaves: a
`Package`, or `PackageRefused` with the reason, and then nothing of it was kept anywhere.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package import dicom_study
from engine.package.files import PackageFiles, files_of
from engine.package.instances import Package
from engine.package.kinds import Kinds, kinds_of
from engine.package.limits import PackageLimits
from engine.package.sidecar import metadata_of


def open_package(path: Path, limits: PackageLimits, max_instance: int) -> Package:
    """Look at all of what lies at a path; blocks for the reading, so call it in a worker thread.

    Args:
        path: a file or a folder that nobody changes meanwhile.
        max_instance: bytes that one instance may have.

    Raises:
        PackageRefused: it cannot be taken; says where, what and what to do.
        OSError: the path cannot be read at all.
    """
    files = files_of(path, limits)
    try:
        return _opened(files, limits, max_instance)
    except BaseException:
        files.close()
        raise


def _opened(files: PackageFiles, limits: PackageLimits, max_instance: int) -> Package:
    kinds = kinds_of(files.files)
    if len(kinds.sidecars) > 1:
        raise PackageRefused(
            PackageRefusedReason.SIDECAR,
            f"the package holds {len(kinds.sidecars)} JSON files, {_places(kinds)}; keep one sidecar",
        )
    if not kinds.dicom:
        raise PackageRefused(
            PackageRefusedReason.EMPTY,
            f"the package holds no DICOM file ({files.skipped} files of operating systems were passed over); "
            "upload a DICOM study",
        )
    metadata = metadata_of(kinds.sidecars[0], limits) if kinds.sidecars else {}
    size = sum(file.size for file in files.files)
    study_instance_uid, found = dicom_study.instances_of(kinds.dicom, max_instance)
    return Package(
        kind="dicom",
        study_instance_uid=study_instance_uid,
        metadata=metadata,
        count=len(found),
        size=size,
        skipped=files.skipped,
        instances=lambda: iter(found),
        close=files.close,
    )


def _places(kinds: Kinds) -> str:
    return f"{kinds.sidecars[0].place} and {kinds.sidecars[1].place}"
