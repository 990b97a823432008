"""`pons schema`, as an operator types it, and the pages of the repository that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.engine.commands.table_house import pons

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
TITLES = [
    ([], "Pons routing table"),
    (["included"], "Part of a Pons routing table"),
    (["result"], "pons.result/1"),
]


@pytest.mark.parametrize(("arguments", "title"), TITLES)
def test_schemas_are_printed(arguments: list[str], title: str) -> None:
    done = pons("schema", *arguments)
    assert json.loads(done.output)["title"] == title


def test_the_reference_in_the_repository_is_what_the_software_says(tmp_path: Path) -> None:
    done = pons("schema", "--write", str(tmp_path))
    assert done.exit_code == 0
    written = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text("utf-8") for path in REFERENCE.iterdir()}
    assert written == committed, "run `make docs`"


def test_the_examples_in_the_reference_are_yaml() -> None:
    rows = [
        line.split(" | ")[-1].removesuffix(" |").strip("`").replace("\\|", "|")
        for page in ("table.md", "types.md")
        for line in (REFERENCE / page).read_text("utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 150
    assert [row for row in rows if not row or yaml.safe_load(f"- {row}") == [None]] == []
