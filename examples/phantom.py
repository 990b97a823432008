"""A diffusion phantom study: a few numbers enter, a folder of MR images leaves.

    python -m examples.phantom OUT [--slices 66 --volumes 32 --size 64 --b0 2 --seed 1 …]

The head is an ellipsoid with two bundles of white matter, each attenuated by its own tensor
(Stejskal and Tanner: S = S0 exp(-b g'Dg)), under Rician noise and a faint N/2 ghost. Study, images
and UIDs depend on the arguments alone. The defaults follow the packaged diffusion protocol; what
the protocol asks for, and what a site would see in a worklist, is there: times of an interleaved
acquisition, standard b-value and gradient attributes (PS3.3 C.8.13.5.9), age, sex, accession number.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

VOXEL = 2.0  # mm, every way
B_VALUE = 1000.0  # s/mm2
REPETITION_TIME, ECHO_TIME, FLIP_ANGLE = 8000.0, 80.0, 90.0  # ms, ms, degrees
NOISE, GHOST = 12.0, 0.02  # sigma in stored units; share of the signal
STUDY_START = datetime(2026, 1, 15, 9, 30)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gradient:
    """The weighting of one volume."""

    b_value: float
    direction: tuple[float, float, float] | None


def make_phantom(
    out: Path,
    *,
    slices: int = 66,
    volumes: int = 32,
    size: int = 64,
    b0: int = 2,
    seed: int = 1,
    patient_id: str = "PHANTOM-1",
    patient_name: str = "Phantom^Diffusion",
    patient_sex: str = "F",
    birth_date: date = date(1980, 5, 4),
    accession_number: str = "PH000001",
    referring_physician: str = "Welby^Marcus^^Dr",
    study_instance_uid: str | None = None,
) -> list[Path]:
    """Write one study of one series, `slices` x `volumes` instances of `size` x `size` pixels.

    Args:
        out: folder for the files; made when missing.
        b0: how many of the volumes are unweighted; spread over the acquisition.
        seed: decides the noise and, with the other arguments, every UID.
        patient_name: PN value; non-ASCII text and ideographic groups are welcome, the files are UTF-8.
        study_instance_uid: derived from ``seed`` and ``patient_id`` when None.

    Returns:
        The files in order of acquisition: volume by volume, each from foot to head.

    Raises:
        ValueError: the numbers make no diffusion series.
    """
    if slices < 1 or size < 16 or not 0 <= b0 <= volumes or volumes < 1:
        raise ValueError("a phantom needs a slice, a volume, 16 pixels a side and no more b0 than volumes")
    out.mkdir(parents=True, exist_ok=True)
    study_uid = study_instance_uid or _uid("study", seed, patient_id)
    series_uid = _uid("series", study_uid, seed, slices, volumes, size, b0)
    template = _template(study_uid, series_uid)
    template.PatientID = patient_id
    template.PatientName = patient_name
    template.PatientSex = patient_sex
    template.PatientBirthDate = birth_date.strftime("%Y%m%d")
    template.PatientAge = f"{_age(birth_date):03d}Y"
    template.AccessionNumber = accession_number
    template.ReferringPhysicianName = referring_physician
    template.Rows = template.Columns = size
    template.AcquisitionMatrix = [size, 0, 0, size]
    template.NumberOfTemporalPositions = volumes
    random = np.random.default_rng(seed)
    head = _Head(slices, size)
    times = _slice_times(slices)
    files: list[Path] = []
    for number, gradient in enumerate(_scheme(volumes, b0), start=1):
        pixels = _acquire(head.signal(gradient), random)
        template.TemporalPositionIdentifier = number
        template.AcquisitionNumber = number
        _set_gradient(template, gradient)
        for index in range(slices):
            path = out / f"{number:03d}-{index + 1:03d}.dcm"
            _set_plane(template, series_uid, (number - 1) * slices + index + 1, index, slices, size)
            began = STUDY_START + timedelta(seconds=(number - 1) * REPETITION_TIME / 1000 + times[index])
            template.AcquisitionTime = template.ContentTime = began.strftime("%H%M%S.%f")
            template.PixelData = pixels[index].tobytes()
            template.save_as(path, enforce_file_format=True)
            files.append(path)
    return files


class _Head:
    """An ellipsoid of grey matter with a left-right and a front-back bundle of white matter."""

    def __init__(self, slices: int, size: int) -> None:
        z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (slices, size, size)), indexing="ij")
        if slices == 1:
            z = np.zeros_like(z)
        head = (x / 0.62) ** 2 + (y / 0.76) ** 2 + (z / 1.15) ** 2 <= 1
        ventricle = (x / 0.1) ** 2 + (y / 0.25) ** 2 + (z / 0.4) ** 2 <= 1
        across = head & (np.abs(x) < 0.45) & (np.abs(y) < 0.12) & ~ventricle
        along = head & (np.abs(np.abs(x) - 0.3) < 0.08) & (np.abs(y) < 0.6)
        self._density = np.where(head, 800.0, 0.0)
        self._density[across | along] = 620.0
        self._density[ventricle] = 1500.0
        # Fade the edge in the plane a little, as partial volume does, so that slices differ smoothly.
        self._density *= 1 - 0.15 * np.clip(x**2 + y**2, 0, 1)
        self._tensors = [
            (head & ~across & ~along & ~ventricle, (0.8e-3, 0.8e-3, 0.8e-3)),  # mm2/s, along x, y, z
            (across, (1.6e-3, 0.4e-3, 0.4e-3)),
            (along, (0.4e-3, 1.6e-3, 0.4e-3)),
            (ventricle, (3.0e-3, 3.0e-3, 3.0e-3)),
        ]

    def signal(self, gradient: Gradient) -> Array:
        """Noiseless signal of one volume."""
        signal = self._density.copy()
        if gradient.direction is not None:
            squares = np.square(gradient.direction)
            for place, diffusivities in self._tensors:
                signal[place] *= np.exp(-gradient.b_value * float(squares @ np.array(diffusivities)))
        return signal


def _acquire(signal: Array, random: np.random.Generator) -> NDArray[np.uint16]:
    """Magnitude images: ghost shifted by half the field of view down the columns, complex noise."""
    ghosted = signal + GHOST * np.roll(signal, signal.shape[1] // 2, axis=1)
    real = ghosted + random.normal(0, NOISE, signal.shape)
    imaginary = random.normal(0, NOISE, signal.shape)
    return np.clip(np.hypot(real, imaginary), 0, 4095).astype("<u2")


def _scheme(volumes: int, b0: int) -> Iterator[Gradient]:
    """Unweighted volumes spread evenly, the first of them first, and directions on a half sphere."""
    unweighted = {round(index * volumes / b0) for index in range(b0)} if b0 else set()
    weighted = volumes - len(unweighted)
    turn = 0
    for volume in range(volumes):
        if volume in unweighted:
            yield Gradient(0.0, None)
            continue
        # A Fibonacci spiral: no two axes coincide, and any number of them covers the half sphere.
        height = 1 - (turn + 0.5) / weighted
        radius, angle = np.sqrt(1 - height**2), turn * np.pi * (3 - np.sqrt(5))
        yield Gradient(B_VALUE, (float(radius * np.cos(angle)), float(radius * np.sin(angle)), float(height)))
        turn += 1


def _slice_times(slices: int) -> list[float]:
    """Seconds after the start of a volume at which each slice is excited: even ones, then odd ones."""
    order = [*range(0, slices, 2), *range(1, slices, 2)]
    step = REPETITION_TIME / 1000 / slices
    return [order.index(index) * step for index in range(slices)]


def _template(study_uid: str, series_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = (
        STUDY_START.strftime("%Y%m%d")
    )
    dataset.StudyTime = dataset.SeriesTime = STUDY_START.strftime("%H%M%S")
    dataset.Modality = "MR"
    dataset.Manufacturer = "Pons"
    dataset.ManufacturerModelName = "Diffusion phantom"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"
    dataset.StudyDescription = "Brain phantom"
    dataset.SeriesDescription = "dti phantom 2mm"
    dataset.ProtocolName = "dti phantom 2mm"
    dataset.BodyPartExamined = "BRAIN"
    dataset.ScanningSequence = ["SE", "EP"]
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = "FS"
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = dataset.SpacingBetweenSlices = VOXEL
    dataset.RepetitionTime = REPETITION_TIME
    dataset.EchoTime = ECHO_TIME
    dataset.EchoTrainLength = 1
    dataset.NumberOfAverages = 1
    dataset.MagneticFieldStrength = 3
    dataset.ImagedNucleus = "1H"
    dataset.FlipAngle = FLIP_ANGLE
    dataset.InPlanePhaseEncodingDirection = "COL"
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = series_uid
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.FrameOfReferenceUID = _uid("frame of reference", series_uid)
    dataset.PositionReferenceIndicator = ""
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [VOXEL, VOXEL]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 600, 1200
    return dataset


def _set_gradient(dataset: FileDataset, gradient: Gradient) -> None:
    dataset.DiffusionBValue = gradient.b_value
    if gradient.direction is None:
        dataset.DiffusionDirectionality = "NONE"
        if "DiffusionGradientOrientation" in dataset:
            del dataset.DiffusionGradientOrientation
    else:
        dataset.DiffusionDirectionality = "DIRECTIONAL"
        dataset.DiffusionGradientOrientation = list(gradient.direction)


def _set_plane(
    dataset: FileDataset, series_uid: str, number: int, index: int, slices: int, size: int
) -> None:
    dataset.SOPInstanceUID = UID(_uid("instance", series_uid, number))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    corner = -VOXEL * (size - 1) / 2
    height = VOXEL * (index - (slices - 1) / 2)
    dataset.ImagePositionPatient = [corner, corner, height]
    dataset.SliceLocation = height


def _age(birth_date: date) -> int:
    before_birthday = (STUDY_START.month, STUDY_START.day) < (birth_date.month, birth_date.day)
    return STUDY_START.year - birth_date.year - before_birthday


def _uid(*names: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that the same names always give."""
    digest = hashlib.sha256("\0".join(map(str, ("pons phantom", *names))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.phantom", description="Write a diffusion phantom."
    )
    parser.add_argument("out", type=Path, help="folder for the files")
    for name, default, meaning in (
        ("slices", 66, "slices of a volume, 2 mm each"),
        ("volumes", 32, "volumes, unweighted ones included"),
        ("size", 64, "pixels a side, 2 mm each"),
        ("b0", 2, "unweighted volumes"),
        ("seed", 1, "decides noise and UIDs"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default {default})")
    parser.add_argument("--patient-id", default="PHANTOM-1")
    parser.add_argument("--patient-name", default="Phantom^Diffusion", help="PN value, any script")
    parser.add_argument("--accession-number", default="PH000001")
    parser.add_argument("--study-instance-uid", help="derived from the seed when absent")
    chosen = vars(parser.parse_args())
    try:
        files = make_phantom(chosen.pop("out"), **chosen)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{len(files)} instances, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
