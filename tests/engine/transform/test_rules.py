"""Edits on what goes onward: which may be made, and why the others may not."""

from __future__ import annotations

from typing import Any

import pytest

from engine.transform.rules import Use, complaints_of_step

ALLOWED: list[dict[str, Any]] = [
    {"set": {"BodyPartExamined": "BRAIN"}},
    {"set": {"PatientComments": "by Pons", "InstanceNumber": 7, "EchoTime": 88.5}},
    {"set": {"ImageType": ["DERIVED", "SECONDARY"]}},
    {"set": {"ContentDate": "20260131"}},
    {"remove": ["StudyComments", "ReferencedStudySequence"]},
    {"remove": ["private", "(60xx,3000)", "(0009,xxxx)", '(0019,"ACME",0C)', "(0019,100C)"]},
    {"remove": ["StudyComments"], "everywhere": True},
    {"set": {"RequestAttributesSequence.RequestedProcedureID": "7"}},
    {"set": {"PatientBirthDate": ""}},
    {"keep": ["SeriesDescription", "private", "(60xx,3000)", "RequestAttributesSequence", "PatientID"]},
    {"copy": {"RequestAttributesSequence.ScheduledProcedureStepID": "AccessionNumber"}},
    {
        "copy": {
            "PatientID": "PatientComments",
            "StudyInstanceUID": "StudyComments",
            "StudyDate": "SeriesDate",
        }
    },
    {"map": {"BodyPartExamined": {"table": {"SKULL": "HEAD"}, "otherwise": {"set": "OTHER"}}}},
    {"map": {"EchoTrainLength": {"table": {"1": 2}}, "InstanceNumber": {"table": {"1": 2}}}},
    {"hash": {"keys": ["PatientName", "AccessionNumber", "StationName"], "secret": {"env": "X"}}},
    {"hash": {"keys": ["PatientID", "IssuerOfPatientID"], "secret": {"env": "X"}}, "for": "processor"},
    {"remove": ["PatientID", "IssuerOfPatientIDQualifiersSequence"], "for": "processor"},
    {"shift_dates": {"by": -30}},
    {"set": {"AccessionNumber": "STM-{AccessionNumber}", "StudyID": "{{7}}", "SeriesDate": "{StudyDate}"}},
    {"set": {"StudyDescription": ["{Modality} {InstanceNumber}", "{RequestAttributesSequence.StudyDate}"]}},
    {"set": {"PatientComments": "two\r\nlines, a\\b"}},
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
    ({"remove": []}, "a step has one of"),
    ({"set": {"PatientID": "X"}, "for": "forward"}, "part of an object's identity"),
    ({"set": {"OtherPatientIDsSequence.PatientID": "X"}, "for": "processor"}, "part of an object's identity"),
    ({"remove": ["IssuerOfPatientIDQualifiersSequence"]}, "part of an object's identity"),
    ({"hash": {"keys": ["StudyInstanceUID"], "secret": {"env": "X"}}}, "part of an object's identity"),
    ({"copy": {"PatientName": "PatientID"}}, "part of an object's identity"),
    ({"set": {"(0009,1001)": "X"}}, "private ones are only removed"),
    ({"copy": {'(0019,"ACME",0C)': "StudyComments"}}, "only public attributes are copied"),
    ({"copy": {"StudyDate": "EchoTime"}}, "cannot hold what StudyDate (DA) says"),
    ({"copy": {"EchoTime": "StudyDate"}}, "cannot hold what EchoTime (DS) says"),
    ({"copy": {"ReferencedStudySequence": "StudyComments"}}, "cannot hold what"),
    ({"copy": {"Modality": "RequestAttributesSequence.RequestedProcedureID"}}, "goes to the top level"),
    ({"copy": {"Modalty": "StudyComments"}}, "did you mean 'Modality'"),
    ({"keep": ["RequestAttributesSequence.RequestedProcedureID"]}, "kept whole"),
    ({"keep": ["Modalty"]}, "did you mean 'Modality'"),
    ({"map": {"BodyPartExamined": {"table": {}}}}, "is empty"),
    ({"map": {"BodyPartExamined": {"table": {"A": "lower case"}}}}, "cannot hold this value"),
    (
        {"map": {"BodyPartExamined": {"table": {"A": "B"}, "otherwise": {"set": "no"}}}},
        "cannot hold this value",
    ),
    ({"map": {"EchoTrainLength": {"table": {"1": "2"}}}}, "holds numbers"),
    ({"map": {"ReferencedStudySequence": {"table": {"1": "2"}}}}, "is a sequence"),
    ({"hash": {"keys": ["StudyDate"], "secret": {"env": "X"}}}, "use shift_dates or remove"),
    ({"hash": {"keys": ["PatientWeight"], "secret": {"env": "X"}}}, "no text that a pseudonym"),
    ({"set": {"StudyID": "7"}, "everywhere": True}, "by its path"),
    ({"keep": ["StudyID"], "everywhere": True}, "kept whole"),
    ({"shift_dates": {"by": 1}, "everywhere": True}, "shifted everywhere as it is"),
    (
        {"remove": ["RequestAttributesSequence.StudyID"], "everywhere": True},
        "leave out the path or everywhere",
    ),
    ({"set": {"StudyDescription": "a\\b"}}, "several values as a list"),
    ({"set": {"StudyDescription": "a\nb"}}, "control character"),
    ({"set": {"PatientComments": "a\x1bb"}}, "control character"),
    ({"set": {"StudyID": "much longer than sixteen"}}, "at most 16 characters"),
    ({"remove": ["(0010,xxxx)"]}, "no group that repeats"),
    ({"set": {"StudyID": "{7"}}, "a brace has no partner"),
    ({"set": {"StudyID": "{AccesionNumber}"}}, "did you mean 'AccessionNumber'"),
    ({"set": {"StudyID": "{ReferencedStudySequence}"}}, "made of what is no text or number"),
    ({"set": {"StudyID": "{private}"}}, "made of what is no text or number"),
    ({"set": {"EchoTime": "{RepetitionTime}"}}, "copy takes numbers over"),
    ({"set": {"StudyID": "much longer than 16 {StudyID}"}}, "cannot hold this value"),
    ({"set": {"PatientID": "{PatientName}"}}, "part of an object's identity"),
]


@pytest.mark.parametrize(("step", "message"), REFUSED, ids=str)
def test_any_other_edit_is_refused_with_its_reason(step: dict[str, Any], message: str) -> None:
    assert [message in found for _, found in complaints_of_step(step)] == [True]


@pytest.mark.parametrize("use", ["forward", "result"])
def test_what_a_destination_gets_is_for_no_processor(use: Use) -> None:
    step = {"remove": ["PatientName"], "for": "processor"}
    assert [message for _, message in complaints_of_step(step, use)] == [
        "belongs to the transform of a route; what a destination gets is no processor's"
    ]


def test_a_complaint_says_where_in_the_step_it_is() -> None:
    mapping = {"table": {"A": "lower case"}}
    step: dict[str, Any] = {"map": {"BodyPartExamined": mapping}}
    assert [where for where, _ in complaints_of_step(step)] == [("map", "BodyPartExamined", "table", "A")]
    step = {"map": {"BodyPartExamined": mapping | {"file": "a.csv"}}}
    assert [where for where, _ in complaints_of_step(step)] == [("map", "BodyPartExamined", "file")]
