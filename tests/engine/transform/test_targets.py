"""Which elements a name means, and names that mean none."""

from __future__ import annotations

import re

import pytest
from pydicom.dataset import Dataset

from engine.transform.targets import target


def holder() -> Dataset:
    dataset = Dataset()
    dataset.Modality = "MR"
    dataset.add_new(0x60000010, "US", 1)
    dataset.add_new(0x60020010, "US", 1)
    dataset.add_new(0x60023000, "OW", b"\0\0")
    block = dataset.private_block(0x0019, "ONE", create=True)
    block.add_new(0x0C, "LO", "a")
    block = dataset.private_block(0x0019, "TWO", create=True)
    block.add_new(0x0C, "LO", "b")
    return dataset


MEANT = [
    ("Modality", [0x00080060]),
    ("(0008,0060)", [0x00080060]),
    ("PatientName", []),
    ("(60xx,0010)", [0x60000010, 0x60020010]),
    ("(60xx,xxxx)", [0x60000010, 0x60020010, 0x60023000]),
    ("(6002,3000)", [0x60023000]),
    ('(0019,"ONE",0C)', [0x0019100C]),
    ('(0019,"TWO",0C)', [0x0019110C]),  # in whichever block it is
    ('(0019,"THREE",0C)', []),
    ("(0019,xxxx)", [0x00190010, 0x00190011, 0x0019100C, 0x0019110C]),
    ("private", [0x00190010, 0x00190011, 0x0019100C, 0x0019110C]),
]


@pytest.mark.parametrize(("name", "tags"), MEANT)
def test_a_name_means_these_elements(name: str, tags: list[int]) -> None:
    assert sorted(target(name).tags_in(holder())) == tags


MEANINGLESS = [
    ("Modalty", "did you mean 'Modality'"),
    ("(0010,xxxx)", "no group that repeats"),
    ("(00xx,0010)", "no group that repeats"),
    ("Modality.CodeValue", "no sequence"),
    ('(0019,"ONE",0C).CodeValue', "private sequence"),
    ("(0008,60)", "no tag"),
    ("", "no DICOM attribute"),
]


@pytest.mark.parametrize(("name", "why"), MEANINGLESS)
def test_a_name_that_means_nothing_is_refused_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        target(name)
