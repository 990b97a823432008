"""What the headers of a series say: frames and their stack enter, measurements leave.

Every value is collected over all planes, rounded, and reported once per distinct value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from engine.processors.quality.frames import Frame
from engine.processors.quality.measures import MEASURES, Value
from engine.processors.quality.subject import Subject
from engine.processors.quality.volumes import Stack, Volume, distinct_axes

_MOST_VALUES = 16  # distinct values of one measure that are reported; more say nothing more
_NOT_STATED = "the images do not state it"


def header_measures(
    frames: Sequence[Frame], stack: Stack, subject: Subject
) -> tuple[dict[str, tuple[Value, ...]], dict[str, str]]:
    """Everything that needs no pixels: (values by measure, notes on what could not be measured)."""
    weighted = [volume for volume in stack.volumes if volume.b_value is not None and not volume.unweighted]
    thickness = _numbers("slice_thickness", _stated(frames, "SliceThickness"))
    measured: dict[str, tuple[Value, ...]] = {
        "repetition_time": _numbers("repetition_time", _stated(frames, "RepetitionTime")),
        "echo_time": _numbers("echo_time", _stated(frames, "EchoTime")),
        "flip_angle": _numbers("flip_angle", _stated(frames, "FlipAngle")),
        "slice_order": _slice_order(stack.volumes),
        "transfer_syntax": tuple(sorted({frame.source.transfer_syntax_uid for frame in frames})),
        "in_plane_resolution": _numbers("in_plane_resolution", _stated(frames, "PixelSpacing")),
        "slice_thickness": thickness,
        "slice_spacing": _numbers("slice_spacing", [stack.spacing]),
        "slice_gap": _numbers("slice_gap", (_gap(stack.spacing, value) for value in thickness)),
        "slice_count": _numbers("slice_count", [len(stack.positions) + stack.absent_positions]),
        "orientation_spread": _numbers("orientation_spread", [stack.orientation_spread]),
        "stack_shear": _numbers("stack_shear", [stack.shear]),
        "b_values": _numbers("b_values", (volume.b_value for volume in stack.volumes)),
        "volumes": _numbers("volumes", [len(stack.volumes)]),
        "missing_volumes": _missing_volumes(frames),
        "missing_slices": _numbers("missing_slices", [stack.missing]),
        "duplicate_slices": _numbers("duplicate_slices", [stack.duplicates]),
        "age": _numbers("age", [subject.age]),
        "sex": (subject.sex,) if subject.sex else (),
    }
    if measured["b_values"]:
        axes = distinct_axes([volume.direction for volume in weighted if volume.direction is not None])
        measured["b0_images"] = _numbers("b0_images", [sum(volume.unweighted for volume in stack.volumes)])
        measured["directions"] = _numbers("directions", [len(axes)])
    notes = {name: _NOT_STATED for name in MEASURES if MEASURES[name].group != "Image quality"}
    return measured, {name: note for name, note in notes.items() if not measured.get(name)}


def _numbers(name: str, values: Iterable[float | None]) -> tuple[Value, ...]:
    # The bound also refuses infinities and what is not a number.
    found = {MEASURES[name].value(value) for value in values if value is not None and abs(value) < 1e9}
    return tuple(sorted(found))[:_MOST_VALUES]


def _stated(frames: Sequence[Frame], keyword: str) -> set[float]:
    return {value for frame in frames for value in frame.facts[keyword]}


def _gap(spacing: float | None, thickness: Value) -> float | None:
    return None if spacing is None else spacing - float(thickness)


def _missing_volumes(frames: Sequence[Frame]) -> tuple[Value, ...]:
    """Entries of the scanner's own gradient table that no plane carries."""
    planned = {frame.weighting.gradients_planned for frame in frames} - {None, 0}
    present = {frame.weighting.gradient_number for frame in frames} - {None}
    if not planned or not present:
        return ()
    return _numbers("missing_volumes", [max(0, max(n for n in planned if n is not None) - len(present))])


def _slice_order(volumes: Sequence[Volume]) -> tuple[Value, ...]:
    """`interleaved` or `sequential`, from the acquisition times of the slices of each volume."""
    orders = {order for order in map(_order_of, volumes) if order}
    return tuple(sorted(orders))


def _order_of(volume: Volume) -> str | None:
    timed = sorted((frame.acquired_at, place) for place, frame in volume.slices.items() if frame.acquired_at)
    first: dict[str, int] = {}
    for when, place in timed:
        first.setdefault(when, place)  # slices excited together (multiband) share a time
    if len(first) < max(4, len(volume.slices) // 8):
        return None
    steps = [abs(after - before) for before, after in pairwise(first.values())]
    neighbours = sum(step == 1 for step in steps)
    return "sequential" if neighbours > len(steps) / 2 else "interleaved"
