"""One picture of the series: slices across, volumes down. Pixels enter, a PNG leaves.

Nothing is written into the picture and it carries no text chunk, so it holds no patient data
beyond the anatomy itself. It never exceeds 1600 x 1600 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.processors.quality.pixels import PixelReader
from engine.processors.quality.volumes import Stack, Volume

LARGEST = 1600  # pixels, either way
_ACROSS, _DOWN, _LINE = 6, 5, 2
_ENLARGED = 3  # times at most: more pixels would show no more

Item = TypeVar("Item")


def write_montage(stack: Stack, reader: PixelReader, path: Path) -> None:
    """Write the montage of up to six slices of up to five volumes.

    Raises:
        Undecodable: the pixel data cannot be decoded here.
    """
    places = _spread(range(len(stack.positions)), _ACROSS)
    weighted = [volume for volume in stack.volumes if not volume.unweighted]
    unweighted = [volume for volume in stack.volumes if volume.unweighted]
    volumes = [*unweighted[:1], *_spread(weighted, _DOWN - len(unweighted[:1]))]
    source = next(iter(stack.volumes[0].slices.values())).source
    room = (LARGEST - _LINE) // max(len(places), len(volumes)) - _LINE
    side = min(room, _ENLARGED * max(source.rows, source.columns))
    canvas = np.zeros((_LINE + len(volumes) * (side + _LINE), _LINE + len(places) * (side + _LINE)), np.uint8)
    for down, volume in enumerate(volumes):
        for across, tile in enumerate(_tiles(volume, places, reader)):
            if tile is None:
                continue
            picture = Image.fromarray(tile)
            scale = min(side / picture.width, side / picture.height)
            size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
            pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
            top = _LINE + down * (side + _LINE) + (side - size[1]) // 2
            left = _LINE + across * (side + _LINE) + (side - size[0]) // 2
            canvas[top : top + size[1], left : left + size[0]] = pixels
    Image.fromarray(canvas).save(path, format="PNG")


def _tiles(volume: Volume, places: list[int], reader: PixelReader) -> list[NDArray[np.uint8] | None]:
    """The volume's slices in eight bits, windowed together from zero to their 99.5th percentile."""
    found = {place: reader.stored(volume.slices[place]) for place in places if place in volume.slices}
    scaled = {
        place: stored.astype(np.float32)
        * np.float32((volume.slices[place].facts["RescaleSlope"] or (1.0,))[0])
        for place, stored in found.items()
    }
    if not scaled:
        return []
    everything = np.concatenate([values.ravel() for values in scaled.values()])
    low, high = float(everything.min()), float(np.percentile(everything, 99.5))
    window = max(high - low, 1e-6)
    grey = {
        place: (np.clip((values - low) / window, 0, 1) * 255).astype(np.uint8)
        for place, values in scaled.items()
    }
    return [grey.get(place) for place in places]


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """Up to ``count`` items, evenly, without the very ends of a long row."""
    if len(items) <= count:
        return list(items)
    step = len(items) / count
    return [items[int((index + 0.5) * step)] for index in range(count)]
