"""The JSON Schema that editors and authors of processors use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.catalog import Catalog
from engine.grammar import OPERATORS, STRUCTURE
from engine.model import Report
from engine.schema import result_schema, table_schema
from engine.sections import TableSettings


def every(schema: Any) -> Iterator[dict[str, Any]]:
    """Each object in a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from every(inner)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return table_schema(Catalog())


def test_every_reference_leads_somewhere(table: dict[str, Any]) -> None:
    for schema in (table, result_schema()):
        references = [one["$ref"] for one in every(schema) if isinstance(one.get("$ref"), str)]
        assert references
        dangling = [one for one in references if one.removeprefix("#/$defs/") not in schema["$defs"]]
        assert dangling == []


def test_every_section_is_there_and_nothing_else(table: dict[str, Any]) -> None:
    assert set(table["properties"]) == set(TableSettings.model_fields)
    assert table["additionalProperties"] is False
    assert table["required"] == ["version"]


def test_every_installed_type_is_chosen_by_its_type_key(table: dict[str, Any]) -> None:
    catalog = Catalog()
    for section, kind in (("inbound", "inbound"), ("processors", "processor"), ("outbound", "outbound")):
        names = list(catalog.names(kind))
        block = table["properties"][section]["additionalProperties"]
        assert block["properties"]["type"]["enum"] == names
        assert [one["then"]["$ref"] for one in block["allOf"]] == [f"#/$defs/{kind}.{name}" for name in names]
        for name in names:
            own = table["$defs"][f"{kind}.{name}"]
            model = getattr(catalog, kind)(name).settings
            assert set(own["properties"]) == {"type", *model.model_fields}
            assert own["properties"]["type"] == {"const": name}
            assert own["additionalProperties"] is False, "an editor marks an unknown key"


def test_every_field_of_the_table_explains_itself(table: dict[str, Any]) -> None:
    mute = [
        f"{name}.{key}"
        for name in (
            "EngineSettings",
            "Assembly",
            "SiteSettings",
            "RouteSettings",
            "DeliverSettings",
            "TestSettings",
        )
        for key, field in table["$defs"][name]["properties"].items()
        if not field.get("description")
    ]
    assert mute == []


def test_predicates_are_the_grammar(table: dict[str, Any]) -> None:
    for level, words in STRUCTURE.items():
        assert set(table["$defs"][f"predicates.{level}"]["properties"]) == set(words)
    test = table["$defs"]["predicates.test"]["anyOf"][1]
    assert set(test["properties"]) == set(OPERATORS)
    assert table["$defs"]["RouteSettings"]["properties"]["match"]["$ref"] == "#/$defs/predicates.study"


def test_the_result_is_the_document_that_a_processor_writes() -> None:
    schema = result_schema()
    report = schema["$defs"]["Report"]
    assert schema["$ref"] == "#/$defs/Report"
    assert set(report["properties"]) == set(Report.model_fields)
    assert "Result" in schema["$defs"]
