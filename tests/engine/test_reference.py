"""The reference pages: every block and every type once, every row with its type and an example."""

from __future__ import annotations

import re

import pytest

from engine.catalog import Catalog
from engine.reference import reference_pages
from engine.sections import TableSettings

ROW = re.compile(
    r"^\| `(?P<field>[\w*]+)` \| (?P<type>.*?) \| (?P<default>.*?) \| (?P<meaning>.*?) \| (?P<example>.*) \|$"
)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference_pages(Catalog())


def section(page: str, title: str) -> dict[str, dict[str, str]]:
    """The rows of one heading, by field."""
    text = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return {row["field"]: row.groupdict() for line in text.splitlines() if (row := ROW.match(line))}


def test_the_sections_of_a_table_are_all_there(pages: dict[str, str]) -> None:
    assert set(section(pages["table.md"], "the file")) == set(TableSettings.model_fields) - {"version"}


def test_a_heading_stands_for_one_block(pages: dict[str, str]) -> None:
    for page in pages.values():
        titles = re.findall(r"^## (.+)$", page, re.MULTILINE)
        assert len(titles) == len(set(titles))


def test_a_type_tells_its_own_fields_and_leads_to_what_all_have(pages: dict[str, str]) -> None:
    own, shared = section(pages["types.md"], "hl7_oru"), section(pages["types.md"], "every destination")
    assert {"host", "port", "accession_field"} <= set(own)
    assert {"site", "retry", "rate", "order"} <= set(shared)
    assert set(own) & set(shared) <= {"timeout"}


def test_a_row_is_written_as_an_operator_writes_it(pages: dict[str, str]) -> None:
    row = section(pages["table.md"], "assembly")["force_after"]
    assert (row["type"], row["default"]) == ("duration", "`45m`")
    row = section(pages["types.md"], "hl7_oru")["port"]
    assert (row["default"], row["example"]) == ("–", "`2575`")
    row = section(pages["types.md"], "webhook")["phi"]
    assert row["type"] == "one of `none`, `minimal`, `full`"


def test_no_row_is_without_type_meaning_and_example(pages: dict[str, str]) -> None:
    rows = [line for page in pages.values() for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    bare = [
        row
        for row in rows
        if not (found := ROW.match(row)) or not all(found[k] for k in ("type", "meaning", "example"))
    ]
    assert bare == []
