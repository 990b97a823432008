"""A value on one line is read back as it was, in YAML as the engine reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.document import read
from engine.yaml_text import in_line

VALUES = [
    ("St. Mary's", "St. Mary's"),
    ("22:00", '"22:00"'),
    ("no", '"no"'),
    ("007", '"007"'),
    ("a, b", '"a, b"'),
    ("(?i)dti", '"(?i)dti"'),
    ("a: b", '"a: b"'),
    ("# not a comment", '"# not a comment"'),
    ("München \\ 東京", '"München \\\\ 東京"'),
    ("", '""'),
    (True, "true"),
    (None, "null"),
    (2.0, "2"),
    (1.5, "1.5"),
    ({"to": "stm-ris", "after": ["stm-pacs"]}, "{to: stm-ris, after: [stm-pacs]}"),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_value_is_written_as_people_write_it_and_read_back_as_it_was(
    tmp_path: Path, value: Any, text: str
) -> None:
    assert in_line(value) == text
    (tmp_path / "one.yaml").write_text(f"sites: {{one: [{text}]}}\n", "utf-8")
    document = read(tmp_path / "one.yaml")
    assert document.findings == ()
    assert document.data == {"sites": {"one": [value]}}
