"""From image planes to volumes: frames of one series enter, a `Stack` leaves.

A diffusion series repeats the same stack of slices once per weighting. The planes are sorted along
the stack's normal (the cross product of row and column direction, PS3.3 C.7.6.2.1.1) and put into
volumes by b-value, gradient direction and, among equals, by whichever counter the scanner kept.
Planes that should be there and are not, or are there twice, are counted, never hidden.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.processors.quality.diffusion import Direction
from engine.processors.quality.frames import Frame

UNWEIGHTED_BELOW = 50.0  # s/mm2: scanners record the unweighted image as 0 or as a few units
SAME_AXIS = math.cos(math.radians(1.0))
SAME_PLACE = 0.1  # mm


@dataclass(slots=True)
class Volume:
    """One repetition of the stack; ``slices`` maps a slice position's index to its plane."""

    b_value: float | None
    direction: Direction | None
    slices: dict[int, Frame] = field(default_factory=dict)
    duplicates: int = 0

    @property
    def unweighted(self) -> bool:
        """True for a b0 image."""
        return self.b_value is not None and self.b_value < UNWEIGHTED_BELOW


@dataclass(slots=True)
class Stack:
    """The slices of a series in space, and its volumes in order of acquisition."""

    positions: tuple[float, ...]  # mm along the normal, ascending, of the slices present
    spacing: float | None  # mm between neighbours; None for a single slice
    absent_positions: int  # places inside the stack where no volume has a slice
    orientation_spread: float  # degrees: the largest deviation from the common orientation
    shear: float  # degrees between the line through the slices' origins and the normal
    volumes: tuple[Volume, ...]

    @property
    def missing(self) -> int:
        """Slices that volumes lack, absent positions counted in every volume."""
        lacking = sum(len(self.positions) - len(volume.slices) for volume in self.volumes)
        return lacking + self.absent_positions * len(self.volumes)

    @property
    def duplicates(self) -> int:
        """Slices present more than once in a volume."""
        return sum(volume.duplicates for volume in self.volumes)


def stack(frames: Sequence[Frame]) -> Stack:
    """Arrange the frames of one series (at least one)."""
    rows = np.array([frame.row for frame in frames])
    columns = np.array([frame.column for frame in frames])
    origins = np.array([frame.position for frame in frames])
    row, column = _unit(np.median(rows, axis=0)), _unit(np.median(columns, axis=0))
    normal = _unit(np.cross(row, column))
    along = origins @ normal
    positions = _distinct(along)
    places = np.abs(along[:, None] - np.array(positions)[None, :]).argmin(axis=1)
    steps = np.diff(positions)
    spacing = float(np.median(steps)) if len(steps) else None
    absent = sum(round(step / spacing) - 1 for step in steps) if spacing else 0
    return Stack(
        tuple(positions),
        spacing,
        int(absent),
        max(_largest_angle(rows, row), _largest_angle(columns, column)),
        _shear(origins, along, normal),
        tuple(_volumes(frames, [int(place) for place in places])),
    )


def distinct_axes(directions: Sequence[Direction]) -> list[Direction]:
    """Directions that differ by more than a degree; opposite signs encode the same axis."""
    kept: list[Direction] = []
    for direction in directions:
        if all(abs(_dot(direction, other)) < SAME_AXIS for other in kept):
            kept.append(direction)
    return kept


def _volumes(frames: Sequence[Frame], places: Sequence[int]) -> list[Volume]:
    groups: dict[tuple[float | None, int], list[tuple[int, Frame]]] = defaultdict(list)
    known: list[Direction] = []
    for frame, place in sorted(zip(frames, places, strict=True), key=lambda pair: pair[0].number):
        b_value = None if frame.weighting.b_value is None else round(frame.weighting.b_value, 1)
        groups[b_value, _same(frame.weighting.direction, known)].append((place, frame))
    volumes = [volume for members in groups.values() for volume in _split(members)]
    return sorted(volumes, key=_when)


def _same(direction: Direction | None, known: list[Direction]) -> int:
    """Index of this signed direction among those seen, added when new; -1 for none."""
    if direction is None:
        return -1
    for index, other in enumerate(known):
        if _dot(direction, other) > SAME_AXIS:
            return index
    known.append(direction)
    return len(known) - 1


_COUNTERS: tuple[Callable[[Frame], int | None], ...] = (
    lambda frame: frame.temporal,
    lambda frame: frame.acquisition,
    lambda frame: frame.weighting.gradient_number,
)


def _split(members: list[tuple[int, Frame]]) -> list[Volume]:
    """Tell repetitions of one weighting apart.

    How many there are is how often most slice positions occur. A scanner counter that takes just
    that many values says which plane belongs where; without one, order of instance number does.
    """
    counts = Counter(place for place, _ in members)
    repetitions = Counter(counts.values()).most_common(1)[0][0]
    if repetitions == 1:
        return [_volume(members)]
    for counter in _COUNTERS:
        parts: dict[int | None, list[tuple[int, Frame]]] = defaultdict(list)
        for place, frame in members:
            parts[counter(frame)].append((place, frame))
        if len(parts) == repetitions:
            return [_volume(part) for part in parts.values()]
    seen: Counter[int] = Counter()
    ranked: list[list[tuple[int, Frame]]] = [[] for _ in range(repetitions)]
    for place, frame in members:
        ranked[min(seen[place], repetitions - 1)].append((place, frame))
        seen[place] += 1
    return [_volume(part) for part in ranked]


def _volume(members: list[tuple[int, Frame]]) -> Volume:
    first = members[0][1].weighting
    volume = Volume(first.b_value, first.direction)
    for place, frame in members:
        if place in volume.slices:
            volume.duplicates += 1
        else:
            volume.slices[place] = frame
    return volume


def _when(volume: Volume) -> tuple[str, int]:
    frames = volume.slices.values()
    return min(frame.acquired_at for frame in frames), min(frame.number for frame in frames)


def _distinct(values: NDArray[np.float64]) -> list[float]:
    kept: list[float] = []
    for value in sorted(float(value) for value in values):
        if not kept or value - kept[-1] > SAME_PLACE:
            kept.append(value)
    return kept


def _largest_angle(vectors: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = np.clip(vectors @ reference / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
    # arccos loses half its digits near one: below a hundredth of a degree nothing is meant by it.
    return round(float(np.degrees(np.arccos(cosines)).max()), 2)


def _shear(origins: NDArray[np.float64], along: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Least-squares drift of the origins within the plane, per mm along the normal, as an angle."""
    centred = along - along.mean()
    extent = float(centred @ centred)
    if extent < 1e-6:
        return 0.0
    within = origins - np.outer(along, normal)
    drift = (centred @ (within - within.mean(axis=0))) / extent
    return math.degrees(math.atan(float(np.linalg.norm(drift))))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else np.array([0.0, 0.0, 1.0])


def _dot(one: Direction, other: Direction) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
