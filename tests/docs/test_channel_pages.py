"""The page of each installed type tells all of it: purpose, a block that runs, fields, outcome and errors."""

from __future__ import annotations

import re

import pytest
import yaml

from engine.catalog import Catalog
from engine.reference import title_of
from engine.schema import SECTIONS
from tests.docs.blocks import ROOT, blocks

CATALOG = Catalog()
PAGES = [(section, kind, name) for section, kind in SECTIONS for name in CATALOG.names(kind)]
OUTCOME = {
    "inbound": "## What success means",
    "outbound": "## What counts as delivered",
    "processor": "## Errors",
}


@pytest.mark.parametrize(("section", "kind", "name"), PAGES, ids=[name for *_, name in PAGES])
def test_a_page_tells_all_of_its_type(section: str, kind: str, name: str) -> None:
    title = title_of(CATALOG, kind, name)
    slug = title.replace(" (outbound)", "-outbound")
    page = ROOT / "docs" / ("processors" if kind == "processor" else "channels") / f"{slug}.md"
    text = page.read_text("utf-8")
    first, purpose = text.split("\n\n")[:2]
    assert first == f"# {title}"
    assert re.match(r"[A-Z`]", purpose), "the first sentence says what it is for"
    runnable = [yaml.safe_load(block.text) for block in blocks(page) if block.language == "yaml"]
    types = [one["type"] for part in runnable for one in part.get(section, {}).values()]
    assert name in types, "a block that runs"
    table = text.partition("| field |")[2].partition("\n\n")[0]
    model = getattr(CATALOG, kind)(name).settings
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(model.model_fields)
    assert f"(../reference/types.md#{slug})" in text
    outcome = text.partition(OUTCOME[kind])[2]
    assert outcome.count("\n| ") >= 3 or (kind == "processor" and len(outcome) > 200), OUTCOME[kind]
