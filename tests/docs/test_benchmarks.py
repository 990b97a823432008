"""Every benchmark says how it is called and what it shows, in its first lines and on the page of them all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

BENCH = ROOT / "bench"
BENCHMARKS = {path.parent.name if path.name == "__main__.py" else path.stem: path
              for path in (*BENCH.glob("[a-z]*.py"), *BENCH.glob("*/__main__.py"))}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_says_how_it_is_called(name: str) -> None:
    told = ast.get_docstring(ast.parse(BENCHMARKS[name].read_text())) or ""
    assert re.search(rf"^    python -m bench\.{name}\b", told, re.MULTILINE), f"{BENCHMARKS[name]} does not"


def test_the_page_has_a_row_for_each_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", Path(ROOT / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    named = rows[: rows.index("lost")]  # the second table is of a day's rows
    assert sorted(named) == sorted(BENCHMARKS)
