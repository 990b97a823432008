"""Invented studies that grow: what is planned comes in parts, and sometimes more comes late.

Enter: a random generator and a site. Leave: the parts of one study, each a list of small MR instances
in Explicit VR Little Endian, numbered through the study.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from engine.model import uid_from

EDGE = 8  # pixels


@dataclass(frozen=True, slots=True)
class Instance:
    """One file, and what the judge needs to know of it."""

    path: Path
    sop_instance_uid: str
    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Growing:
    """A study and the parts in which it comes."""

    site: str
    study: str
    parts: tuple[tuple[Instance, ...], ...]


def invent(random: Random, site: str, name: str, folder: Path) -> Growing:
    """A study of one to three parts; the last of three is late: it was not announced."""
    sizes = [random.randint(1, 3) for _ in range(random.choice((1, 2, 2, 3)))]
    planned = sum(sizes[:2])
    study = uid_from("bench", "faults", name)
    parts, number = [], 0
    for size in sizes:
        parts.append(tuple(_instance(site, name, study, number + n, planned, folder) for n in range(size)))
        number += size
    return Growing(site, study, tuple(parts))


def data_set_digest(content: bytes) -> str:
    """SHA-256 of what follows the file meta information (PS3.10 7.1)."""
    length = int.from_bytes(content[140:144], "little")  # of (0002,0000), which comes first
    return hashlib.sha256(content[144 + length :]).hexdigest()


def _instance(site: str, name: str, study: str, number: int, planned: int, folder: Path) -> Instance:
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = uid_from("bench", "faults", name, str(number))
    dataset.StudyDate, dataset.StudyTime = "20260301", "103000"
    dataset.AccessionNumber = f"A{name}"
    dataset.Modality = "MR"
    dataset.Manufacturer = "Rig"
    dataset.PatientName, dataset.PatientID = f"Rig^{name}", f"{site}-{name}"
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "O"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = uid_from("bench", "faults", name, "series")
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
    dataset.FrameOfReferenceUID = uid_from("bench", "faults", name, "frame")
    dataset.ImagesInAcquisition = planned
    dataset.ImagePositionPatient = [0, 0, number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = EDGE
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = bytes([number]) * (EDGE * EDGE * 2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Instance(path, str(dataset.SOPInstanceUID), number, data_set_digest(path.read_bytes()))
