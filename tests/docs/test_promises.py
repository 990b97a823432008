"""The pages of guarantees and of threats name tests for each of their lines, and each of these exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(r"^\|(?! *(-|promise|threat)).*$", re.MULTILINE)
ROWS = [
    match[0]
    for page in ("guarantees.md", "security.md")
    for match in ROW.finditer((ROOT / "docs" / page).read_text())
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_promise_names_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "a promise without a test is none"
    for path, function in named:
        nodes = ast.walk(ast.parse((ROOT / path).read_text()))
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        assert function in {node.name for node in nodes if isinstance(node, kinds)}, f"{path}: {function}"


def test_both_pages_have_their_lines() -> None:
    assert len(ROWS) > 35
