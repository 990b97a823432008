"""Each measure answers to the one fault it is for: a phantom is spoilt, the number moves."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from engine.errors import ProcessorFailed
from engine.model import Code, Finding, Flag, Report
from engine.processors.quality.__main__ import measure
from engine.processors.quality.protocol import load_protocol
from engine.processors.quality_control import PACKAGED_PROTOCOL

Measure = Callable[[], dict[str, list[Finding]]]
Pixels = NDArray[np.uint16]


@pytest.fixture
def report(phantom: Path, tmp_path: Path) -> Callable[[], Report]:
    """A function that measures the phantom as it now lies on disk."""
    (tmp_path / "out").mkdir()
    return lambda: measure(phantom, tmp_path / "out", load_protocol(PACKAGED_PROTOCOL), 1000)


@pytest.fixture
def findings(report: Callable[[], Report], by_name: Callable[[Report], dict[str, list[Finding]]]) -> Measure:
    return lambda: by_name(report())


def number(findings: dict[str, list[Finding]], name: str) -> Decimal:
    (finding,) = findings[name]
    assert isinstance(finding.value, Decimal)
    return finding.value


def flag(findings: dict[str, list[Finding]], name: str) -> Flag | None:
    (finding,) = findings[name]
    return finding.flag


def edit(phantom: Path, pattern: str, change: Callable[[Dataset], None]) -> None:
    """Change the data set of every file whose name matches."""
    for path in sorted(phantom.rglob(pattern)):
        dataset = dcmread(path)
        change(dataset)
        dataset.save_as(path)


def repaint(phantom: Path, pattern: str, change: Callable[[Pixels], NDArray[np.generic]]) -> None:
    """Change the pixels of every file whose name matches; values stay within 12 bits."""

    def paint(dataset: Dataset) -> None:
        changed = np.clip(change(dataset.pixel_array), 0, 4095).astype("<u2")
        dataset.PixelData = changed.tobytes()

    edit(phantom, pattern, paint)


# ── completeness ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "lost",
    [
        ["002-003.dcm"],  # of a weighted volume
        ["001-003.dcm"],  # of an unweighted one, where a second volume has the same weighting
        ["002-001.dcm", "003-008.dcm", "010-004.dcm"],  # at both ends and inside
    ],
)
def test_a_lost_slice_is_missed(phantom: Path, findings: Measure, lost: list[str]) -> None:
    for name in lost:
        (phantom / "1.2.3" / name).unlink()
    found = findings()
    assert number(found, "Missing slices") == len(lost)
    assert flag(found, "Missing slices") is Flag.HIGH
    assert number(found, "Duplicate slices") == 0
    assert number(found, "Number of volumes") == 10


def test_a_place_that_no_volume_has_is_missed_in_every_volume(phantom: Path, findings: Measure) -> None:
    for path in phantom.rglob("*-004.dcm"):
        path.unlink()
    found = findings()
    assert number(found, "Missing slices") == 10
    assert number(found, "Slice count") == 8
    assert number(found, "Spacing between slices") == 2


@pytest.mark.parametrize("twice", ["001-003", "002-003"])  # unweighted, weighted
def test_a_slice_that_is_there_twice_is_counted(phantom: Path, findings: Measure, twice: str) -> None:
    dataset = dcmread(phantom / "1.2.3" / f"{twice}.dcm")
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.save_as(phantom / "1.2.3" / "copy.dcm")
    found = findings()
    assert number(found, "Duplicate slices") == 1
    assert flag(found, "Duplicate slices") is Flag.HIGH
    assert number(found, "Missing slices") == 0
    assert number(found, "Number of volumes") == 10


def test_unweighted_volumes_are_told_apart_by_instance_number_alone(phantom: Path, findings: Measure) -> None:
    def forget(dataset: Dataset) -> None:
        del dataset.TemporalPositionIdentifier
        del dataset.AcquisitionNumber

    edit(phantom, "*.dcm", forget)
    found = findings()
    assert number(found, "Number of b0 images") == 2
    assert number(found, "Number of volumes") == 10
    assert number(found, "Missing slices") == 0


# ── geometry ────────────────────────────────────────────────────────────────────────────────────


def test_a_stack_whose_slices_drift_sideways_is_sheared(phantom: Path, findings: Measure) -> None:
    def drift(dataset: Dataset) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, float(y) + 0.25 * float(z), z]

    edit(phantom, "*.dcm", drift)
    found = findings()
    assert number(found, "Stack shear") == Decimal("14.04")  # atan 0.25
    assert flag(found, "Stack shear") is Flag.HIGH
    assert number(found, "Missing slices") == 0


def test_an_oblique_stack_is_not_sheared(phantom: Path, findings: Measure) -> None:
    cosine, sine = 0.8, 0.6

    def tilt(dataset: Dataset) -> None:
        x, y, z = (float(part) for part in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, cosine * y - sine * z, sine * y + cosine * z]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, cosine, sine]

    edit(phantom, "*.dcm", tilt)
    found = findings()
    assert number(found, "Stack shear") == 0
    assert number(found, "Orientation spread") == 0
    assert number(found, "Spacing between slices") == 2


def test_one_slice_of_another_orientation_is_noticed(phantom: Path, findings: Measure) -> None:
    def turn(dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.9961947, 0.0871557]  # five degrees

    edit(phantom, "004-004.dcm", turn)
    found = findings()
    assert number(found, "Orientation spread") == 5
    assert flag(found, "Orientation spread") is Flag.HIGH


def test_a_gap_is_spacing_less_thickness(phantom: Path, findings: Measure) -> None:
    def thin(dataset: Dataset) -> None:
        dataset.SliceThickness = 1.5

    edit(phantom, "*.dcm", thin)
    found = findings()
    assert number(found, "Gap between slices") == Decimal("0.500")
    assert flag(found, "Gap between slices") is Flag.HIGH
    assert flag(found, "Slice Thickness") is Flag.LOW


# ── acquisition and diffusion scheme ────────────────────────────────────────────────────────────


def test_a_series_that_disagrees_with_itself_shows_both_values(phantom: Path, findings: Measure) -> None:
    def prolong(dataset: Dataset) -> None:
        dataset.EchoTime = 120

    edit(phantom, "003-*.dcm", prolong)
    found = findings()["Echo time"]
    assert [(str(one.value), one.flag) for one in found] == [("80.00", Flag.NORMAL), ("120.00", Flag.HIGH)]


def test_slices_in_ascending_order_are_not_interleaved(phantom: Path, findings: Measure) -> None:
    def in_order(dataset: Dataset) -> None:
        dataset.AcquisitionTime = f"0930{int(dataset.InstanceNumber) % 8:02d}.0"

    assert [one.value for one in findings()["Slice acquisition order"]] == ["interleaved"]
    edit(phantom, "*.dcm", in_order)
    # Instance numbers run 1 to 8 within a volume, so the eighth wraps round to the first second.
    found = findings()["Slice acquisition order"]
    assert [(one.value, one.flag) for one in found] == [("sequential", Flag.ABNORMAL)]


def test_an_unexpected_b_value_is_flagged_and_the_expected_are_not(phantom: Path, findings: Measure) -> None:
    def strengthen(dataset: Dataset) -> None:
        dataset.DiffusionBValue = 2000

    edit(phantom, "005-*.dcm", strengthen)
    found = findings()["Source image diffusion b-value"]
    assert [(str(one.value), one.flag) for one in found] == [
        ("0", Flag.NORMAL),
        ("1000", Flag.NORMAL),
        ("2000", Flag.ABNORMAL),
    ]


def test_opposite_directions_are_one_axis(phantom: Path, findings: Measure) -> None:
    before = number(findings(), "Number of diffusion directions")
    third = dcmread(phantom / "1.2.3" / "003-001.dcm").DiffusionGradientOrientation

    def oppose(dataset: Dataset) -> None:
        dataset.DiffusionGradientOrientation = [-part for part in third]

    edit(phantom, "002-*.dcm", oppose)
    found = findings()
    assert before == 8
    assert number(found, "Number of diffusion directions") == 7
    assert number(found, "Number of volumes") == 10


def test_a_series_without_any_b_value_fails_the_rules_that_need_one(
    phantom: Path, report: Callable[[], Report]
) -> None:
    def forget(dataset: Dataset) -> None:
        for keyword in ("DiffusionBValue", "DiffusionGradientOrientation", "DiffusionDirectionality"):
            if keyword in dataset:
                delattr(dataset, keyword)

    edit(phantom, "*.dcm", forget)
    said = report()
    assert "source image diffusion b-value, number of b0 images, number of diffusion directions" in (
        said.impression
    )
    assert "Number of b0 images is required but missing: the images do not state it." in said.narrative


@pytest.mark.parametrize(
    ("stated", "birth_date", "years", "comment"),
    [
        ("045Y", "", "45", ""),
        ("097Y", "", "90", "90 or older"),  # normalised
        ("030M", "", "2", ""),
        ("003W", "", "0", ""),
        ("", "19800116", "45", ""),  # the day before the birthday, studied 2026-01-15
        ("", "19800115", "46", ""),
    ],
)
def test_age_is_whole_years(
    phantom: Path, findings: Measure, stated: str, birth_date: str, years: str, comment: str
) -> None:
    def grow(dataset: Dataset) -> None:
        dataset.PatientAge, dataset.PatientBirthDate = stated, birth_date

    edit(phantom, "*.dcm", grow)
    (finding,) = findings()["Subject Age"]
    assert (str(finding.value), finding.comment) == (years, comment)


@pytest.mark.parametrize("sex", ["", "W"])  # absent; a term that PS3.3 does not define
def test_age_and_sex_are_required(phantom: Path, report: Callable[[], Report], sex: str) -> None:
    def forget(dataset: Dataset) -> None:
        dataset.PatientAge = dataset.PatientBirthDate = ""
        dataset.PatientSex = sex

    edit(phantom, "*.dcm", forget)
    assert "subject age, subject sex" in report().impression


def test_sex_is_coded(findings: Measure) -> None:
    (finding,) = findings()["Subject Sex"]
    assert finding.value == Code(value="F", scheme="DCM", meaning="Female")


# ── image quality ───────────────────────────────────────────────────────────────────────────────


def test_snr_is_signal_over_sigma_and_falls_with_noise(phantom: Path, findings: Measure) -> None:
    random = np.random.default_rng(7)

    def disturb(pixels: Pixels) -> NDArray[np.generic]:
        more = random.normal(0, 60, (2, *pixels.shape))
        return np.hypot(pixels + more[0], more[1])

    before = number(findings(), "SNR of b0 images")
    repaint(phantom, "*.dcm", disturb)
    after = findings()
    # Sigma is 12 in the phantom, and the root of 12 squared plus 60 squared is 61.2: five times as much.
    assert 4 < before / number(after, "SNR of b0 images") < 6
    assert 2 < number(after, "SNR of diffusion-weighted images") < 8


def test_blanked_air_gives_the_noise_of_a_difference_image(phantom: Path, findings: Measure) -> None:
    with_air = number(findings(), "SNR of b0 images")
    repaint(phantom, "*.dcm", lambda pixels: np.where(pixels < 120, 0, pixels))
    (finding,) = findings()["SNR of b0 images"]
    assert isinstance(finding.value, Decimal)
    assert abs(finding.value / with_air - 1) < Decimal("0.2")
    assert "difference of two b0 images" in finding.comment


def test_a_ghost_along_the_phase_encoding_direction_raises_the_ghost_ratio(
    phantom: Path, findings: Measure
) -> None:
    before = number(findings(), "Ghost ratio")
    repaint(phantom, "*.dcm", lambda pixels: pixels + 0.15 * np.roll(pixels, pixels.shape[0] // 2, axis=0))
    found = findings()
    assert before < 3
    assert number(found, "Ghost ratio") > 3 * before
    assert flag(found, "Ghost ratio") is Flag.HIGH


def test_a_moved_head_is_measured_in_millimetres(phantom: Path, findings: Measure) -> None:
    before = findings()
    repaint(phantom, "005-*.dcm", lambda pixels: np.roll(pixels, (3, 4), axis=(0, 1)))
    found = findings()
    assert number(before, "Displacement between volumes") < Decimal("0.5")
    assert abs(number(found, "Displacement between volumes") - 10) < Decimal("0.5")  # 3, 4 voxels of 2 mm
    assert flag(found, "Displacement between volumes") is Flag.HIGH
    assert number(found, "Correlation between volumes") < number(before, "Correlation between volumes")


def test_blurring_raises_the_entropy_focus_criterion(phantom: Path, findings: Measure) -> None:
    def blur(pixels: Pixels) -> NDArray[np.generic]:
        return sum(np.roll(pixels.astype(float), shift, axis=0) for shift in range(-4, 5)) / 9

    before = number(findings(), "Entropy focus criterion")
    repaint(phantom, "*.dcm", blur)
    assert 0 < before < number(findings(), "Entropy focus criterion") <= 1


def test_a_slice_that_lost_its_signal_is_a_dropout(phantom: Path, findings: Measure) -> None:
    assert number(findings(), "Slices with signal dropout") == 0
    repaint(phantom, "004-00[45].dcm", lambda pixels: pixels // 4)
    found = findings()
    assert number(found, "Slices with signal dropout") == 2
    assert flag(found, "Slices with signal dropout") is Flag.HIGH


def test_a_missing_slice_is_no_dropout(phantom: Path, findings: Measure) -> None:
    (phantom / "1.2.3" / "004-004.dcm").unlink()
    assert number(findings(), "Slices with signal dropout") == 0


def test_saturated_voxels_are_clipped(phantom: Path, findings: Measure) -> None:
    before = number(findings(), "Clipped voxels")
    repaint(phantom, "*.dcm", lambda pixels: np.minimum(pixels, 500))
    found = findings()
    assert before < Decimal("0.1")
    assert number(found, "Clipped voxels") > 10
    assert flag(found, "Clipped voxels") is Flag.HIGH


# ── what is left out, and what cannot be read ───────────────────────────────────────────────────


def test_another_series_is_left_out_and_said_so(phantom: Path, report: Callable[[], Report]) -> None:
    def other(dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = "1.2.3.4"
        del dataset.DiffusionBValue

    edit(phantom, "001-*.dcm", other)
    assert "1 other MR series left out." in report().narrative


def test_instances_of_other_classes_are_left_out_and_counted(
    phantom: Path, report: Callable[[], Report]
) -> None:
    def other(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.66")

    edit(phantom, "001-*.dcm", other)
    assert "8 instances that are no MR images left out." in report().narrative


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "Rows"])
def test_an_image_without_geometry_is_named(
    phantom: Path, report: Callable[[], Report], keyword: str
) -> None:
    edit(phantom, "003-002.dcm", lambda dataset: delattr(dataset, keyword))
    with pytest.raises(ProcessorFailed, match=r"instance 003-002: .* missing or malformed"):
        report()


def test_an_image_without_extent_is_named(phantom: Path, report: Callable[[], Report]) -> None:
    edit(phantom, "003-002.dcm", lambda dataset: setattr(dataset, "Columns", 0))
    with pytest.raises(ProcessorFailed, match=r"instance 003-002: .* missing or malformed"):
        report()


def test_mosaics_are_refused_with_the_way_out(phantom: Path, report: Callable[[], Report]) -> None:
    def mosaic(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    edit(phantom, "003-002.dcm", mosaic)
    with pytest.raises(ProcessorFailed, match="mosaic of slices; export single-frame or Enhanced MR"):
        report()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_uncompressed_syntax_gives_the_same_numbers(
    phantom: Path, findings: Measure, syntax: UID
) -> None:
    before = findings()
    for path in phantom.rglob("*.dcm"):
        dataset = Dataset(dcmread(path))  # a plain data set may be written in another byte order
        dataset.file_meta = dcmread(path).file_meta
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset["PixelData"].VR = "OW"
            dataset.PixelData = dcmread(path).pixel_array.astype(">u2").tobytes()
        dcmwrite(path, dataset, enforce_file_format=True)
    after = findings()
    assert [one.value for one in after.pop("Transfer syntax")] == [str(syntax)]
    assert before.pop("Transfer syntax")
    assert after == before


@pytest.mark.parametrize(
    ("syntax", "verdict"),
    [(RLELossless, "warnings: "), (JPEG2000, "warnings: ")],
)
def test_some_compressed_syntaxes_are_taken_with_a_warning(
    phantom: Path, report: Callable[[], Report], syntax: UID, verdict: str
) -> None:
    def claim(dataset: Dataset) -> None:
        if syntax == RLELossless:
            dataset.compress(RLELossless)
        else:
            # Only the name of the syntax counts here: the pixels are beyond any decoder.
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset["PixelData"].is_undefined_length = True
            dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0\xff\x4f\xff\x51"

    edit(phantom, "*.dcm", claim)
    said = report()
    assert f"{verdict}transfer syntax" in said.impression
    assert "Warning: Transfer syntax is " + str(syntax) in said.narrative


def test_pixels_that_cannot_be_decoded_leave_the_headers_judged(
    phantom: Path, report: Callable[[], Report]
) -> None:
    def claim(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0\xff\xd8\xff\xd9"
        dataset["PixelData"].is_undefined_length = True

    edit(phantom, "*.dcm", claim)
    said = report()
    assert said.artefacts == ()
    assert "No montage: no decoder here reads transfer syntax 1.2.840.10008.1.2.4.70" in said.narrative
    assert "Not checked: ghost ratio (no decoder here reads" in said.narrative
    assert {one.value for one in said.findings if one.concept.meaning == "Echo time"} == {Decimal("80.00")}


def test_pixel_data_shorter_than_the_header_says_is_not_measured(
    phantom: Path, report: Callable[[], Report]
) -> None:
    def shorten(dataset: Dataset) -> None:
        dataset.PixelData = bytes(100)

    edit(phantom, "003-002.dcm", shorten)
    assert "the pixel data of instance 003-002 is shorter than its header says" in report().narrative
