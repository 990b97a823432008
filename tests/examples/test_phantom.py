"""The phantom: valid DICOM, the same each time, and what the diffusion protocol asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from examples.phantom import make_phantom

SMALL = {"slices": 4, "volumes": 5, "size": 32, "b0": 2}


def headers(files: list[Path]) -> list[Dataset]:
    return [dcmread(path) for path in files]


def test_a_phantom_is_one_series_of_distinct_instances(tmp_path: Path) -> None:
    images = headers(make_phantom(tmp_path, **SMALL))
    assert len(images) == 20
    assert len({image.SOPInstanceUID for image in images}) == 20
    assert len({(image.StudyInstanceUID, image.SeriesInstanceUID) for image in images}) == 1
    assert [image.InstanceNumber for image in images] == list(range(1, 21))


def test_the_same_arguments_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = (make_phantom(tmp_path / name, seed=5, **SMALL) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_another_seed_makes_another_study(tmp_path: Path) -> None:
    one, other = (headers(make_phantom(tmp_path / str(seed), seed=seed, **SMALL)) for seed in (1, 2))
    assert one[0].StudyInstanceUID != other[0].StudyInstanceUID
    assert one[0].SOPInstanceUID != other[0].SOPInstanceUID
    assert not np.array_equal(one[0].pixel_array, other[0].pixel_array)


def test_two_studies_of_a_given_uid_keep_it(tmp_path: Path) -> None:
    images = headers(make_phantom(tmp_path, study_instance_uid="1.2.3", **SMALL))
    assert {image.StudyInstanceUID for image in images} == {"1.2.3"}


def test_the_weighting_is_in_the_standards_attributes(tmp_path: Path) -> None:
    images = headers(make_phantom(tmp_path, **SMALL))[::4]
    assert [image.DiffusionBValue for image in images] == [0, 1000, 0, 1000, 1000]
    assert ["DiffusionGradientOrientation" in image for image in images] == [False, True, False, True, True]
    for image in images:
        if image.DiffusionBValue:
            assert np.linalg.norm(image.DiffusionGradientOrientation) == pytest.approx(1)


def test_water_that_moves_along_the_gradient_loses_signal(tmp_path: Path) -> None:
    unweighted, weighted = (
        dcmread(path).pixel_array.astype(float)
        for path in make_phantom(tmp_path, slices=1, volumes=2, size=64, b0=1)
    )
    ventricle = (slice(30, 34), slice(31, 33))
    assert unweighted[ventricle].mean() > 1300
    assert weighted[ventricle].mean() < 0.1 * unweighted[ventricle].mean()


def test_the_order_facts_are_those_given(tmp_path: Path) -> None:
    path = make_phantom(
        tmp_path,
        slices=1,
        volumes=1,
        size=16,
        b0=1,
        patient_id="P-7",
        patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう",
        accession_number="ACC-7",
        referring_physician="Müller^Jürgen",
    )[0]
    image = dcmread(path)
    assert (image.PatientID, image.AccessionNumber) == ("P-7", "ACC-7")
    assert image.SpecificCharacterSet == "ISO_IR 192"
    assert image.PatientName.ideographic == "山田^太郎"
    assert image.PatientName.phonetic == "やまだ^たろう"
    assert str(image.ReferringPhysicianName) == "Müller^Jürgen"
    assert "dti" in image.SeriesDescription
    assert (image.PatientAge, image.PatientSex, image.BodyPartExamined) == ("045Y", "F", "BRAIN")
    assert image.StudyDescription


@pytest.mark.judges
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    files = make_phantom(tmp_path, patient_name="Müller^Jürgen=山田^太郎", **SMALL)
    for path in (files[0], files[-1]):
        judged = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        said = judged.stdout + judged.stderr
        assert "MRImage" in said
        assert [line for line in said.splitlines() if line.startswith("Error")] == []


@pytest.mark.judges
def test_dcentvfy_finds_one_consistent_study(tmp_path: Path) -> None:
    files = make_phantom(tmp_path, **SMALL)
    judged = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")] == []


def test_the_command_line_writes_it_and_counts(tmp_path: Path) -> None:
    options = ["--slices", "2", "--volumes", "3", "--size", "16", "--b0", "1", "--patient-id", "P-9"]
    ended = subprocess.run(
        [sys.executable, "-m", "examples.phantom", str(tmp_path / "out"), *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ended.stdout.startswith("6 instances, ")
    assert {dcmread(path).PatientID for path in (tmp_path / "out").iterdir()} == {"P-9"}


@pytest.mark.parametrize("wrong", [{"slices": 0}, {"volumes": 0, "b0": 0}, {"size": 8}, {"b0": 6}])
def test_numbers_that_make_no_series_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a phantom needs"):
        make_phantom(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()
