"""A reader's editor finds the schema by the first line of each table, and takes what the pages show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engine.catalog import Catalog
from engine.document import read
from engine.schema import table_schema
from tests.docs.blocks import ROOT, Block, blocks_of, completed

NAMED = re.compile(r"\A# yaml-language-server: \$schema=(\S+)\n")
TABLES = [ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/**/*.yaml"))]
BLOCKS = [
    block
    for block in blocks_of("yaml")
    if block.document != "CONTRIBUTING.md" and "rules" not in yaml.safe_load(block.text)
]


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_table_names_its_schema_in_the_first_line(table: Path) -> None:
    named = NAMED.match(table.read_text())
    assert named, "the first line is # yaml-language-server: $schema=…"
    schema = (table.parent / named[1]).resolve()
    name = "routes" if table.name == "routes.yaml" else "included"
    assert schema == ROOT / "docs" / "reference" / f"{name}.schema.json"
    assert schema.is_file()


@pytest.fixture(scope="module")
def judge() -> Any:
    return jsonschema.Draft202012Validator(table_schema(Catalog()))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_an_editor_marks_nothing_in_what_a_page_shows(block: Block, judge: Any, tmp_path: Path) -> None:
    part = yaml.safe_load(block.text)
    path = tmp_path / "routes.yaml"
    path.write_text(block.text if "version" in part else yaml.safe_dump(completed(part), sort_keys=False))
    found = [f"{one.json_path}: {one.message}" for one in judge.iter_errors(read(path).data)]
    assert found == []
