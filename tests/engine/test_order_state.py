"""The state of an order follows from what its study has come to: a table of cases."""

from __future__ import annotations

from itertools import product

import pytest

from engine.order_model import OrderState
from engine.order_state import StudyStanding, derive


@pytest.mark.parametrize(
    ("study", "state"),
    [
        (StudyStanding(receiving=True), "receiving"),
        (StudyStanding(receiving=True, failed=True, held=True), "receiving"),  # more of it came
        (StudyStanding(undecided=True), "stable"),
        (StudyStanding(undecided=True, under_way=True), "stable"),
        (StudyStanding(under_way=True), "processing"),
        (StudyStanding(held=True), "held"),
        (StudyStanding(held=True, under_way=True), "held"),  # nobody but a person ends it
        (StudyStanding(failed=True), "failed"),
        (StudyStanding(failed=True, held=True), "failed"),  # a failure brings its own hold
        (StudyStanding(failed=True, under_way=True), "processing"),  # perhaps the run that repeats it
        (StudyStanding(), "delivered"),
    ],
)
def test_of_a_study_that_is_here(study: StudyStanding, state: str) -> None:
    assert derive(study, cancelled=False) == state
    assert derive(study, cancelled=True) == "cancelled"


@pytest.mark.parametrize(
    ("uploading", "upload_failed", "state"),
    [(False, False, "created"), (True, False, "receiving"), (False, True, "failed"), (True, True, "failed")],
)
def test_of_one_that_is_still_to_come(uploading: bool, upload_failed: bool, state: str) -> None:
    assert derive(None, cancelled=False, uploading=uploading, upload_failed=upload_failed) == state
    assert derive(None, cancelled=True, uploading=uploading, upload_failed=upload_failed) == "cancelled"


def test_every_state_can_be_and_every_standing_has_one() -> None:
    found = {
        derive(StudyStanding(*facts), cancelled=cancelled)
        for *facts, cancelled in product((False, True), repeat=6)
    }
    found |= {
        derive(None, cancelled=False, uploading=one, upload_failed=other)
        for one, other in product((False, True), repeat=2)
    }
    assert found == set(OrderState)
