"""A diffusion image in NIfTI as a study: image and gradients in, an MR image for each slice out (PS3.3 A.4).

A slice of each volume becomes one MR Image Storage instance, as scanners write them: quality control and
every route take them unchanged. Voxels, their scaling, the place in space and the weighting are those of the
files; what NIfTI does not say (thickness, echo time, who was scanned) stays empty, and is the sidecar's to
give. UIDs come from the contents, so that the same upload again is the same study.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DSfloat

from engine.model import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, uid_from
from engine.package.files import PackageFile
from engine.package.gradients import Gradient
from engine.package.nifti_voxels import Looked, slices_of

if TYPE_CHECKING:
    from engine.channel import Landing

_FORM = "1"  # of these data sets: another form has other UIDs
_TO_PATIENT = np.array([-1.0, -1.0, 1.0])  # right-anterior-superior to left-posterior-superior


@dataclass(frozen=True, slots=True)
class SliceInstance:
    """One slice; `engine.package.instances.PackagedInstance`."""

    sop_class_uid: str
    sop_instance_uid: str
    content: bytes

    def write_to(self, landing: Landing) -> None:
        """The DICOM file."""
        landing.write(self.content)


@dataclass(frozen=True, slots=True)
class NiftiStudy:
    """The study that an image becomes."""

    file: PackageFile
    looked: Looked
    gradients: tuple[Gradient, ...]
    identity: str  # of all its contents

    @property
    def study_instance_uid(self) -> str:
        """The same for the same contents."""
        return self._uid("study")

    @property
    def count(self) -> int:
        """Instances."""
        return self.looked.header.shape[2] * self.looked.header.shape[3]

    def instances(self) -> Iterator[SliceInstance]:
        """One slice after the other, in the order of the file."""
        common = self._common()
        slices = self.looked.header.shape[2]
        for index, voxels in enumerate(slices_of(self.file, self.looked)):
            volume, place = divmod(index, slices)
            image = Dataset()
            image.update(common)
            uid = self._uid("instance", str(index))
            image.SOPInstanceUID = UID(uid)
            image.InstanceNumber = index + 1
            image.AcquisitionNumber = image.TemporalPositionIdentifier = volume + 1
            image.ImagePositionPatient = _decimals(self._origin(place))
            _weight(image, self.gradients[volume])
            image.PixelData = voxels.tobytes()
            yield SliceInstance(MRImageStorage, uid, _file(image))

    def _uid(self, *names: str) -> str:
        return uid_from("nifti", _FORM, self.identity, *names)

    def _origin(self, place: int) -> NDArray[np.float64]:
        affine = self.looked.header.affine
        origin: NDArray[np.float64] = (affine[:, 2] * place + affine[:, 3]) * _TO_PATIENT
        return origin

    def _common(self) -> Dataset:
        header = self.looked.header
        spacing = np.linalg.norm(header.affine[:, :3], axis=0)
        axes = header.affine[:, :3] / spacing * _TO_PATIENT[:, None]
        image = Dataset()
        for keyword in (
            *(
                "PatientName",
                "PatientID",
                "PatientBirthDate",
                "PatientSex",
                "StudyDate",
                "StudyTime",
                "StudyID",
            ),
            *("AccessionNumber", "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator"),
            *("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength", "SliceThickness"),
        ):
            setattr(image, keyword, "" if keyword != "EchoTime" else None)
        image.SOPClassUID = MRImageStorage
        image.StudyInstanceUID = self.study_instance_uid
        image.SeriesInstanceUID = self._uid("series")
        image.FrameOfReferenceUID = self._uid("frame of reference")
        image.SeriesNumber = 1
        image.Modality = "MR"
        image.SeriesDescription = "Diffusion (NIfTI)"
        image.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "NONE"]
        image.DerivationDescription = "NIfTI as DICOM, voxels unchanged"
        image.ScanningSequence, image.SequenceVariant = "RM", "NONE"  # what was run is not told
        image.NumberOfTemporalPositions = header.shape[3]
        if header.repetition_time is not None:
            image.RepetitionTime = DSfloat(header.repetition_time, auto_format=True)
        image.ImageOrientationPatient = _decimals(np.concatenate([axes[:, 0], axes[:, 1]]))
        image.PixelSpacing = _decimals(spacing[[1, 0]])  # between rows, between columns
        image.SpacingBetweenSlices = DSfloat(float(spacing[2]), auto_format=True)
        image.Columns, image.Rows = header.shape[:2]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit = 15
        image.PixelRepresentation = int(self.looked.image.kind == "i")
        if (header.slope, header.intercept) != (1.0, 0.0):
            image.RescaleSlope = DSfloat(header.slope, auto_format=True)
            image.RescaleIntercept = DSfloat(header.intercept, auto_format=True)
            image.RescaleType = "US"
        return image


def _weight(image: Dataset, gradient: Gradient) -> None:
    image.DiffusionBValue = gradient.b_value
    image.DiffusionDirectionality = "NONE" if gradient.direction is None else "DIRECTIONAL"
    if gradient.direction is not None:
        image.DiffusionGradientOrientation = list(gradient.direction)


def _decimals(numbers: NDArray[np.float64]) -> list[DSfloat]:
    return [DSfloat(float(number) + 0.0, auto_format=True) for number in numbers]


def _file(image: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    image.file_meta = meta
    made = BytesIO()
    image.save_as(made, enforce_file_format=True)
    return made.getvalue()
