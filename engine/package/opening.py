"""Open what somebody uploaded: a file or a folder in, one study's instances and its order's metadata out.

Enter: a DICOM file, a ZIP archive or a folder of the DICOM files of one study, each with a JSON sidecar or
none; or a ZIP archive or a folder of a diffusion image in NIfTI with its `.bval` and `.bvec`. Leaves: a
`Package`, or `PackageRefused` with the reason, and then nothing of it was kept anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package import dicom_study, gradients
from engine.package.files import PackageFiles, files_of
from engine.package.instances import Package
from engine.package.kinds import Kinds, kinds_of
from engine.package.limits import PackageLimits
from engine.package.nifti_study import NiftiStudy
from engine.package.nifti_voxels import looked_through
from engine.package.reading import whole
from engine.package.sidecar import metadata_of
from engine.settings import size_text


def open_package(source: Path | Sequence[Path], limits: PackageLimits, max_instance: int) -> Package:
    """Look at all of what was uploaded; blocks for the reading, so call it in a worker thread.

    Args:
        source: a file or a folder that nobody changes meanwhile, or the pieces of one file in their order.
        max_instance: bytes that one instance may have.

    Raises:
        PackageRefused: it cannot be taken; says where, what and what to do.
        OSError: it cannot be read at all.
    """
    files = files_of(source, limits)
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
    metadata = metadata_of(kinds.sidecars[0], limits) if kinds.sidecars else {}
    if kinds.nifti or kinds.b_values or kinds.b_vectors:
        return _of_nifti(files, kinds, metadata, limits, max_instance)
    if not kinds.dicom:
        raise PackageRefused(
            PackageRefusedReason.EMPTY,
            f"the package holds no DICOM file ({files.skipped} files of operating systems were passed over); "
            "upload a DICOM study, or a NIfTI image with its gradients",
        )
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


def _of_nifti(
    files: PackageFiles, kinds: Kinds, metadata: dict[str, str], limits: PackageLimits, max_instance: int
) -> Package:
    if kinds.dicom:
        raise PackageRefused(
            PackageRefusedReason.NOT_DICOM,
            f"the package holds DICOM, {kinds.dicom[0].place}, beside NIfTI; upload one of the two",
        )
    if len(kinds.nifti) != 1:
        raise PackageRefused(
            PackageRefusedReason.NIFTI,
            f"the package holds {len(kinds.nifti)} NIfTI images; upload one with its .bval and .bvec",
        )
    for found, suffix in ((kinds.b_values, ".bval"), (kinds.b_vectors, ".bvec")):
        if len(found) != 1 or found[0].size > gradients.MOST_BYTES:
            raise PackageRefused(
                PackageRefusedReason.GRADIENTS,
                f"the NIfTI image needs one {suffix} file of at most 1 MB beside it; there are {len(found)}",
            )
    looked = looked_through(kinds.nifti[0], limits)
    if looked.slice_bytes > max_instance:
        raise PackageRefused(
            PackageRefusedReason.TOO_LARGE,
            f"a slice of the NIfTI image becomes an instance of {looked.slice_bytes} bytes, "
            f"one may have {size_text(max_instance)}; ask for engine.max_instance to be raised",
        )
    b_values, b_vectors = whole(kinds.b_values[0]), whole(kinds.b_vectors[0])
    weightings = gradients.gradients_of(b_values, b_vectors, looked.header.shape[3], looked.header.affine)
    digests = (hashlib.sha256(content).hexdigest() for content in (b_values, b_vectors))
    study = NiftiStudy(kinds.nifti[0], looked, tuple(weightings), "/".join((looked.sha256, *digests)))
    return Package(
        kind="nifti",
        study_instance_uid=study.study_instance_uid,
        metadata=metadata,
        count=study.count,
        size=looked.header.size,
        skipped=files.skipped,
        instances=study.instances,
        close=files.close,
    )


def _places(kinds: Kinds) -> str:
    return f"{kinds.sidecars[0].place} and {kinds.sidecars[1].place}"
