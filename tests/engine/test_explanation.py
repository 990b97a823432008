"""An explanation says where things go and how they are edited, and keeps secrets to itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.explanation import edits_in_words, where_of

PLACES: list[tuple[dict[str, Any], str]] = [
    ({"host": "10.0.0.1", "port": 104, "ae_title": "PACS"}, "10.0.0.1:104 PACS"),
    ({"host": "10.0.0.1", "port": 2575}, "10.0.0.1:2575"),
    ({"host": "fd00::1", "port": 104}, "[fd00::1]:104"),
    ({"url": "https://his.example:8443/hook"}, "https://his.example:8443/hook"),
    ({"url": "https://user:word@his.example/hook?token=t#f"}, "https://his.example/hook"),
    ({}, ""),
]


@pytest.mark.parametrize(("settings", "where"), PLACES)
def test_a_destination_is_named_without_its_secrets(settings: dict[str, Any], where: str) -> None:
    assert where_of(SimpleNamespace(**settings)) == where


EDITS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"set": {"BodyPartExamined": "BRAIN", "StudyID": "X"}}, ("set BodyPartExamined, StudyID",)),
    ({"remove": ["PatientComments", "private"]}, ("remove PatientComments, private",)),
    ({"copy": {"StudyID": "AccessionNumber"}}, ("copy StudyID to AccessionNumber",)),
    ({"map": {"BodyPartExamined": {"table": {"a": "b"}}}}, ("map BodyPartExamined",)),
    (
        {"hash": {"keys": ["PatientName", "PatientID"], "secret": {"env": "KEY"}}, "for": "processor"},
        ("hash PatientName, PatientID (for processor copies)",),
    ),
    ({"shift_dates": {"by": 30}, "everywhere": True}, ("shift dates",)),
]


@pytest.mark.parametrize(("step", "words"), EDITS)
def test_an_edit_is_told_by_what_it_touches(step: dict[str, Any], words: tuple[str, ...]) -> None:
    assert edits_in_words((step,)) == words
