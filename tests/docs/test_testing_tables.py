"""The example of docs/testing-tables.md passes its own tests, and fails as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import examine
from engine.table_tests import cover_tests, run_tests
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "testing-tables.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The files of the page where it says they are."""
    (table,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    study, result = [block.text for block in blocks(PAGE) if block.language == "json"]
    for name, text in (("routes.yaml", table), ("studies/knee.json", study), ("results/knee.json", result)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "routes.yaml"


def test_the_example_passes(example: Path) -> None:
    table, findings = examine(example)
    assert table is not None
    assert findings == []
    verdicts = run_tests(table)
    assert [verdict.lines for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 4
    assert cover_tests(table).percent > 60


def test_a_failure_reads_as_the_page_shows_it(example: Path) -> None:
    text = example.read_text()
    example.write_text(
        text.replace("SeriesDescription: ep2d_DTI, instances: 64", "SeriesDescription: PD knee")
    )
    table, _ = examine(example)
    assert table is not None
    verdict = run_tests(table)[0]
    shown = next(block.text for block in blocks(PAGE) if block.text.startswith("FAIL"))
    first, *rest = shown.splitlines()
    assert first == f"FAIL {verdict.test.name}"
    assert [line.strip() for line in rest] == [
        line for line in verdict.lines if line.startswith(("routes:", "brain dti:", "nothing matched:"))
    ]
