"""Names of DICOM attributes as a table writes them."""

from __future__ import annotations

import re

import pytest

from engine.attribute import UNKNOWN, resolve

NAMED: list[tuple[str, str]] = [
    ("Modality", "CS"),
    ("(0008,0060)", "CS"),
    ("(0008,103e)", "LO"),
    ("(2005,1413)", UNKNOWN),  # private: no dictionary
    ("ProcedureCodeSequence", "SQ"),
    ("ProcedureCodeSequence.CodeValue", "SH"),
    ("(0008,1032).(0008,0100)", "SH"),
    ("(2001,105f).(2001,1060)", UNKNOWN),  # a private sequence
    ("TransferSyntaxUID", "UI"),
    ("PixelData", "OB or OW"),
    ("SmallestImagePixelValue", "US or SS"),
]


@pytest.mark.parametrize(("name", "vr"), NAMED)
def test_a_name_has_its_value_representation(name: str, vr: str) -> None:
    assert resolve(name) == (name, vr)


NOTHING: list[tuple[str, str]] = [
    ("Modalty", "no DICOM attribute 'Modalty'; did you mean 'Modality'?"),
    ("modality", "no DICOM attribute 'modality'; did you mean 'Modality'?"),
    ("", "no DICOM attribute ''"),
    ("Modality.CodeValue", "Modality is no sequence, so Modality.CodeValue leads nowhere"),
    ("ProcedureCodeSequence.", "no DICOM attribute ''"),
    ("(0008,006)", "'(0008,006)' is no tag; write it in quotes: \"(gggg,eeee)\""),
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
