"""Values that are made of others."""

from __future__ import annotations

import pytest

from engine.transform.template import filled

FACTS = {"AccessionNumber": "7", "RequestAttributesSequence.RequestedProcedureID": "R", "StudyID": ""}

MADE = [
    ("STM", "STM"),
    ("STM-{AccessionNumber}", "STM-7"),
    ("{ AccessionNumber }{RequestAttributesSequence.RequestedProcedureID}", "7R"),
    ("{{AccessionNumber}}", "{AccessionNumber}"),
    ("", ""),
    ("STM-{StudyID}", None),  # nothing to make it of
    ("{AccessionNumber}-{StationName}", None),
]


@pytest.mark.parametrize(("value", "becomes"), MADE)
def test_a_value_is_made_of_text_and_of_what_attributes_say(value: str, becomes: str | None) -> None:
    assert filled(value, lambda name: FACTS.get(name, "")) == becomes


@pytest.mark.parametrize("value", ["{", "}", "a{b", "{a{b}}", "a}b"])
def test_a_brace_without_a_partner_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="has no partner"):
        filled(value, lambda name: name)
