"""Facts keep what they were told, through JSON and back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from engine.model import Algorithm, Code, Finding, PersonName, Report, uid_from

CONCEPT = {"value": "x", "scheme": "99A", "meaning": "x"}
MILLIMETRE = {"value": "mm", "scheme": "UCUM", "meaning": "mm"}


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("1.600", MILLIMETRE, Decimal("1.600")),  # digits kept
        (2, MILLIMETRE, Decimal(2)),
        (1.6, MILLIMETRE, Decimal("1.6")),
        ("007", None, "007"),  # text that looks like a number stays text
        ("1e3", None, "1e3"),
        ({"value": "a", "scheme": "99A", "meaning": "b"}, None, Code(value="a", scheme="99A", meaning="b")),
    ],
)
def test_a_value_survives_json_in_both_directions(value: object, unit: object, expected: object) -> None:
    finding = Finding.model_validate({"concept": CONCEPT, "value": value, "unit": unit})
    assert finding.value == expected
    assert type(finding.value) is type(expected)
    assert Finding.model_validate_json(finding.model_dump_json()) == finding
    assert Finding.model_validate(finding.model_dump(mode="json")) == finding
    assert str(Finding.model_validate(finding.model_dump(mode="json")).value) == str(finding.value)


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (5, None),  # a number without a unit
        ("word", MILLIMETRE),
        ("NaN", MILLIMETRE),
        ("Infinity", MILLIMETRE),
        ({"value": "a", "scheme": "99A", "meaning": "b"}, MILLIMETRE),
    ],
)
def test_a_number_has_a_unit_and_nothing_else_has_one(value: object, unit: object) -> None:
    with pytest.raises(ValidationError):
        Finding.model_validate({"concept": CONCEPT, "value": value, "unit": unit})


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        Report.model_validate({"algorithm": {"name": "a", "version": "1"}, "findngs": []})
    assert Report(algorithm=Algorithm(name="a", version="1")).version == "pons.result/1"


@pytest.mark.parametrize("name", ["Doe^Jane", "Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田", ""])
def test_a_person_name_keeps_its_three_groups(name: str) -> None:
    assert str(PersonName.parse(name)) == name


def test_uids_derive_from_names_and_are_legal() -> None:
    assert uid_from("a", "b") == uid_from("a", "b")
    assert len({uid_from("a", "b"), uid_from("ab"), uid_from("b", "a")}) == 3
    assert all(len(uid_from(str(number))) <= 64 for number in range(100))
