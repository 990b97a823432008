"""A reader's editor finds the schema: the first line of each table leads to the file that is kept up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

NAMED = re.compile(r"\A# yaml-language-server: \$schema=(\S+)\n")
TABLES = [ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/**/*.yaml"))]


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_table_names_its_schema_in_the_first_line(table: Path) -> None:
    named = NAMED.match(table.read_text())
    assert named, "the first line is # yaml-language-server: $schema=…"
    schema = (table.parent / named[1]).resolve()
    name = "routes" if table.name == "routes.yaml" else "included"
    assert schema == ROOT / "docs" / "reference" / f"{name}.schema.json"
    assert schema.is_file()
