"""Data sets from attributes as a table writes them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import PonsError
from engine.given_data_set import data_set_of


def test_keywords_tags_paths_and_private_elements_become_elements() -> None:
    made = data_set_of(
        {
            "Modality": "MR",
            "(0018,9087)": 1000,
            "ImageType": ["ORIGINAL", "PRIMARY"],
            "EchoTime": 5.2,
            "Rows": 256,
            "ProcedureCodeSequence.CodeValue": "RPID21",
            "ProcedureCodeSequence.CodingSchemeDesignator": "RADLEX",
            '(0019,"SIEMENS MR HEADER",0C)': 1000,
            '(0019,"NOBODY KNOWS",01)': "x",
        }
    )
    assert made.DiffusionBValue == 1000.0
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert (made.EchoTime, made.Rows) == (5.2, 256)
    (item,) = made.ProcedureCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("RPID21", "RADLEX"), "one item holds both"
    assert made.private_block(0x19, "SIEMENS MR HEADER")[0x0C].value == 1000
    assert made.private_block(0x19, "NOBODY KNOWS")[0x01].value == "x"


WRONG: list[tuple[str, Any]] = [
    ("Modality", "Ā"),
    ("Rows", "many"),
    ("DiffusionBValue", "high"),
    ("Rows", {"a": 1}),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_the_attribute_cannot_have_is_told(name: str, value: Any) -> None:
    with pytest.raises(PonsError, match=f"{name} .* cannot be "):
        data_set_of({name: value})
