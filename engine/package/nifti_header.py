"""The header of a NIfTI file: its first bytes in, the shape, type and place in space of its image out.

NIfTI-1 and NIfTI-2 in a single file, in either byte order. The place in space is that of the `sform` where it
is a rotation with spacings, else of the `qform`; an image with neither is refused, since left and right would
be a guess.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageRefused, PackageRefusedReason

LENGTH = 540  # bytes that tell everything, of the longer of the two

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by xyzt_units; unknown is taken for mm, as readers do
_MILLISECONDS = {8: 1000.0, 16: 1.0, 24: 0.001}
_SQUARE = 1e-3  # cosine up to which two axes count as square to each other


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the fields are, and of which type."""

    size: int
    magic: tuple[int, bytes]
    shape: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    scaling: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    placing: tuple[int, str]  # quaternion, offset and the rows of the sform, one after the other


_LAYOUTS = (
    _Layout(
        348,
        (344, b"n+1\0"),
        (40, "8h"),
        70,
        (76, "8f"),
        (108, "f"),
        (112, "2f"),
        (123, "b"),
        (252, "2h"),
        (256, "18f"),
    ),
    _Layout(
        540,
        (4, b"n+2\0\r\n\x1a\n"),
        (16, "8q"),
        12,
        (104, "8d"),
        (168, "q"),
        (176, "2d"),
        (500, "i"),
        (344, "2i"),
        (352, "18d"),
    ),
)


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What the image is."""

    shape: tuple[int, int, int, int]  # voxels along i, j, k; volumes
    voxel: np.dtype[np.generic]
    offset: int  # of the first voxel
    affine: NDArray[np.float64]  # voxel indices to mm, right-anterior-superior
    slope: float
    intercept: float
    repetition_time: float | None  # ms; None where no unit is given

    @property
    def slice_bytes(self) -> int:
        """Bytes of one slice in the file."""
        return self.shape[0] * self.shape[1] * self.voxel.itemsize

    @property
    def size(self) -> int:
        """Bytes of the whole file, unpacked."""
        return self.offset + self.slice_bytes * self.shape[2] * self.shape[3]


def header_of(head: bytes) -> NiftiHeader:
    """Read the first bytes of a file, `LENGTH` where it has as many.

    Raises:
        PackageRefused: it is no image that can be taken.
    """
    layout, order = _layout(head)

    def values(field: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + field[1], head, field[0])

    pixdim = values(layout.pixdim)
    offset, units = values(layout.offset)[0], int(values(layout.units)[0])
    slope, intercept = values(layout.scaling)
    numbers = (*pixdim, offset, *values(layout.placing))
    if not all(math.isfinite(number) for number in numbers) or not layout.size + 4 <= offset <= 1 << 24:
        raise refused("its header has numbers that mean nothing; write it anew")
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        slope, intercept = 1.0, 0.0  # not scaled
    code = struct.unpack_from(order + "h", head, layout.datatype)[0]
    if code not in _TYPES:
        raise refused(f"its voxels are of type {code}; save it as 16-bit integers")
    affine = _affine(values(layout.codes), values(layout.placing), pixdim)
    affine[:3] *= _MILLIMETRES.get(units & 7, 1.0)
    seconds = _MILLISECONDS.get(units & 0x38)
    return NiftiHeader(
        shape=_shape(tuple(int(size) for size in values(layout.shape))),
        voxel=np.dtype(order + _TYPES[code]),
        offset=int(offset),
        affine=affine,
        slope=slope,
        intercept=intercept,
        repetition_time=pixdim[4] * seconds if seconds and pixdim[4] > 0 else None,
    )


def refused(why: str) -> PackageRefused:
    """An image that cannot be taken."""
    return PackageRefused(PackageRefusedReason.NIFTI, f"the NIfTI image: {why}")


def _layout(head: bytes) -> tuple[_Layout, str]:
    for layout in _LAYOUTS:
        place, magic = layout.magic
        for order in "<>":
            size = struct.pack(order + "i", layout.size)
            if len(head) >= layout.size and head.startswith(size) and head.startswith(magic, place):
                return layout, order
    raise refused(
        "it is no NIfTI-1 or NIfTI-2 file with header and voxels in one; save it as .nii or .nii.gz"
    )


def _shape(dim: tuple[int, ...]) -> tuple[int, int, int, int]:
    count, sizes = dim[0], dim[1:]
    if not 3 <= count <= 7 or any(size < 1 for size in sizes[:count]) or any(s != 1 for s in sizes[4:count]):
        raise refused("it must have three dimensions of space and one of volumes")
    if max(sizes[:2]) > 0xFFFF or sizes[0] * sizes[1] > 1 << 24:
        raise refused(
            f"its slices have {sizes[0]} by {sizes[1]} voxels, more than an MR image is taken to have"
        )
    return sizes[0], sizes[1], sizes[2], sizes[3] if count > 3 else 1


def _affine(
    codes: tuple[float, ...], placing: tuple[float, ...], pixdim: tuple[float, ...]
) -> NDArray[np.float64]:
    qform, sform = codes
    found = []
    if sform > 0:
        found.append(np.array(placing[6:], dtype=float).reshape(3, 4))
    if qform > 0:
        found.append(_of_quaternion(placing[:6], pixdim))
    for affine in found:
        if _is_square(affine[:, :3]):
            return affine
    if found:
        raise refused("its axes are not square to each other; give the image before it was registered")
    raise refused("it has neither sform nor qform: left and right would be a guess; convert the scan anew")


def _of_quaternion(placing: tuple[float, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    b, c, d = placing[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    spacing = np.abs(pixdim[1:4]) * [1, 1, -1 if pixdim[0] < 0 else 1]
    return np.column_stack([rotation * spacing, placing[3:6]])


def _is_square(axes: NDArray[np.float64]) -> bool:
    lengths = np.linalg.norm(axes, axis=0)
    if not (lengths > 1e-6).all() or not (lengths < 1e6).all():
        return False
    unit = axes / lengths
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() < _SQUARE)
