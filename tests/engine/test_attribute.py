"""Names of DICOM attributes as a table writes them."""

from __future__ import annotations

import re

import pytest

from engine.attribute import UNKNOWN, Step, doubts, resolve, steps

NAMED: list[tuple[str, str]] = [
    ("Modality", "CS"),
    ("(2005,1413)", UNKNOWN),  # private: no dictionary
    ("ProcedureCodeSequence", "SQ"),
    ("ProcedureCodeSequence.CodeValue", "SH"),
    ("(2001,105F).(2001,1060)", UNKNOWN),  # a private sequence
    ("(0019,0010)", "LO"),  # a private creator (PS3.5 7.8.1)
    ('(0019,"SIEMENS MR HEADER",0C)', "IS"),  # by its creator: the private dictionary knows it
    ('(0019,"SIEMENS MR HEADER",FE)', UNKNOWN),
    ('(0051,"Somebody, Inc. (2.0)",08)', UNKNOWN),
    ('ReferencedImageSequence.(0029,"A.B, C",10).(0029,"X.Y",11)', UNKNOWN),
    ('(0029,"SIEMENS CSA HEADER",10)', "OB"),
    ("TransferSyntaxUID", "UI"),
    ("PixelData", "OB or OW"),
    ("SmallestImagePixelValue", "US or SS"),
]


@pytest.mark.parametrize(("name", "vr"), NAMED)
def test_a_name_has_its_value_representation(name: str, vr: str) -> None:
    assert resolve(name) == (name, vr)


SPELLINGS: list[tuple[str, str]] = [
    ("(0008,0060)", "Modality"),
    ("(0008,103e)", "SeriesDescription"),
    ("(0008,1032).(0008,0100)", "ProcedureCodeSequence.CodeValue"),
    ('(0019,"SIEMENS MR HEADER",0c)', '(0019,"SIEMENS MR HEADER",0C)'),
    ('(0019," SIEMENS MR HEADER ",0C)', '(0019,"SIEMENS MR HEADER",0C)'),  # no part of an LO (PS3.5 6.2)
    ("(2005,140f)", "(2005,140F)"),
]


@pytest.mark.parametrize(("written", "known"), SPELLINGS)
def test_an_attribute_has_one_name_however_it_is_written(written: str, known: str) -> None:
    assert resolve(written).name == known


def test_a_creator_keeps_its_dots_and_commas() -> None:
    assert steps('(0029,"A.B, C",1F).CodeValue') == (Step(0x0029001F, "A.B, C"), Step(0x00080100))


DOUBTS: list[tuple[str, list[str]]] = [
    ("Modality", []),
    ("(0019,0010)", []),  # a creator itself
    ('(0019,"SIEMENS MR HEADER",0C)', []),
    ('(0019,"MY OWN SCANNER",0C)', []),
    (
        "(0019,100C)",
        [
            "(0019,100C) is where one device has this private element, and another may have it elsewhere; "
            "name its creator: '(0019,\"CREATOR\",0C)' (PS3.5 7.8.1)"
        ],
    ),
    (
        '(0019,"SIEMENS MR HEADR",0C)',
        ["no known device writes as 'SIEMENS MR HEADR'; did you mean 'SIEMENS MR HEADER'?"],
    ),
]


@pytest.mark.parametrize(("name", "told"), DOUBTS)
def test_a_doubtful_private_name_says_what_to_write(name: str, told: list[str]) -> None:
    assert list(doubts(name)) == told


NOTHING: list[tuple[str, str]] = [
    ("Modalty", "no DICOM attribute 'Modalty'; did you mean 'Modality'?"),
    ("modality", "no DICOM attribute 'modality'; did you mean 'Modality'?"),
    ("", "no DICOM attribute ''"),
    ("Modality.CodeValue", "Modality is no sequence, so Modality.CodeValue leads nowhere"),
    ("ProcedureCodeSequence.", "no DICOM attribute ''"),
    ("(0008,006)", "'(0008,006)' is no tag; write it in quotes: \"(gggg,eeee)\""),
    (
        '(0018,"SOMEBODY",0C)',
        "'(0018,\"SOMEBODY\",0C)' is not private; private groups are odd, from 0009 (PS3.5 7.8)",
    ),
    ('(0019," ",0C)', "'(0019,\" \",0C)' names no creator; a data set names one in each block it uses"),
    (
        '(0019,"SIEMENS MR HEADER",100C)',
        "'(0019,\"SIEMENS MR HEADER\",100C)' names no private element; write it in quotes: "
        "'(gggg,\"CREATOR\",ee)', without the block",
    ),
    (
        "MediaStorageSOPClassUID",
        "'MediaStorageSOPClassUID' is not of the data set; a route reads groups 0008 and up",
    ),
    ("(0000,0002)", "'(0000,0002)' is not of the data set; a route reads groups 0008 and up"),
]


@pytest.mark.parametrize(("name", "reason"), NOTHING)
def test_what_names_nothing_says_why(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        resolve(name)
    assert str(caught.value) == reason
