"""The gradients of a diffusion image: `.bval` and `.bvec` in, b-values and directions in the patient out.

Both are FSL's: b-values in s/mm2 in one line; three lines of unit vectors along the image's own axes, the
first of which counts the other way where the axes are right-handed in right-anterior-superior space.
Directions leave in DICOM's patient coordinates, left-posterior-superior (PS3.3 C.7.6.2.1.1, C.8.13.5.9).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageRefused, PackageRefusedReason

UNWEIGHTED_BELOW = 50.0  # s/mm2: a direction is needed from there on
MOST_BYTES = 1 << 20  # of each of the two files
_HIGHEST = 1e6  # s/mm2
_LENGTH = 0.05  # how far the length of a unit vector may be from one, as files round it

Direction = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Gradient:
    """The weighting of one volume."""

    b_value: float
    direction: Direction | None  # None where it is unweighted and the file gives none


def gradients_of(
    b_values: bytes, b_vectors: bytes, volumes: int, affine: NDArray[np.float64]
) -> list[Gradient]:
    """The gradients, one for each volume; PackageRefused when they do not fit."""
    values = [number for line in _numbers(b_values, "b-values") for number in line]
    if len(values) != volumes:
        raise _refused(f"there are {len(values)} b-values for {volumes} volumes; give one for each")
    if not all(0 <= value <= _HIGHEST for value in values):
        raise _refused("a b-value is below 0 or beyond all scanners; give them in s/mm2")
    axes = _axes(affine)
    gradients = []
    for number, (value, vector) in enumerate(zip(values, _vectors(b_vectors, volumes), strict=True), 1):
        length = math.sqrt(sum(part * part for part in vector))
        if length < 1e-6 and value < UNWEIGHTED_BELOW:
            gradients.append(Gradient(value, None))
            continue
        if abs(length - 1) > _LENGTH:
            raise _refused(
                f"volume {number} has a b-value of {value:g} and a vector of length {length:.3g}; "
                "give unit vectors, and leave out computed volumes such as traces"
            )
        x, y, z = (float(part) for part in axes @ (np.array(vector) / length))
        gradients.append(Gradient(value, (x, y, z)))
    return gradients


def _axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix from the vectors of a file to the patient."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.linalg.det(axes) > 0:
        axes = axes * [-1, 1, 1]
    turned: NDArray[np.float64] = axes * np.array([[-1], [-1], [1]])
    return turned


def _vectors(content: bytes, volumes: int) -> Sequence[tuple[float, ...]]:
    lines = _numbers(content, "vectors")
    if len(lines) == 3 and all(len(line) == volumes for line in lines):
        return list(zip(*lines, strict=True))
    if len(lines) == volumes and all(len(line) == 3 for line in lines):
        return [tuple(line) for line in lines]
    raise _refused(f"the vectors are not three lines of {volumes} numbers, one for each volume")


def _numbers(content: bytes, what: str) -> list[list[float]]:
    try:
        lines = [[float(word) for word in line.split()] for line in content.decode("ascii").splitlines()]
    except ValueError:
        raise _refused(f"the {what} are not numbers with spaces between them") from None
    if not all(math.isfinite(number) for line in lines for number in line):
        raise _refused(f"the {what} hold a number that is none (nan, inf)")
    return [line for line in lines if line]


def _refused(why: str) -> PackageRefused:
    return PackageRefused(PackageRefusedReason.GRADIENTS, f"the gradients: {why}")
