"""Edits on what goes onward: what may be set and removed."""

from __future__ import annotations

from typing import Any

import pytest

from engine.transform.rules import complaints_of_step

ALLOWED: list[dict[str, Any]] = [
    {"set": {"BodyPartExamined": "BRAIN"}},
    {"set": {"PatientComments": "by Pons", "InstanceNumber": 7, "EchoTime": 88.5}},
    {"set": {"ImageType": ["DERIVED", "SECONDARY"]}},
    {"set": {"ContentDate": "20260131"}},
    {"remove": ["StudyComments", "ReferencedStudySequence"]},
]


@pytest.mark.parametrize("step", ALLOWED, ids=str)
def test_an_edit_that_keeps_identity_is_allowed(step: dict[str, Any]) -> None:
    assert list(complaints_of_step(step)) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"set": {"SOPInstanceUID": "1.2"}}, "part of an object's identity"),
    ({"remove": ["StudyInstanceUID"]}, "part of an object's identity"),
    ({"set": {"PatientID": "X"}}, "part of an object's identity"),
    ({"set": {"SpecificCharacterSet": "ISO_IR 100"}}, "part of an object's identity"),
    ({"set": {"Rows": 7}}, "describes pixels"),
    ({"remove": ["PixelData"]}, "describes pixels"),
    ({"set": {"BodyPart": "BRAIN"}}, "did you mean"),
    ({"set": {"BodyPartExamined": "lower case"}}, "cannot hold this value"),
    ({"set": {"ContentDate": "31.1.2026"}}, "cannot hold this value"),
    ({"set": {"ContentDate": 20260131}}, "is text; put the value in quotes"),
    ({"set": {"InstanceNumber": "7"}}, "holds numbers"),
    ({"set": {"InstanceNumber": True}}, "takes a text, a number, or a list"),
    ({"set": {"StudyComments": None}}, "takes a text, a number, or a list"),
    ({"set": {"ReferencedStudySequence": "x"}}, "only remove works"),
    ({"set": {"Modality": "MR"}, "remove": ["StudyID"]}, "a step has one of"),
    ({}, "a step has one of"),
]


@pytest.mark.parametrize(("step", "message"), REFUSED, ids=str)
def test_any_other_edit_is_refused_with_its_reason(step: dict[str, Any], message: str) -> None:
    assert [message in found for _, found in complaints_of_step(step)] == [True]
