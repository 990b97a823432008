"""Reading planes: pydicom's own test images in several syntaxes, and an enhanced object."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from engine.errors import ProcessorFailed
from engine.model import Finding, Report
from engine.processors.quality.__main__ import measure
from engine.processors.quality.frames import ENHANCED_MR_IMAGE, Frame, read
from engine.processors.quality.pixels import PixelReader, Undecodable
from engine.processors.quality.protocol import load_protocol
from engine.processors.quality_control import PACKAGED_PROTOCOL


def frame_of(name: str, folder: Path) -> Frame:
    source = get_testdata_file(name)
    assert isinstance(source, str)
    shutil.copy(source, folder / name)
    (frame,) = read(folder, 10).frames
    return frame


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_one_image_reads_the_same_in_every_syntax(name: str, tmp_path: Path) -> None:
    expected = dcmread(str(get_testdata_file("MR_small.dcm"))).pixel_array
    assert np.array_equal(PixelReader().stored(frame_of(name, tmp_path)), expected)


def test_a_truncated_image_is_undecodable(tmp_path: Path) -> None:
    with pytest.raises(Undecodable, match="shorter than its header says"):
        PixelReader().stored(frame_of("MR_truncated.dcm", tmp_path))


def test_bits_above_the_stored_ones_are_no_signal(pristine_phantom: Path, tmp_path: Path) -> None:
    dataset = dcmread(pristine_phantom / "001-004.dcm")
    expected = dataset.pixel_array
    dataset.PixelData = (expected | 0x8000).astype("<u2").tobytes()
    dataset.save_as(tmp_path / "overlay.dcm")
    (frame,) = read(tmp_path, 10).frames
    assert np.array_equal(PixelReader().stored(frame), expected)


def test_signed_values_keep_their_sign(pristine_phantom: Path, tmp_path: Path) -> None:
    dataset = dcmread(pristine_phantom / "001-004.dcm")
    expected = dataset.pixel_array.astype("<i2") - 500
    dataset.PixelRepresentation = 1
    dataset.PixelData = (expected & 0x0FFF).astype("<u2").tobytes()  # twelve bits, the sign in the twelfth
    dataset.save_as(tmp_path / "signed.dcm")
    (frame,) = read(tmp_path, 10).frames
    assert np.array_equal(PixelReader().stored(frame), expected)


def enhanced(files: list[Path]) -> Dataset:
    """The same series as one Enhanced MR object, its frames volume by volume."""
    images = [dcmread(path) for path in files]
    made = Dataset()
    for element in images[0]:
        if element.tag.group in (0x0008, 0x0010, 0x0020, 0x0028):
            made[element.tag] = element
    made.file_meta = images[0].file_meta
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = ENHANCED_MR_IMAGE
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "AcquisitionTime"):
        delattr(made, keyword)
    made.NumberOfFrames = len(images)
    made.SharedFunctionalGroupsSequence = [shared_groups(images[0])]
    made.PerFrameFunctionalGroupsSequence = [frame_groups(image) for image in images]
    made.PixelData = b"".join(image.PixelData for image in images)
    made["PixelData"].VR = "OW"
    return made


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def shared_groups(image: Dataset) -> Dataset:
    return item(
        PixelMeasuresSequence=[item(PixelSpacing=image.PixelSpacing, SliceThickness=image.SliceThickness)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=image.ImageOrientationPatient)],
        MRTimingAndRelatedParametersSequence=[
            item(RepetitionTime=image.RepetitionTime, FlipAngle=image.FlipAngle)
        ],
        MREchoSequence=[item(EffectiveEchoTime=float(image.EchoTime))],
        MRFOVGeometrySequence=[item(InPlanePhaseEncodingDirection="COLUMN")],
    )


def frame_groups(image: Dataset) -> Dataset:
    diffusion = item(DiffusionBValue=image.DiffusionBValue)
    if "DiffusionGradientOrientation" in image:
        direction = item(DiffusionGradientOrientation=image.DiffusionGradientOrientation)
        diffusion.DiffusionGradientDirectionSequence = [direction]
    return item(
        FrameContentSequence=[
            item(
                TemporalPositionIndex=int(image.TemporalPositionIdentifier),
                FrameAcquisitionDateTime=f"{image.AcquisitionDate}{image.AcquisitionTime}",
            )
        ],
        PlanePositionSequence=[item(ImagePositionPatient=image.ImagePositionPatient)],
        MRDiffusionSequence=[diffusion],
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_an_enhanced_object_gives_the_numbers_of_its_single_frames(
    phantom: Path,
    tmp_path: Path,
    compressed: bool,
    by_name: Callable[[Report], dict[str, list[Finding]]],
) -> None:
    protocol = load_protocol(PACKAGED_PROTOCOL)
    made = enhanced(sorted(phantom.rglob("*.dcm")))
    if compressed:
        made.compress(RLELossless)
    (tmp_path / "enhanced").mkdir()
    dcmwrite(tmp_path / "enhanced" / "one.dcm", made, enforce_file_format=True)
    (tmp_path / "out").mkdir()
    single = by_name(measure(phantom, tmp_path / "out", protocol, 100))
    multi = by_name(measure(tmp_path / "enhanced", tmp_path / "out", protocol, 100))
    assert single.pop("Transfer syntax")[0].concept == multi.pop("Transfer syntax")[0].concept
    assert multi == single
    assert multi["Number of volumes"][0].value == Decimal(10)


def test_an_enhanced_object_counts_by_its_frames(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "enhanced").mkdir()
    made = enhanced(sorted(phantom.rglob("*.dcm")))
    dcmwrite(tmp_path / "enhanced" / "one.dcm", made, enforce_file_format=True)
    with pytest.raises(ProcessorFailed, match="more image planes than max_frames"):
        read(tmp_path / "enhanced", 79)
