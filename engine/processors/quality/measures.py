"""The measures that a protocol may speak of: their names, units and rounding.

A measurement is a tuple of values, because a series may disagree with itself: two echo times are
reported as two values, not as their mean. An empty tuple means not measured, and a note says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from engine.model import Code

Value = Decimal | str


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that can be measured on a series."""

    group: str  # heading of its findings
    unit: Code | None  # UCUM; None for text
    decimals: int = 0

    def value(self, number: float) -> Decimal:
        """The number as it is reported and judged: rounded once, here."""
        rounded = Decimal(repr(float(number))).quantize(Decimal(1).scaleb(-self.decimals), ROUND_HALF_EVEN)
        return rounded + 0  # minus zero becomes zero


@dataclass(frozen=True, slots=True)
class Measured:
    """All measurements of a series."""

    values: Mapping[str, tuple[Value, ...]]
    notes: Mapping[str, str]  # measure -> why it was not taken, or how it was when that is unusual


def _ucum(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="UCUM", meaning=meaning)


_MM = _ucum("mm", "millimeter")
_MS = _ucum("ms", "millisecond")
_DEGREE = _ucum("deg", "degree")
_B = _ucum("s/mm2", "second per square millimeter")
_YEAR = _ucum("a", "year")
_ONE = _ucum("1", "no units")
_PERCENT = _ucum("%", "percent")
_SLICES = _ucum("{slices}", "slices")
_VOLUMES = _ucum("{volumes}", "volumes")
_IMAGES = _ucum("{images}", "images")
_DIRECTIONS = _ucum("{directions}", "directions")

MEASURES: Mapping[str, Measure] = {
    "repetition_time": Measure("Acquisition", _MS, 1),
    "echo_time": Measure("Acquisition", _MS, 2),
    "flip_angle": Measure("Acquisition", _DEGREE, 1),
    "slice_order": Measure("Acquisition", None),
    "transfer_syntax": Measure("Acquisition", None),
    "in_plane_resolution": Measure("Geometry", _MM, 3),
    "slice_thickness": Measure("Geometry", _MM, 3),
    "slice_spacing": Measure("Geometry", _MM, 3),
    "slice_gap": Measure("Geometry", _MM, 3),
    "slice_count": Measure("Geometry", _SLICES),
    "orientation_spread": Measure("Geometry", _DEGREE, 2),
    "stack_shear": Measure("Geometry", _DEGREE, 2),
    "b_values": Measure("Diffusion scheme", _B),
    "b0_images": Measure("Diffusion scheme", _IMAGES),
    "directions": Measure("Diffusion scheme", _DIRECTIONS),
    "volumes": Measure("Completeness", _VOLUMES),
    "missing_volumes": Measure("Completeness", _VOLUMES),
    "missing_slices": Measure("Completeness", _SLICES),
    "duplicate_slices": Measure("Completeness", _SLICES),
    "snr_b0": Measure("Image quality", _ONE, 1),
    "snr_weighted": Measure("Image quality", _ONE, 1),
    "ghost_ratio": Measure("Image quality", _PERCENT, 2),
    "entropy_focus": Measure("Image quality", _ONE, 3),
    "displacement": Measure("Image quality", _MM, 2),
    "volume_correlation": Measure("Image quality", _ONE, 3),
    "dropout_slices": Measure("Image quality", _SLICES),
    "clipping": Measure("Image quality", _PERCENT, 3),
    "age": Measure("Subject", _YEAR),
    "sex": Measure("Subject", None),
}
