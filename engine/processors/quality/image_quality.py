"""What the pixels of a series say: a `Stack` enters, numbers leave. Volumes are read one at a time.

Definitions, so that a number can be argued with:

- *foreground*: voxels of the mean unweighted volume above a fifth of its 98th percentile.
- *noise* sigma: magnitude noise in air is Rayleigh distributed, E[x^2] = 2 sigma^2; so sigma is the
  root mean square of a corner patch over sqrt(2), the median over corners and slices of the
  unweighted volumes (Gudbjartsson and Patz 1995). Where the scanner has blanked the air, sigma is
  the spread of the difference of two unweighted volumes in the foreground over sqrt(2) (NEMA MS 1,
  method 1); with a single unweighted volume there is none.
- *SNR*: mean foreground signal over sigma, for the unweighted and for the weighted volumes.
- *ghost ratio*: mean of the air beside the head along the phase-encoding direction less that along
  the other, over the mean signal (the ACR ghosting ratio); median over the middle half of the slices.
- *entropy focus*: the entropy of a volume's intensities over the largest it could be (Atkinson
  1997, scaled to 0..1); blurring by motion raises it. The mean over volumes.
- *displacement*: the largest translation between neighbouring volumes of one shell: the peak of
  their cross-correlation, refined between voxels by a parabola. A centre of mass would not do: with
  diffusion weighting it follows the gradient direction as much as the head.
- *volume correlation*: the smallest Pearson correlation between such neighbours in the foreground.
- *dropout slices*: slices whose mean is under 60 % of the median of their place in their shell.
- *clipping*: share of foreground voxels that hold the largest stored value of the series.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.processors.quality.measures import MEASURES, Value
from engine.processors.quality.pixels import PixelReader, Undecodable
from engine.processors.quality.volumes import Stack, Volume

_FOREGROUND = 0.2  # of the 98th percentile
_DROPOUT = 0.6  # of the median
_FEWEST_FOR_MEDIAN = 5  # volumes of a shell before a dropout can be told

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def image_measures(stack: Stack, reader: PixelReader) -> tuple[dict[str, tuple[Value, ...]], dict[str, str]]:
    """Everything that needs pixels: (values by measure, notes on what could not be measured)."""
    names = [name for name, measure in MEASURES.items() if measure.group == "Image quality"]
    shape = {(f.source.rows, f.source.columns) for v in stack.volumes for f in v.slices.values()}
    if len(shape) > 1:
        return {}, dict.fromkeys(names, "the images differ in rows and columns")
    try:
        numbers, notes = _measure(stack, reader)
    except Undecodable as error:
        return {}, dict.fromkeys(names, str(error))
    values: dict[str, tuple[Value, ...]] = {
        name: (MEASURES[name].value(number),) for name, number in numbers.items() if math.isfinite(number)
    }
    missing = "there are too few volumes, or the images are empty"
    return values, notes | {name: missing for name in names if name not in values and name not in notes}


@dataclass(slots=True)
class _Shell:
    """What is remembered of the volumes of one b-value."""

    last: Array | None = None
    last_spectrum: NDArray[np.complex64] | None = None
    displacement: float = math.nan
    correlation: float = math.nan
    means: list[float] = field(default_factory=list)
    slice_means: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass(slots=True)
class _Ceiling:
    """How many voxels hold the largest stored value so far."""

    value: float = -math.inf
    count: int = 0

    def see(self, stored: NDArray[Any]) -> None:
        top = float(stored.max())
        if top > self.value:
            self.value, self.count = top, 0
        if top == self.value:
            self.count += int(np.count_nonzero(stored == stored.max()))


def _measure(stack: Stack, reader: PixelReader) -> tuple[dict[str, float], dict[str, str]]:
    ceiling = _Ceiling()
    reference, air_noise, volumes_b0 = _reference(stack, reader)
    foreground = _foreground(reference)
    if not foreground.any():
        return {}, {}
    size = _voxel_size(stack)
    shells: dict[float | None, _Shell] = defaultdict(_Shell)
    entropies: list[float] = []
    for volume in stack.volumes:
        values = _read(volume, len(stack.positions), reader, ceiling)
        entropies.append(_entropy_focus(values))
        shell = shells[0.0 if volume.unweighted or volume.b_value is None else round(volume.b_value, -1)]
        _compare(shell, values, foreground, size)
    sigma = float(np.median(air_noise)) if air_noise else _difference_noise(volumes_b0, foreground)
    weighted = [mean for b, shell in shells.items() if b for mean in shell.means]
    numbers = {
        "snr_b0": float(reference[foreground].mean()) / sigma if sigma else math.nan,
        "snr_weighted": float(np.mean(weighted)) / sigma if sigma and weighted else math.nan,
        "ghost_ratio": _ghost_ratio(reference, foreground, _phase_axis(stack)),
        "entropy_focus": float(np.mean(entropies)),
        "displacement": _worst([shell.displacement for shell in shells.values()], max),
        "volume_correlation": _worst([shell.correlation for shell in shells.values()], min),
        "dropout_slices": float(sum(_dropouts(shell.slice_means) for shell in shells.values())),
        "clipping": 100.0 * ceiling.count / (int(foreground.sum()) * len(stack.volumes)),
    }
    blanked = "the air around the head is blanked or does not exist, so noise cannot be told"
    notes = {"ghost_ratio": "there is no air beside the head, or the phase-encoding direction is not stated"}
    if not air_noise:
        how = "noise from the difference of two b0 images, the air being blanked" if sigma else blanked
        notes |= {"snr_b0": how, "snr_weighted": how}
    return numbers, notes


def _reference(stack: Stack, reader: PixelReader) -> tuple[Array, list[float], list[Array]]:
    """Mean of the unweighted volumes (of all, when none is), noise in their corners, the first two."""
    chosen = [volume for volume in stack.volumes if volume.unweighted]
    first: list[Array] = []
    total: Array | None = None
    noise: list[float] = []
    for volume in chosen or stack.volumes:
        values = _read(volume, len(stack.positions), reader, None)
        noise.extend(_corner_noise(values))
        total = values if total is None else total + values
        if chosen and len(first) < 2:
            first.append(values)
    assert total is not None  # a stack has at least one volume
    return total / np.float32(len(chosen or stack.volumes)), noise, first


def _read(volume: Volume, depth: int, reader: PixelReader, ceiling: _Ceiling | None) -> Array:
    """slices x rows x columns after rescaling (PS3.3 C.11.1.1.2); slices that are missing stay zero."""
    source = next(iter(volume.slices.values())).source
    values = np.zeros((depth, source.rows, source.columns), dtype=np.float32)
    for place, frame in volume.slices.items():
        stored = reader.stored(frame)
        if ceiling is not None:
            ceiling.see(stored)
        (slope, *_), (intercept, *_) = (
            frame.facts["RescaleSlope"] or (1.0,),
            frame.facts["RescaleIntercept"] or (0.0,),
        )
        values[place] = stored * np.float32(slope) + np.float32(intercept)
    return values


def _foreground(reference: Array) -> Mask:
    high = float(np.percentile(reference, 98))
    return reference > _FOREGROUND * high if high > 0 else np.zeros(reference.shape, dtype=bool)


def _corner_noise(values: Array) -> list[float]:
    """Sigma per corner patch and slice; blanked patches (mostly exact zeros) are left out."""
    side = max(4, min(values.shape[1:]) // 10)
    found: list[float] = []
    for rows in (slice(0, side), slice(-side, None)):
        for columns in (slice(0, side), slice(-side, None)):
            patch = values[:, rows, columns].reshape(len(values), -1)
            usable = np.count_nonzero(patch, axis=1) > patch.shape[1] / 2
            found.extend(np.sqrt(np.mean(patch[usable] ** 2, axis=1) / 2).tolist())
    return found


def _difference_noise(volumes: list[Array], foreground: Mask) -> float:
    """Sigma from two repetitions; zero when there are none."""
    if len(volumes) < 2:
        return 0.0
    return float((volumes[0][foreground] - volumes[1][foreground]).std()) / math.sqrt(2)


def _entropy_focus(values: Array) -> float:
    flat = values[values > 0]
    energy = math.sqrt(float(np.sum(flat.astype(np.float64) ** 2)))
    if energy == 0:
        return math.nan
    shares = flat / np.float32(energy)
    entropy = -float(np.sum(shares * np.log(shares), dtype=np.float64))
    return entropy / (math.sqrt(values.size) * math.log(math.sqrt(values.size)))


def _compare(shell: _Shell, values: Array, foreground: Mask, size: tuple[float, float, float]) -> None:
    """Compare a volume with the one before it in its shell, and remember it."""
    inside = values[foreground]
    shell.means.append(float(inside.mean()))
    counts = np.maximum(foreground.sum(axis=(1, 2)), 1)
    shell.slice_means.append((values * foreground).sum(axis=(1, 2), dtype=np.float64) / counts)
    spectrum = np.fft.rfftn(values - values.mean(), axes=(0, 1, 2)).astype(np.complex64)
    if shell.last is not None and shell.last_spectrum is not None:
        shift = _translation(spectrum, shell.last_spectrum, values.shape)
        moved = math.sqrt(sum((voxels * mm) ** 2 for voxels, mm in zip(shift, size, strict=True)))
        shell.displacement = _worst([shell.displacement, moved], max)
        if inside.std() > 0 and shell.last.std() > 0:
            correlation = float(np.corrcoef(inside, shell.last)[0, 1])
            shell.correlation = _worst([shell.correlation, correlation], min)
    shell.last, shell.last_spectrum = inside, spectrum


def _translation(
    one: NDArray[np.complex64], other: NDArray[np.complex64], shape: tuple[int, ...]
) -> list[float]:
    """By how many voxels, per axis, the one volume lies beside the other (correlation theorem)."""
    surface = np.fft.irfftn(one * other.conj(), s=shape, axes=(0, 1, 2))
    peak = [int(place) for place in np.unravel_index(int(surface.argmax()), shape)]
    shift: list[float] = []
    for axis, place in enumerate(peak):
        length = shape[axis]
        around = [(*peak[:axis], (place + step) % length, *peak[axis + 1 :]) for step in (-1, 0, 1)]
        before, top, after = (float(surface[at]) for at in around)
        bend = before - 2 * top + after
        finer = 0.5 * (before - after) / bend if length > 2 and bend < 0 else 0.0
        shift.append((place + finer + length / 2) % length - length / 2)
    return shift


def _dropouts(slice_means: list[NDArray[np.float64]]) -> int:
    if len(slice_means) < _FEWEST_FOR_MEDIAN:
        return 0
    table = np.array(slice_means)
    # A slice that is absent altogether is counted as missing, not as a dropout.
    return int(np.count_nonzero((table < _DROPOUT * np.median(table, axis=0)) & (table > 0)))


def _ghost_ratio(reference: Array, foreground: Mask, phase_axis: int | None) -> float:
    depth = len(reference)
    if phase_axis is None:
        return math.nan
    ratios: list[float] = []
    for index in range(depth // 4, max(depth - depth // 4, depth // 4 + 1)):
        image, mask = reference[index], foreground[index]
        if phase_axis == 1:
            image, mask = image.T, mask.T
        rows, columns = _extent(mask, 1), _extent(mask, 0)
        if rows is None or columns is None:
            continue
        (top, bottom), (left, right) = rows, columns
        along = np.concatenate([image[: max(top - 2, 0), left:right], image[bottom + 2 :, left:right]])
        across = np.hstack([image[top:bottom, : max(left - 2, 0)], image[top:bottom, right + 2 :]])
        signal = float(image[mask].mean())
        if along.size >= 32 and across.size >= 32 and along.any() and across.any():
            ratios.append(100.0 * abs(float(along.mean()) - float(across.mean())) / signal)
    return float(np.median(ratios)) if ratios else math.nan


def _extent(mask: Mask, axis: int) -> tuple[int, int] | None:
    """First and one past last line that is more than stray voxels."""
    profile = mask.sum(axis=axis)
    lines = np.flatnonzero(profile > 0.05 * profile.max()) if profile.any() else np.array([])
    return (int(lines[0]), int(lines[-1]) + 1) if len(lines) else None


def _phase_axis(stack: Stack) -> int | None:
    """Array axis of the phase encoding within a slice: COL runs down the columns (PS3.3 C.8.3.1)."""
    stated = {f.phase_encoding for v in stack.volumes for f in v.slices.values()}
    return {"COL": 0, "ROW": 1}.get(stated.pop()) if len(stated) == 1 else None


def _voxel_size(stack: Stack) -> tuple[float, float, float]:
    spacing = next(iter(stack.volumes[0].slices.values())).facts["PixelSpacing"]
    down, across = spacing if len(spacing) == 2 else (1.0, 1.0)
    return (stack.spacing or 1.0, down, across)


def _worst(values: Sequence[float], pick: Any) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(pick(finite)) if finite else math.nan
