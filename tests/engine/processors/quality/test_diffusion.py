"""b-values and directions as each vendor writes them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from engine.processors.quality.diffusion import Weighting, weighting


def standard(dataset: Dataset) -> None:
    dataset.DiffusionBValue = 1000.0
    dataset.DiffusionGradientOrientation = [0.0, 0.6, -0.8]


def functional_group(dataset: Dataset) -> None:
    group, direction = Dataset(), Dataset()
    direction.DiffusionGradientOrientation = [0.0, 0.6, -0.8]
    group.DiffusionBValue = 1000.0
    group.DiffusionGradientDirectionSequence = [direction]
    dataset.MRDiffusionSequence = [group]


def philips(dataset: Dataset, creator: str = "Philips Imaging DD 001") -> None:
    dataset.private_block(0x2001, creator, create=True).add_new(0x03, "FL", 1000.0)
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for element, part in ((0xB0, 0.0), (0xB1, 0.6), (0xB2, -0.8)):
        block.add_new(element, "FL", part)


def ge(dataset: Dataset) -> None:
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", [1000001000, 8, 0, 0])
    block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    for element, part in ((0xBB, "0"), (0xBC, "0.6"), (0xBD, "-0.8")):
        block.add_new(element, "DS", part)


def siemens(dataset: Dataset) -> None:
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0E, "FD", [0.0, 0.6, -0.8])


def siemens_as_unknown(dataset: Dataset) -> None:
    """What is left of the same elements after an archive has stored them as UN (PS3.5 6.2.2)."""
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "UN", b"1000")
    block.add_new(0x0E, "UN", struct.pack("<3d", 0.0, 0.6, -0.8))


def siemens_matrix(dataset: Dataset) -> None:
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x27, "FD", [0.0, 0.0, 0.0, 360.0, -480.0, 640.0])  # 1000 times the outer product


@pytest.mark.parametrize(
    "write", [standard, functional_group, philips, ge, siemens, siemens_as_unknown, siemens_matrix]
)
def test_every_vendor_says_the_same(write: Callable[[Dataset], None]) -> None:
    dataset = Dataset()
    write(dataset)
    found = weighting(dataset)
    assert found.b_value == 1000
    assert found.direction is not None
    sign = 1 if found.direction[1] > 0 else -1  # a matrix knows the axis, not its sign
    assert [sign * part for part in found.direction] == pytest.approx([0.0, 0.6, -0.8], abs=1e-6)


def test_the_standard_goes_before_the_vendor() -> None:
    dataset = Dataset()
    siemens(dataset)
    dataset.DiffusionBValue = 700.0
    assert weighting(dataset).b_value == 700


def test_an_element_under_another_private_creator_says_nothing() -> None:
    dataset = Dataset()
    philips(dataset, creator="Somebody else")
    assert weighting(dataset) == Weighting()


@pytest.mark.parametrize("vector", [[0.0, 0.0, 0.0], [float("nan"), 0.0, 1.0], [0.0, 1.0]])
def test_what_is_no_direction_is_none(vector: list[float]) -> None:
    dataset = Dataset()
    dataset.DiffusionBValue = 1000.0
    dataset.DiffusionGradientOrientation = vector
    assert weighting(dataset) == Weighting(b_value=1000.0)


def test_ge_leaves_a_stale_vector_on_unweighted_images() -> None:
    dataset = Dataset()
    ge(dataset)
    dataset.private_block(0x0043, "GEMS_PARM_01")[0x39].value = [0, 8, 0, 0]
    assert weighting(dataset) == Weighting(b_value=0.0)


def test_a_real_philips_image_agrees_with_itself(real_study: Path) -> None:
    dataset = dcmread(real_study / "00217.dcm", stop_before_pixels=True)
    by_standard = weighting(dataset)
    del dataset.DiffusionBValue
    del dataset.DiffusionGradientOrientation
    by_vendor = weighting(dataset)
    assert by_standard.b_value == by_vendor.b_value == 1000
    assert by_standard.direction == pytest.approx(by_vendor.direction, abs=1e-6)
    assert (by_standard.gradient_number, by_standard.gradients_planned) == (22, 65)
