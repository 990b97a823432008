"""The diffusion weighting of one image: a data set enters, its b-value and gradient direction leave.

Sources, in order of trust: the standard's attributes (Diffusion b-value (0018,9087) and Diffusion
Gradient Orientation (0018,9089), PS3.3 C.8.13.5.9), then the vendors' private ones. A private
element counts only inside a block that its own private creator reserved (PS3.5 7.8.1): the same
number under another creator means something else.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

Direction = tuple[float, float, float]

PHILIPS_IMAGING = "Philips Imaging DD 001"
PHILIPS_DIRECTION = "Philips MR Imaging DD 001"
PHILIPS_GRADIENT = "Philips MR Imaging DD 005"
GE_PARAMETERS = "GEMS_PARM_01"
GE_ACQUISITION = "GEMS_ACQU_01"
SIEMENS = "SIEMENS MR HEADER"


@dataclass(frozen=True, slots=True)
class Weighting:
    """How one image is diffusion weighted; None where the image does not say."""

    b_value: float | None = None  # s/mm2
    direction: Direction | None = None  # unit vector; None without one, as in b0 and trace images
    gradient_number: int | None = None  # the vendor's index into its gradient table, from 1
    gradients_planned: int | None = None  # length of that table, unweighted images included


def weighting(dataset: Dataset) -> Weighting:
    """The diffusion weighting of a single-frame image or of one frame's functional groups."""
    number, planned = _philips_gradient(dataset)
    for read in (_standard, _philips, _ge, _siemens):
        b_value, vector = read(dataset)
        if b_value is not None:
            return Weighting(b_value, unit(vector), number, planned)
    return Weighting(gradient_number=number, gradients_planned=planned)


def unit(vector: Sequence[float] | None) -> Direction | None:
    """The vector at length one; None when it has no length or is no vector at all."""
    if vector is None or len(vector) != 3 or not all(math.isfinite(part) for part in vector):
        return None
    length = math.sqrt(sum(part * part for part in vector))
    if length < 1e-3:
        return None
    x, y, z = (part / length for part in vector)
    return (x, y, z)


def _standard(dataset: Dataset) -> tuple[float | None, list[float] | None]:
    sequence = dataset.get("MRDiffusionSequence")
    source = sequence[0] if sequence else dataset
    b_value = floats(source.get("DiffusionBValue"))
    if not b_value:
        return None, None
    vector = floats(source.get("DiffusionGradientOrientation"))
    nested = source.get("DiffusionGradientDirectionSequence")
    if not vector and nested:
        vector = floats(nested[0].get("DiffusionGradientOrientation"))
    return b_value[0], vector


def _philips(dataset: Dataset) -> tuple[float | None, list[float] | None]:
    b_value = _private(dataset, 0x2001, PHILIPS_IMAGING, 0x03, "f")
    if not b_value:
        return None, None
    parts = [_private(dataset, 0x2005, PHILIPS_DIRECTION, element, "f") for element in (0xB0, 0xB1, 0xB2)]
    return b_value[0], [part[0] for part in parts if part]


def _philips_gradient(dataset: Dataset) -> tuple[int | None, int | None]:
    """Gradient orientation number (2005,xx13) and how many there are (2005,xx15)."""
    number = _private(dataset, 0x2005, PHILIPS_GRADIENT, 0x13, "text")
    planned = _private(dataset, 0x2005, PHILIPS_GRADIENT, 0x15, "i")
    return (int(number[0]) if number else None), (int(planned[0]) if planned else None)


def _ge(dataset: Dataset) -> tuple[float | None, list[float] | None]:
    b_value = _private(dataset, 0x0043, GE_PARAMETERS, 0x39, "text")
    if not b_value:
        return None, None
    # Newer releases add 10^9 to mark the value as one of several b-values of the series.
    value = b_value[0] % 100_000
    parts = [_private(dataset, 0x0019, GE_ACQUISITION, element, "text") for element in (0xBB, 0xBC, 0xBD)]
    # GE leaves the vector of the last weighted image in place on unweighted ones.
    return value, [part[0] for part in parts if part] if value > 0 else None


def _siemens(dataset: Dataset) -> tuple[float | None, list[float] | None]:
    b_value = _private(dataset, 0x0019, SIEMENS, 0x0C, "text")
    if not b_value:
        return None, None
    vector = _private(dataset, 0x0019, SIEMENS, 0x0E, "d")
    if not vector:
        matrix = _private(dataset, 0x0019, SIEMENS, 0x27, "d")
        vector = _principal_axis(matrix) if matrix and len(matrix) == 6 else None
    return b_value[0], vector


def _principal_axis(matrix: list[float]) -> list[float] | None:
    """The gradient's axis from the six numbers xx, xy, xz, yy, yz, zz of a b-matrix."""
    xx, xy, xz, yy, yz, zz = matrix
    if not all(math.isfinite(part) for part in matrix):
        return None
    values, vectors = np.linalg.eigh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    return [float(part) for part in vectors[:, -1]] if values[-1] > 0 else None


def _private(dataset: Dataset, group: int, creator: str, element: int, form: str) -> list[float] | None:
    try:
        value = dataset.private_block(group, creator)[element].value
    except KeyError:
        return None
    return floats(value, form)


def floats(value: Any, form: str = "text") -> list[float] | None:
    """The numbers of an element's value, None when it has none.

    ``form`` is how they lie in the bytes of an element that came with the VR UN (PS3.5 6.2.2).
    """
    try:
        if isinstance(value, bytes):
            if form != "text":
                size = struct.calcsize(form)
                return list(struct.unpack(f"<{len(value) // size}{form}", value[: len(value) // size * size]))
            value = value.decode("ascii").strip(" \0").split("\\")
        if value is None or value == "":
            return None
        parts = [value] if isinstance(value, int | float | str) else list(value)
        return [float(part) for part in parts] or None
    except (ValueError, TypeError):
        return None
