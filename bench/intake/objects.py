"""What is sent: CT of 0.5 MB, MR of 33 KB, a multi-frame object of a gigabyte; explicit little endian.

Enter: a kind, how many, and which sender. Leave: data sets with UIDs of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"
ROOT = "1.2.826.0.1.3680043.8.498.77"
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    sop_class_uid: str
    rows: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Bytes of pixel data."""
        return self.rows * self.rows * 2 * self.frames


KINDS = {
    "ct": Kind("ct", CT, 512),
    "mr": Kind("mr", MR, 128),
    "big": Kind("big", MULTI_FRAME, 512, 2048),
    "big-short": Kind("big", MULTI_FRAME, 512, 256),
}


def sop_instance_uid(kind: Kind, run: int, sender: int, number: int) -> str:
    """No two objects of a measurement share it."""
    return f"{study_instance_uid(kind, run, sender)}.3.{number + 1}"


def study_instance_uid(kind: Kind, run: int, sender: int) -> str:
    """A study for each sender of each run."""
    return f"{ROOT}.{ord(kind.name[0])}.{run + 1}.{sender + 1}"


def head(kind: Kind, run: int, sender: int, number: int) -> bytes:
    """The data set up to and with the header of its pixel data."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = kind.sop_class_uid
    dataset.SOPInstanceUID = sop_instance_uid(kind, run, sender, number)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
    dataset.AccessionNumber = "A-1"
    dataset.Modality = kind.name.upper() if kind.frames == 1 else "OT"
    dataset.Manufacturer = "PONS"
    dataset.InstitutionName = "Bench"
    dataset.ReferringPhysicianName = "Nobody"
    dataset.StudyDescription = "bench"
    dataset.SeriesDescription = "axial dti"
    dataset.PatientName, dataset.PatientID = "Bench^Intake", "BENCH"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.BodyPartExamined = "BRAIN"
    dataset.SliceThickness = "2"
    dataset.ProtocolName = "bench"
    dataset.StudyInstanceUID = study_instance_uid(kind, run, sender)
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID + ".1"
    dataset.StudyID = "1"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
    dataset.ImagePositionPatient = [0, 0, number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = dataset.StudyInstanceUID + ".9"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.Rows = dataset.Columns = kind.rows
    dataset.PixelSpacing = [1, 1]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue() + b"\xe0\x7f\x10\x00OW\0\0" + kind.pixels.to_bytes(4, "little")
