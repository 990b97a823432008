"""Reading a job's images: a folder of Part 10 files enters, one `Frame` per image plane leaves.

Single-frame MR Image Storage and Enhanced MR Image Storage (plane position, plane orientation,
pixel measures and MR diffusion functional groups, PS3.3 C.7.6.16 and C.8.13.5) become the same
thing here. Pixels stay on disk: a frame remembers where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from engine.errors import PonsError, ProcessorFailed
from engine.processors.quality.diffusion import Weighting, floats, weighting
from engine.processors.quality.subject import Subject, subject

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file, and what it takes to read its pixels."""

    path: Path
    transfer_syntax_uid: str
    pixel_offset: int  # of the pixel data element; 0 when only decoding the whole file finds it
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    monochrome: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image plane and what tells it apart from the others."""

    source: Source
    index: int  # of the frame in its file, from 0
    series_instance_uid: str
    number: int  # InstanceNumber, or the frame's place in its file
    position: Triple  # mm, ImagePositionPatient
    row: Triple  # unit vectors, ImageOrientationPatient
    column: Triple
    weighting: Weighting
    temporal: int | None  # TemporalPositionIdentifier or Index
    acquisition: int | None  # AcquisitionNumber
    acquired_at: str  # DT or TM, as written: only its order is used
    phase_encoding: str  # COL, ROW or empty
    facts: dict[str, tuple[float, ...]]  # acquisition attributes by keyword; empty when not stated


@dataclass(frozen=True, slots=True)
class Reading:
    """What a folder held."""

    frames: tuple[Frame, ...]
    subjects: dict[str, Subject]  # by series, as its first instance says
    others: int  # instances that are no MR images


# Keyword -> the functional group that holds it in an enhanced object, and its name there.
_FACTS: dict[str, tuple[str, str]] = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
}


def read(folder: Path, max_frames: int) -> Reading:
    """Every MR image under ``folder``, headers only.

    Raises:
        ProcessorFailed: a file cannot be read, no MR image is among them, an image lacks its
            geometry, or there are more than ``max_frames`` planes.
    """
    frames: list[Frame] = []
    subjects: dict[str, Subject] = {}
    others = 0
    for path in sorted(folder.rglob("*.dcm")):
        header, offset = _open(path)
        sop_class = str(header.SOPClassUID)
        if sop_class not in (MR_IMAGE, ENHANCED_MR_IMAGE):
            others += 1
            continue
        if offset is None:
            raise ProcessorFailed(f"instance {path.stem} has no pixel data; ask the sender for it again")
        try:
            frames.extend(_frames(path, header, offset, sop_class, max_frames - len(frames)))
            subjects.setdefault(str(header.SeriesInstanceUID), subject(header))
        except PonsError:
            raise
        except Exception:  # pydicom converts a value when it is asked for, and raises many kinds then
            raise ProcessorFailed(
                f"instance {path.stem}: image position, image orientation, rows, columns or another "
                "element that measuring needs is missing or malformed; check what the scanner exports"
            ) from None
    if not frames:
        raise ProcessorFailed(
            f"no MR image among {others} instances; let the route select the diffusion series"
        )
    return Reading(tuple(frames), subjects, others)


def _frames(path: Path, header: Dataset, offset: int, sop_class: str, room: int) -> list[Frame]:
    if "MOSAIC" in (header.get("ImageType") or []):
        raise ProcessorFailed(
            f"instance {path.stem} is a mosaic of slices; export single-frame or Enhanced MR images"
        )
    if int(header.get("NumberOfFrames") or 1) > room:
        raise ProcessorFailed("more image planes than max_frames; raise it or select fewer series")
    source = _source(path, header, offset)
    return list(_enhanced(source, header) if sop_class == ENHANCED_MR_IMAGE else _classic(source, header))


def _open(path: Path) -> tuple[Dataset, int | None]:
    """The header, and where the pixel data element starts; None when there is none."""
    try:
        with path.open("rb") as file:
            header = dcmread(file, stop_before_pixels=True)
            offset = file.tell()
            tag = file.read(4)
        if not header.SOPClassUID or not header.file_meta.TransferSyntaxUID:
            raise ValueError("no SOP class or no transfer syntax")
    except Exception as error:  # pydicom raises many kinds on malformed input
        raise ProcessorFailed(
            f"instance {path.stem} cannot be read ({type(error).__name__}); ask the sender for it again"
        ) from None
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return header, 0
    return header, offset if tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10") else None


def _source(path: Path, header: Dataset, offset: int) -> Source:
    if not header.Rows or not header.Columns:
        raise ValueError("an image without extent")
    return Source(
        path,
        str(header.file_meta.TransferSyntaxUID),
        offset,
        int(header.Rows),
        int(header.Columns),
        int(header.BitsAllocated),
        int(header.BitsStored),
        bool(header.PixelRepresentation),
        int(header.SamplesPerPixel) == 1,
    )


def _classic(source: Source, header: Dataset) -> Iterator[Frame]:
    row, column = _orientation(header.ImageOrientationPatient)
    yield Frame(
        source=source,
        index=0,
        series_instance_uid=str(header.SeriesInstanceUID),
        number=int(header.get("InstanceNumber") or 0),
        position=_triple(header.ImagePositionPatient),
        row=row,
        column=column,
        weighting=weighting(header),
        temporal=_integer(header.get("TemporalPositionIdentifier")),
        acquisition=_integer(header.get("AcquisitionNumber")),
        acquired_at=str(header.get("AcquisitionDateTime") or header.get("AcquisitionTime") or ""),
        phase_encoding=str(header.get("InPlanePhaseEncodingDirection") or ""),
        facts={keyword: tuple(floats(header.get(keyword)) or ()) for keyword in _FACTS},
    )


def _enhanced(source: Source, header: Dataset) -> Iterator[Frame]:
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):
        groups = Dataset()
        for element in chain(shared[0], own):
            groups[element.tag] = element
        content = (groups.get("FrameContentSequence") or [Dataset()])[0]
        row, column = _orientation(groups.PlaneOrientationSequence[0].ImageOrientationPatient)
        geometry = (groups.get("MRFOVGeometrySequence") or [Dataset()])[0]
        phase_encoding = str(geometry.get("InPlanePhaseEncodingDirection") or "")
        facts = {
            keyword: tuple(floats((groups.get(sequence) or [Dataset()])[0].get(name)) or ())
            for keyword, (sequence, name) in _FACTS.items()
        }
        yield Frame(
            source=source,
            index=index,
            series_instance_uid=str(header.SeriesInstanceUID),
            number=index + 1,
            position=_triple(groups.PlanePositionSequence[0].ImagePositionPatient),
            row=row,
            column=column,
            weighting=weighting(groups),
            temporal=_integer(content.get("TemporalPositionIndex")),
            acquisition=_integer(content.get("FrameAcquisitionNumber")),
            acquired_at=str(content.get("FrameAcquisitionDateTime") or ""),
            # Enhanced MR says COLUMN where the older object says COL.
            phase_encoding="COL" if phase_encoding == "COLUMN" else phase_encoding,
            facts=facts,
        )


def _triple(value: Any) -> Triple:
    x, y, z = (float(part) for part in value)
    return (x, y, z)


def _orientation(value: Any) -> tuple[Triple, Triple]:
    return _triple(value[:3]), _triple(value[3:6])


def _integer(value: Any) -> int | None:
    return None if value is None or value == "" else int(value)
