"""Values made from values: pseudonyms are stable and legal, shifted dates keep what lies between them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.transform.elements import is_legal
from engine.transform.values import days_of, pseudonym, shifted_date, shifted_moment

DATES = st.dates(date(1000, 1, 1), date(2200, 12, 31))
DAYS = st.integers(-36_500, 36_500).filter(bool)


@given(st.text(max_size=80), st.binary(min_size=1, max_size=40))
def test_a_pseudonym_is_the_same_again_and_legal_wherever_text_stands(value: str, key: bytes) -> None:
    made = pseudonym(value, key)
    assert made == pseudonym(value, key)
    assert (len(made) == 16) == bool(value)
    assert all(is_legal(vr, made) for vr in ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"))


def test_a_pseudonym_tells_values_and_secrets_apart() -> None:
    made = {pseudonym(value, key) for value in ("P-1", "P-2") for key in (b"one", b"two")}
    assert len(made) == 4
    assert pseudonym("P-1", b"one") == "HJFBT2HZNYIWPHKY", (
        "receivers know patients by these: they never change"
    )


@given(DATES, DATES, DAYS)
def test_the_days_between_two_dates_stay(one: date, other: date, days: int) -> None:
    moved = [shifted_date(_da(day), days) for day in (one, other)]
    first, second = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved)
    assert (second - first) == (other - one)
    assert first == one + timedelta(days=days)
    assert all(is_legal("DA", text) for text in moved)


def _da(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


SHIFTED = [
    # value, days, what it becomes
    ("20240229", 365, "20250228"),  # the end of a leap year's February
    ("20240301", -1, "20240229"),
    ("20260101", -1, "20251231"),
    ("2026.01.31", 1, "20260201"),  # as ACR-NEMA wrote it
    ("", 5, ""),
    ("20260230", 1, ""),  # no day of any calendar
    ("unknown", 1, ""),
    ("202601", 1, ""),  # a DA is whole
    ("20260101-20260201", 1, ""),  # a range is of queries
    ("00010101", -1, ""),  # before all dates
    ("99991231", 1, ""),
    ("09991231", 1, "10000101"),
    ("10000101", -1, "09991231"),
]


@pytest.mark.parametrize(("value", "days", "becomes"), SHIFTED)
def test_a_date_moves_by_days_and_what_is_none_is_emptied(value: str, days: int, becomes: str) -> None:
    assert shifted_date(value, days) == becomes


MOMENTS = [
    ("20260131235959.999999+0530", 1, "20260201235959.999999+0530"),  # the time and its offset stay
    ("202601312359", -31, "202512312359"),
    ("20260131", 1, "20260201"),
    ("202601", 31, "202602"),  # as exact as it was
    ("202601", 30, "202601"),
    ("2026", -1, "2025"),
    ("2026-0500", 365, "2027-0500"),
    ("", 1, ""),
    ("20260231120000", 1, ""),
    ("2026013", 1, ""),
    ("yesterday", 1, ""),
]


@pytest.mark.parametrize(("value", "days", "becomes"), MOMENTS)
def test_a_moment_moves_as_exactly_as_it_was_told(value: str, days: int, becomes: str) -> None:
    assert shifted_moment(value, days) == becomes
    assert is_legal("DT", becomes)


@given(st.text(max_size=64), st.integers(1, 36_500))
def test_a_patient_has_days_of_his_own_within_the_range(patient: str, within: int) -> None:
    assert -within <= days_of(patient, b"secret", within) <= -1
    assert days_of(patient, b"secret", within) == days_of(patient, b"secret", within)


def test_patients_are_spread_over_the_range() -> None:
    days = {days_of(f"P-{number}", b"secret", 365) for number in range(1000)}
    assert len(days) > 300
