"""Every kind of finding has a code that is explained, documented, and shown by a broken table."""

from __future__ import annotations

import re
from pathlib import Path

from engine.finding_code import MEANING, derived

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken_tables"
OF_A_MOMENT = {
    "bad-data-folder": "checks/test_machine.py",
    "cannot-be-built": "test_check.py",
    "no-answer": "checks/test_online.py",
    "port-in-use": "checks/test_online.py",
    "register-disagrees": "tests/tunnel",
    "secret-readable": "checks/test_surroundings.py",
    "unreadable": "test_document.py",
}
"""Codes that no file in a checkout can show, and the tests that do."""


def found() -> set[str]:
    texts = [path.read_text() for path in BROKEN.glob("*.yaml")]
    return {code for text in texts for code in re.findall(r"^# finds: .* \[([a-z-]+)\]$", text, re.MULTILINE)}


def test_every_code_is_found_in_a_broken_table_and_every_one_found_is_explained() -> None:
    assert found() == MEANING.keys() - OF_A_MOMENT.keys()


def test_the_page_lists_every_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", (ROOT / "docs" / "check.md").read_text(), re.MULTILINE)
    assert dict(rows) == dict(MEANING)
    assert len(rows) == len(MEANING)


def test_a_finding_without_a_code_has_that_of_its_place() -> None:
    assert derived(("tests", 0, "given")) == "bad-test"
    assert derived(("routes", 0, "match", "Modality")) == "bad-predicate"
    assert derived(("routes", 0, "match", "Modality", "matches")) == "bad-pattern"
    assert derived(("routes", 0, "deliver", 0, "transform", 1)) == "bad-transform"
    assert derived(("outbound", "his", "port")) == "bad-value"
    assert {derived(place) for place in ((), ("include", 0), ("routes", 0))} <= MEANING.keys()
