"""The voxels of a NIfTI file, slice by slice: a file, plain or gzip, in; exact 16-bit images out.

Voxels of integers stay what they are. Others (32-bit, floating point) are taken where every one of them is a
whole number of 16 bits, and refused where they would have to be rounded. No more than a slice is in memory.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageRefused, PackageRefusedReason
from engine.package.files import PackageFile
from engine.package.limits import PackageLimits, is_bomb
from engine.package.nifti_header import LENGTH, NiftiHeader, header_of, refused
from engine.package.reading import damaged, stream_of

_GZIP = b"\x1f\x8b"
_DATA_SET = 8192  # bytes beside the voxels
_EXACT = {"i1": "<i2", "u1": "<u2", "i2": "<i2", "u2": "<u2"}


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of an image once it was read to its end."""

    header: NiftiHeader
    image: np.dtype[np.generic]  # of the images that it becomes: 16 bits
    sha256: str  # of the file, unpacked

    @property
    def slice_bytes(self) -> int:
        """What an instance of one slice has at most."""
        return self.header.shape[0] * self.header.shape[1] * self.image.itemsize + _DATA_SET


def looked_through(file: PackageFile, limits: PackageLimits) -> Looked:
    """Read an image to its end; PackageRefused when it cannot be taken."""
    digest = hashlib.sha256()
    least, most = 0.0, 0.0
    with _voxels(file) as stream:
        header = header_of(stream.read(LENGTH))
    _check_size(header, file, limits)
    exact = _EXACT.get(header.voxel.str[1:])
    with _voxels(file) as stream:
        digest.update(_exactly(stream, header.offset, file))
        for _ in range(header.shape[2] * header.shape[3]):
            data = _exactly(stream, header.slice_bytes, file)
            digest.update(data)
            if exact is None:
                least, most = _range(np.frombuffer(data, header.voxel), least, most)
        if stream.read(1):
            raise refused("it has more bytes than its header says; write it anew")
    if exact is None:
        exact = "<i2" if least < 0 else "<u2"
        limits_of = np.iinfo(exact)
        if least < limits_of.min or most > limits_of.max:
            raise refused("its voxels do not fit into 16 bits; save it as 16-bit integers")
    return Looked(header, np.dtype(exact), digest.hexdigest())


def slices_of(file: PackageFile, looked: Looked) -> Iterator[NDArray[np.generic]]:
    """Its slices in the file's order: rows along j, columns along i."""
    header = looked.header
    with _voxels(file) as stream:
        _exactly(stream, header.offset, file)
        for _ in range(header.shape[2] * header.shape[3]):
            data = np.frombuffer(_exactly(stream, header.slice_bytes, file), header.voxel)
            yield data.astype(looked.image).reshape(header.shape[1], header.shape[0])


@contextmanager
def _voxels(file: PackageFile) -> Iterator[BinaryIO]:
    with stream_of(file) as stream:
        if stream.peek(2)[:2] != _GZIP:
            yield cast(BinaryIO, stream)
            return
        try:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise damaged(file) from None


def _exactly(stream: BinaryIO, count: int, file: PackageFile) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise damaged(file)
    return data


def _range(voxels: NDArray[np.generic], least: float, most: float) -> tuple[float, float]:
    numbers = voxels.astype(np.float64)
    if not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
        raise refused(
            "its voxels are no whole numbers and would have to be rounded; save it as 16-bit integers"
        )
    return min(least, float(numbers.min())), max(most, float(numbers.max()))


def _check_size(header: NiftiHeader, file: PackageFile, limits: PackageLimits) -> None:
    slices = header.shape[2] * header.shape[3]
    if slices > limits.max_entries:
        raise PackageRefused(
            PackageRefusedReason.TOO_MANY,
            f"the NIfTI image has {slices} slices, {limits.max_entries} are taken; upload the study in parts",
        )
    if header.size > limits.max_unpacked:
        raise PackageRefused(
            PackageRefusedReason.TOO_LARGE,
            f"the NIfTI image has {header.size} bytes, {limits.max_unpacked} are taken; upload it in parts",
        )
    if is_bomb(file.size, header.size, limits):
        raise PackageRefused(
            PackageRefusedReason.BOMB,
            f"the NIfTI image announces {header.size} bytes, more than {limits.max_ratio} times its size",
        )
