"""The nearest name is found among few and among many, and a thousand misspelt names are answered at once."""

from __future__ import annotations

import difflib
import random

import pytest
from pydicom.datadict import keyword_dict

from engine.nearest import nearest

KEYWORDS = sorted(keyword for keyword in keyword_dict if len(keyword) > 5)
SITES = [f"hospital-{number:04}" for number in range(1000)]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Modalty", "Modality"),
        ("modality", "Modality"),
        ("SeriesDescripton", "SeriesDescription"),
        ("BodyPartExamnied", "BodyPartExamined"),
        ("qqqqqqqq", None),
    ],
)
def test_among_all_keywords(word: str, name: str | None) -> None:
    assert nearest(word, KEYWORDS) == name


@pytest.mark.parametrize(("word", "name"), [("c_stor", "c_store"), ("C_STORE", "c_store"), ("xyz", None)])
def test_among_few(word: str, name: str | None) -> None:
    assert nearest(word, ["c_store", "stow_rs"]) == name


def test_among_many_the_same_is_found_as_by_comparing_all() -> None:
    chance = random.Random(7)
    for keyword in chance.sample(KEYWORDS, 60):
        at = chance.randrange(1, len(keyword) - 1)
        slip = keyword[:at] + chance.choice(["", "x", keyword[at - 1]]) + keyword[at + 1 :]
        (found,) = difflib.get_close_matches(slip, KEYWORDS, n=1)
        assert nearest(slip, KEYWORDS) == found, slip


def test_a_thousand_misspelt_names_are_compared_with_few() -> None:
    compared = 0
    before = difflib.SequenceMatcher.set_seq1

    def counted(self: difflib.SequenceMatcher[str], a: str) -> None:
        nonlocal compared
        compared += 1
        before(self, a)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(difflib.SequenceMatcher, "set_seq1", counted)
        found = [nearest(name.replace("hospital", "hopsital"), SITES) for name in SITES]
    assert compared < 100 * len(SITES), "not a million"
    assert found == SITES
