"""A diffusion image in NIfTI becomes MR images: the same voxels, in the same place, of the same weighting."""

from __future__ import annotations

import gzip
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.errors import PackageRefused, PackageRefusedReason
from engine.processors.quality.frames import read
from engine.processors.quality.volumes import stack
from tests.engine.package.nifti_files import (
    AFFINE,
    B_VALUES,
    DIRECTIONS,
    b_values,
    b_vectors,
    nifti,
    package,
    volumes,
)
from tests.engine.package.packing import data_sets, landed, opened
from tests.peers.process import binary

TO_PATIENT = np.array([-1.0, -1.0, 1.0])
TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def place(image: Dataset, row: int, column: int) -> np.ndarray:
    """Where a pixel is, in the patient (PS3.3 C.7.6.2.1.1)."""
    along = np.array(image.ImageOrientationPatient, float)
    between_rows, between_columns = (float(number) for number in image.PixelSpacing)
    origin = np.array(image.ImagePositionPatient, float)
    return origin + along[:3] * between_columns * column + along[3:] * between_rows * row


def direction(affine: np.ndarray, vector: tuple[float, ...]) -> np.ndarray:
    """A vector of a `.bvec` in the patient: its first part counts to the left, whichever way it is stored."""
    x, y, z = vector
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    first = -x if np.linalg.det(axes) > 0 else x
    return (axes[:, 0] * first + axes[:, 1] * y + axes[:, 2] * z) * TO_PATIENT


def refusal(path: Path, **limits: int) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        opened(path, **limits)
    return caught.value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_voxels_are_exact(tmp_path: Path, kind: str, version: int, order: str) -> None:
    voxels = volumes(kind)
    images = data_sets(opened(package(tmp_path, nifti(voxels, version=version, order=order))))
    assert len(images) == 12
    for index, image in enumerate(images):
        assert np.array_equal(image.pixel_array, voxels[:, :, index % 3, index // 3].T)
        assert image.InstanceNumber == index + 1
        assert image.TemporalPositionIdentifier == index // 3 + 1
        assert image.RepetitionTime == 8500


@pytest.mark.parametrize(
    "affine",
    [AFFINE, AFFINE @ np.diag([-1, 1, 1, 1]), TURN @ AFFINE, TURN @ AFFINE @ np.diag([1, -1, -1, 1])],
)
def test_each_voxel_stays_in_its_place_and_gradients_turn_with_the_image(
    tmp_path: Path, affine: np.ndarray
) -> None:
    images = data_sets(opened(package(tmp_path, nifti(volumes(), affine))))

    for index, image in enumerate(images):
        k, volume = index % 3, index // 3
        for i, j in ((0, 0), (4, 0), (0, 3), (2, 1)):
            expected = (affine @ [i, j, k, 1])[:3] * TO_PATIENT
            assert place(image, j, i) == pytest.approx(expected, abs=1e-4)
        assert image.DiffusionBValue == B_VALUES[volume]
        if volume == 0:
            assert image.DiffusionDirectionality == "NONE"
            assert "DiffusionGradientOrientation" not in image
        else:
            expected = direction(affine, DIRECTIONS[volume])
            assert list(image.DiffusionGradientOrientation) == pytest.approx(list(expected), abs=1e-6)


def test_the_qform_counts_where_there_is_no_sform(tmp_path: Path) -> None:
    # Half a turn about the second axis, and the third axis reversed (pixdim[0]): i left, j front, k up.
    image = nifti(
        volumes(), codes=(1, 0), placing=(0, 1, 0, 90, -126, -72), pixdim=(-1, 2, 2, 3, 8.5, 0, 0, 0)
    )
    [first, *_] = data_sets(opened(package(tmp_path, image)))
    assert first.ImageOrientationPatient == [1, 0, 0, 0, -1, 0]
    assert place(first, 1, 1) == pytest.approx([-88, 124, -72])


def test_scaling_is_told_and_voxels_stay(tmp_path: Path) -> None:
    [image, *_] = data_sets(opened(package(tmp_path, nifti(volumes(), scaling=(1.5, -2.0)))))
    assert (image.RescaleSlope, image.RescaleIntercept) == (1.5, -2.0)
    assert np.array_equal(image.pixel_array, volumes()[:, :, 0, 0].T)


def test_the_same_upload_is_the_same_study_and_another_is_another(tmp_path: Path) -> None:
    image = nifti(volumes())
    plain = landed(opened(package(tmp_path, image)))
    assert landed(opened(package(tmp_path, gzip.compress(image), "other.nii.gz"))) == plain
    with_sidecar = opened(package(tmp_path, image, json=b'{"PatientAge": 45}'))
    assert with_sidecar.metadata == {"PatientAge": "045Y"}
    assert landed(with_sidecar) == plain
    other = opened(package(tmp_path, image, bval=b_values((0, 900, 900, 900))))
    assert other.study_instance_uid != with_sidecar.study_instance_uid
    other.close()


def test_quality_control_sees_the_volumes(tmp_path: Path) -> None:
    for number, content in enumerate(landed(opened(package(tmp_path, nifti(volumes()))))):
        (tmp_path / f"{number}.dcm").write_bytes(content)
    seen = stack(read(tmp_path, 100).frames)
    assert [volume.b_value for volume in seen.volumes] == list(B_VALUES)
    assert (seen.spacing, seen.missing, seen.duplicates, seen.shear) == (3.0, 0, 0, 0.0)


@pytest.mark.peers
def test_dcm2niix_makes_the_same_image_of_it_again(tmp_path: Path) -> None:
    affine = TURN @ AFFINE
    (tmp_path / "dicom").mkdir()
    for number, content in enumerate(landed(opened(package(tmp_path, nifti(volumes(), affine))))):
        (tmp_path / "dicom" / f"{number}.dcm").write_bytes(content)
    command = [binary("dcm2niix", "dcm2niix"), "-z", "n", "-b", "n", "-f", "again", "-o", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "dicom")], check=True, capture_output=True, timeout=60)

    again = (tmp_path / "again.nii").read_bytes()
    placed = np.vstack([np.frombuffer(again, "<f4", 12, 280).reshape(3, 4), [0, 0, 0, 1]]).astype(float)
    voxels = np.frombuffer(again, "<i2", offset=352).reshape((5, 4, 3, 4), order="F")
    for index in np.ndindex(5, 4, 3):  # it may run along its axes the other way
        i, j, k, _ = np.rint(np.linalg.inv(affine) @ placed @ [*index, 1]).astype(int)
        assert np.array_equal(voxels[index], volumes()[i, j, k])
    assert list(np.loadtxt(tmp_path / "again.bval")) == list(B_VALUES)
    for found, vector in zip(np.loadtxt(tmp_path / "again.bvec").T, DIRECTIONS, strict=True):
        assert list(direction(placed, found)) == pytest.approx(list(direction(affine, vector)), abs=1e-5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "no NIfTI-1 or NIfTI-2 file"),
        (nifti(volumes()).replace(b"n+1", b"ni1"), "no NIfTI-1 or NIfTI-2 file"),
        (nifti(volumes(), datatype=128), "voxels are of type 128"),
        (nifti(volumes("f4") + np.float32(0.5)), "would have to be rounded"),
        (nifti(volumes("f4") * np.float32(np.nan)), "would have to be rounded"),
        (nifti(volumes("i4") + np.int32(70_000)), "do not fit into 16 bits"),
        (nifti(volumes(), codes=(0, 0)), "left and right would be a guess"),
        (nifti(volumes(), AFFINE + np.diag([1.0, 0, 0], 1)), "not square to each other"),
        (nifti(volumes(), AFFINE * np.nan), "numbers that mean nothing"),
        (nifti(volumes(shape=(5, 4))), "three dimensions of space"),
        (nifti(volumes(shape=(5, 4, 3, 1, 4))), "three dimensions of space"),
        (nifti(volumes()) + b"x", "more bytes than its header says"),
    ],
)
def test_an_image_that_cannot_stay_unchanged_is_refused(tmp_path: Path, image: bytes, words: str) -> None:
    refused = refusal(package(tmp_path, image))
    assert refused.reason == PackageRefusedReason.NIFTI
    assert words in str(refused)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"bval": b""}, "needs one .bval file"),
        ({"bvec": b""}, "needs one .bvec file"),
        ({"bvals": b_values()}, "needs one .bval file of at most 1 MB beside it; there are 2"),
        ({"bval": b_values((0, 1000))}, "there are 2 b-values for 4 volumes"),
        ({"bval": b"0, 1000, 1000, 1000"}, "not numbers with spaces"),
        ({"bval": b"0 -5 1000 1000"}, "below 0"),
        ({"bvec": b"0 nan 0 1\n0 0 0 0\n0 0 0 0"}, "a number that is none"),
        ({"bvec": b_vectors([*DIRECTIONS, (1.0, 0.0, 0.0)])}, "not three lines of 4 numbers"),
        (
            {"bvec": b_vectors([*DIRECTIONS[:3], (0.5, 0.0, 0.0)])},
            "volume 4 has a b-value of 2000 and a vector",
        ),
        ({"bvec": b_vectors([*DIRECTIONS[:3], (0.0, 0.0, 0.0)])}, "a vector of length 0"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    refused = refusal(package(tmp_path, nifti(volumes()), **files))
    assert refused.reason == PackageRefusedReason.GRADIENTS
    assert words in str(refused)


def test_vectors_may_stand_below_each_other(tmp_path: Path) -> None:
    below = "\n".join(" ".join(map(str, direction)) for direction in DIRECTIONS).encode()
    images = data_sets(opened(package(tmp_path, nifti(volumes()), bvec=below)))
    expected = data_sets(opened(package(tmp_path, nifti(volumes()))))
    assert [one.get("DiffusionGradientOrientation") for one in images] == [
        one.get("DiffusionGradientOrientation") for one in expected
    ]


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_packed_image_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    refused = refusal(package(tmp_path, gzip.compress(nifti(volumes()))[:-cut], "d.nii.gz"))
    assert refused.reason in (PackageRefusedReason.DAMAGED, PackageRefusedReason.NIFTI)


def test_an_image_has_the_limits_of_a_package(tmp_path: Path) -> None:
    path = package(tmp_path, nifti(volumes()))
    assert refusal(path, max_entries=11).reason == PackageRefusedReason.TOO_MANY
    huge = bytearray(nifti(volumes()))
    struct.pack_into("<5h", huge, 40, 4, 512, 512, 64, 4)
    assert refusal(package(tmp_path, bytes(huge))).reason == PackageRefusedReason.DAMAGED
    struct.pack_into("<5h", huge, 40, 4, 1024, 1024, 64, 4)
    refused = refusal(package(tmp_path, gzip.compress(huge), "d.nii.gz"))
    assert refused.reason == PackageRefusedReason.BOMB
    struct.pack_into("<5h", huge, 40, 4, 4096, 4096, 1, 4)
    refused = refusal(package(tmp_path, bytes(huge)))
    assert refused.reason == PackageRefusedReason.DAMAGED


def test_dicom_beside_nifti_and_two_images_are_refused(tmp_path: Path) -> None:
    image = nifti(volumes())
    assert "2 NIfTI images" in str(refusal(package(tmp_path, image, nii_=b"", **{"e.nii": image})))
    dicom = landed(opened(package(tmp_path, image)))[0]
    assert "beside NIfTI" in str(refusal(package(tmp_path, image, dcm=dicom)))
