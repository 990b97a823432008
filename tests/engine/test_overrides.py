"""The metadata of an order: read in any usual spelling, checked by the Standard, never quoted."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import OrderRefused, OrderRefusedReason
from engine.overrides import MAX_VALUE, MOST, as_step, checked, keyword_of


@pytest.mark.parametrize("key", ["PatientAge", "patientAge", "patient_age", "PATIENT_AGE"])
def test_a_sidecar_may_spell_a_keyword_as_it_likes(key: str) -> None:
    assert keyword_of(key) == "PatientAge"
    assert checked({key: 45}) == {"PatientAge": "045Y"}


@pytest.mark.parametrize(
    ("keyword", "given", "kept"),
    [
        ("PatientAge", "45", "045Y"),
        ("PatientAge", "045Y", "045Y"),
        ("PatientAge", "6M", "6M"),  # no AS of three digits: refused below, as it is
        ("PatientAge", "90+", "090Y"),
        ("PatientAge", 103, "090Y"),  # past 90 an age tells who somebody is
        ("PatientAge", "", ""),
        ("PatientSex", "female", "F"),
        ("PatientSex", "m", "M"),
        ("PatientBirthDate", "1970-01-31", "19700131"),
        ("PatientWeight", 70.5, "70.5"),
        ("AccessionNumber", " A-1 ", "A-1"),
        ("AccessionNumber", "{PatientName}", "{PatientName}"),
        ("PatientName", "山田^太郎", "山田^太郎"),
    ],
)
def test_values_become_what_dicom_writes(keyword: str, given: Any, kept: str) -> None:
    if kept == "6M":
        with pytest.raises(OrderRefused):
            checked({keyword: given})
        return
    assert checked({keyword: given}) == {keyword: kept}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            {"PatientAgee": "1"},
            "metadata.PatientAgee: no DICOM attribute has this keyword; did you mean 'PatientAge'",
        ),
        ({"StudyInstanceUID": "1.2"}, "cannot be overridden: a UID says which object it is"),
        ({"PixelData": "x"}, "cannot be overridden: its values are not text"),
        ({"SpecificCharacterSet": "ISO_IR 100"}, "cannot be overridden"),
        ({"TransferSyntaxUID": "1.2"}, "cannot be overridden"),
        ({"PatientSex": "Quillfeather"}, "metadata.PatientSex: must be M, F or O"),
        ({"PatientAge": "Quillfeather"}, "write it as 045Y or 45"),
        ({"AccessionNumber": "Quillfeather-Quillfeather"}, "is not legal for its representation (SH"),
        ({"AccessionNumber": "a\\b"}, "is not legal for its representation (SH"),
        ({"StudyComments": "x" * (MAX_VALUE + 1)}, f"at most {MAX_VALUE} are taken"),
        ({"PatientName": ["a", "b"]}, "must be one text or number"),
        ({"PatientName": None}, "must be one text or number"),
        ({"PatientName": True}, "must be one text or number"),
        ({"patient_sex": "F", "PatientSex": "M"}, "PatientSex is given twice"),
        ({f"a{number}": 1 for number in range(MOST + 1)}, f"at most {MOST} may be given"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_key_and_never_by_its_value(
    metadata: dict[str, Any], said: str
) -> None:
    with pytest.raises(OrderRefused) as refused:
        checked(metadata)
    assert refused.value.reason is OrderRefusedReason.INVALID
    assert said in str(refused.value)
    assert "Quillfeather" not in str(refused.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(OrderRefused) as refused:
        checked({"PatientSex": "x", "nonsense": 1, "PatientAge": "x"})
    assert len(str(refused.value).splitlines()) == 3


def test_a_brace_in_a_value_is_a_brace_and_names_no_attribute() -> None:
    assert as_step({"AccessionNumber": "{PatientName}"}) == ({"set": {"AccessionNumber": "{{PatientName}}"}},)
    assert as_step({}) == ()
