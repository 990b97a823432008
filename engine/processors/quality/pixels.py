"""The pixels of one plane: a `Frame` enters, its stored values leave as an array.

Native pixel data (PS3.5 8.2) is read straight from its place in the file, which costs a seek where
parsing the header again would cost milliseconds. Encapsulated and deflated data go through
pydicom's decoders; what they cannot decode here is an `Undecodable`, not a failure of the study.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from engine.errors import PonsError
from engine.processors.quality.frames import Frame, Source

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

Stored = NDArray[Any]


class Undecodable(PonsError):
    """The pixel data of this transfer syntax cannot be decoded here."""


class PixelReader:
    """Reads planes one by one; keeps the last encapsulated file, which enhanced objects ask for often."""

    def __init__(self) -> None:
        self._last: tuple[Source, FileDataset] | None = None

    def stored(self, frame: Frame) -> Stored:
        """Stored values (before rescaling) as rows x columns.

        Raises:
            Undecodable: no decoder for the transfer syntax, or the pixel data is damaged.
        """
        source = frame.source
        native = source.transfer_syntax_uid in _NATIVE and source.bits_allocated in (8, 16, 32)
        if not source.monochrome:
            raise Undecodable("the image has more than one sample per pixel")
        return _native(source, frame.index) if native else self._decoded(source, frame.index)

    def _decoded(self, source: Source, index: int) -> Stored:
        try:
            if self._last is None or self._last[0] is not source:
                self._last = (source, dcmread(source.path))
            dataset = self._last[1]
            frames = int(dataset.get("NumberOfFrames") or 1)
            return pixel_array(dataset, index=index if frames > 1 else None, raw=True)
        except Exception as error:  # each decoder plugin raises its own kinds
            raise Undecodable(
                f"no decoder here reads transfer syntax {source.transfer_syntax_uid} "
                f"of instance {source.path.stem} ({type(error).__name__})"
            ) from None


def _native(source: Source, index: int) -> Stored:
    big = source.transfer_syntax_uid == ExplicitVRBigEndian
    header = 8 if source.transfer_syntax_uid == ImplicitVRLittleEndian else 12
    size = source.rows * source.columns * source.bits_allocated // 8
    with source.path.open("rb") as file:
        file.seek(source.pixel_offset)
        (length,) = struct.unpack(">I" if big else "<I", file.read(header)[-4:])
        file.seek(source.pixel_offset + header + index * size)
        content = file.read(size)
    if len(content) < size or length < (index + 1) * size:
        raise Undecodable(f"the pixel data of instance {source.path.stem} is shorter than its header says")
    form = f"{'>' if big else '<'}{'i' if source.signed else 'u'}{source.bits_allocated // 8}"
    values = np.frombuffer(content, dtype=form).reshape(source.rows, source.columns)
    spare = source.bits_allocated - source.bits_stored
    if spare <= 0:
        return values
    # Bits above the stored ones may hold overlays (retired) or rubbish (PS3.5 8.1.1).
    shifted: Stored = np.left_shift(values, spare)
    return np.right_shift(shifted, spare)
