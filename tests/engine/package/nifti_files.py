"""NIfTI files written field by field: an array and its place in space in, bytes out (nifti1.h, nifti2.h)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engine.package.packing import packed

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2.0, 0, -126], [0, 0, 3.0, -72], [0, 0, 0, 1]])
DIRECTIONS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.36, 0.48, -0.8)]
B_VALUES = (0.0, 1000.0, 1000.0, 2000.0)

_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def volumes(kind: str = "<i2", shape: tuple[int, ...] = (5, 4, 3, 4)) -> NDArray[Any]:
    """Voxels that are all different, of both signs where the type has both."""
    count = int(np.prod(shape))
    first = -100 if np.dtype(kind).kind in "if" else 0
    return (np.arange(count) % 250 + first).astype(kind).reshape(shape, order="F")


def nifti(
    voxels: NDArray[Any],
    affine: NDArray[Any] = AFFINE,
    *,
    version: int = 1,
    order: str = "<",
    scaling: tuple[float, float] = (0.0, 0.0),
    codes: tuple[int, int] = (0, 1),
    placing: tuple[float, ...] = (0, 0, 0, 0, 0, 0),
    pixdim: tuple[float, ...] = (1, 2, 2, 3, 8.5, 0, 0, 0),
    datatype: int | None = None,
) -> bytes:
    """A single file; i runs fastest."""
    size = {1: 348, 2: 540}[version]
    head = bytearray(size + 4)
    dim = (voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim))
    code = _CODES[voxels.dtype.str[1:]] if datatype is None else datatype
    rows = [float(number) for number in affine[:3].ravel()]

    def put(place: int, form: str, *numbers: Any) -> None:
        struct.pack_into(order + form, head, place, *numbers)

    put(0, "i", size)
    if version == 1:
        head[344:348] = b"n+1\0"
        put(40, "8h", *dim)
        put(70, "h", code)
        put(76, "8f", *pixdim)
        put(108, "3f", size + 4, *scaling)
        put(123, "b", 2 | 8)
        put(252, "2h", *codes)
        put(256, "18f", *placing, *rows)
    else:
        head[4:12] = b"n+2\0\r\n\x1a\n"
        put(12, "h", code)
        put(16, "8q", *dim)
        put(104, "8d", *pixdim)
        put(168, "q2d", size + 4, *scaling)
        put(344, "2i18d", *codes, *placing, *rows)
        put(500, "i", 2 | 8)
    return bytes(head) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")


def b_values(values: tuple[float, ...] = B_VALUES) -> bytes:
    return " ".join(f"{value:g}" for value in values).encode()


def b_vectors(directions: list[tuple[float, float, float]] | None = None) -> bytes:
    lines = zip(*(directions or DIRECTIONS), strict=True)
    return "\n".join(" ".join(str(number) for number in line) for line in lines).encode()


def package(folder: Path, image: bytes, name: str = "d.nii", **others: bytes) -> Path:
    """An archive of an image with its gradients; others by suffix, empty ones left out."""
    files = {"bval": b_values(), "bvec": b_vectors()} | others
    return packed(folder / "n.zip", {name: image, **{f"d.{key}": one for key, one in files.items() if one}})
