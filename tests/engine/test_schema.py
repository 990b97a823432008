"""The JSON Schema that editors and authors of processors use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.catalog import Catalog
from engine.config import examine
from engine.document import read
from engine.grammar import OPERATORS, STRUCTURE
from engine.model import Report
from engine.reading import read_sections
from engine.schema import SECTIONS, included_schema, result_schema, table_schema
from engine.sections import TableSettings

ROOT = Path(__file__).resolve().parents[2]
TABLES = [ROOT / "routes.yaml", *sorted((ROOT / "examples").glob("*/routes.yaml"))]
INCLUDED = sorted((ROOT / "examples").glob("*/*/*.yaml"))
BROKEN = sorted((Path(__file__).parent / "broken_tables").glob("*.yaml"))


def every(schema: Any) -> Iterator[dict[str, Any]]:
    """Each object in a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from every(inner)


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return table_schema(Catalog())


@pytest.fixture(scope="module")
def judge(table: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(table)


def complaints(judge: jsonschema.Draft202012Validator, data: Any) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in judge.iter_errors(data)]


def test_each_schema_is_one(table: dict[str, Any]) -> None:
    for schema in (table, result_schema(), included_schema(Catalog())):
        jsonschema.Draft202012Validator.check_schema(schema)
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
    for section, kind in SECTIONS:
        names = list(catalog.names(kind))
        block = table["properties"][section]["additionalProperties"]
        assert block["properties"]["type"]["enum"] == names
        assert [one["then"]["$ref"] for one in block["allOf"]] == [f"#/$defs/{kind}.{name}" for name in names]
        for name in names:
            own = table["$defs"][f"{kind}.{name}"]
            model = getattr(catalog, kind)(name).settings
            assert set(own["properties"]) == {"type", *model.model_fields}
            assert own["properties"]["type"]["const"] == name
            assert own["additionalProperties"] is False, "an editor marks an unknown key"


def fields(table: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of every block of the table, by its name."""
    for name, block in {"table": table, **table["$defs"]}.items():
        for key, field in block.get("properties", {}).items():
            yield f"{name}.{key}", field


def test_every_field_explains_itself_and_shows_an_example(table: dict[str, Any]) -> None:
    assert len(list(fields(table))) > 300
    assert [name for name, field in fields(table) if not field.get("description")] == []
    without = [name for name, field in fields(table) if "const" not in field and not field.get("examples")]
    assert without == []


def test_every_example_is_what_the_field_takes(table: dict[str, Any]) -> None:
    wrong = []
    for name, field in fields(table):
        judge = jsonschema.Draft202012Validator({**field, "$defs": table["$defs"]})
        for example in field.get("examples", []):
            wrong += [f"{name}: {one.message}" for one in judge.iter_errors(example)]
    assert wrong == []


def test_a_type_made_of_its_examples_is_one_that_the_engine_takes(table: dict[str, Any]) -> None:
    catalog = Catalog()
    for _, kind in SECTIONS:
        for name in catalog.names(kind):
            properties = table["$defs"][f"{kind}.{name}"]["properties"]
            block = {key: field["examples"][0] for key, field in properties.items() if key != "type"}
            getattr(catalog, kind)(name).settings.model_validate(block)


def test_a_default_is_written_as_an_operator_writes_it(table: dict[str, Any]) -> None:
    assert table["$defs"]["Assembly"]["properties"]["force_after"]["default"] == "45m"
    assert table["$defs"]["EngineSettings"]["properties"]["max_instance"]["default"] == "8GB"
    assert table["$defs"]["Retry"]["properties"]["give_up_after"]["default"] == "72h"
    judged = [
        (name, field["default"], jsonschema.Draft202012Validator({**field, "$defs": table["$defs"]}))
        for name, field in fields(table)
        if "default" in field
    ]
    assert [(name, default) for name, default, judge in judged if not judge.is_valid(default)] == []


def test_predicates_are_the_grammar(table: dict[str, Any]) -> None:
    for level, words in STRUCTURE.items():
        offered = table["$defs"][f"predicates.{level}"]["properties"]
        assert {key for key in offered if key[0].islower()} == set(words)
        assert offered["Modality"]["description"] == "Modality (0008,0060), CS"
    test = table["$defs"]["predicates.test"]["anyOf"][1]
    assert set(test["properties"]) == set(OPERATORS)
    assert table["$defs"]["RouteSettings"]["properties"]["match"]["$ref"] == "#/$defs/predicates.study"


ATTRIBUTES = [
    "Modality",
    "(0018,9087)",
    '(2001,"Philips (Imaging), DD 001",03)',
    "ProcedureCodeSequence.CodeValue",
]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_is_known_by_keyword_tag_creator_and_path(
    judge: jsonschema.Draft202012Validator, attribute: str
) -> None:
    def table(name: str) -> dict[str, Any]:
        route = {"name": "a", "match": {name: "1"}, "select": {"instance": {"not": {name: {"at_least": 1}}}}}
        test = {"name": "a", "given": {name: 1, "series": [{name: "1", "instances": [{name: ["a", "b"]}]}]}}
        return {"version": 1, "routes": [route], "tests": [{**test, "expect": {"routes": ["a"]}}]}

    assert complaints(judge, table(attribute)) == []
    assert len(complaints(judge, table("modality"))) == 5, "one for each place"


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_an_example_is_valid_in_an_editor(judge: jsonschema.Draft202012Validator, path: Path) -> None:
    assert complaints(judge, read(path).data) == []


def test_an_included_file_is_valid_in_an_editor() -> None:
    judge = jsonschema.Draft202012Validator(included_schema(Catalog()))
    assert [found for path in INCLUDED for found in complaints(judge, read(path).data)] == []
    assert complaints(judge, {"engine": {"data": "data"}}) != []


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_an_editor_marks_nothing_that_the_reader_of_the_table_takes(
    judge: jsonschema.Draft202012Validator, path: Path
) -> None:
    document = read(path)
    if document.findings or not document.data:  # no YAML that an editor could judge
        assert examine(path)[0] is None
    elif not read_sections(document, Catalog()).findings:
        assert complaints(judge, document.data) == []


def test_an_editor_marks_what_is_not_of_the_grammar(judge: jsonschema.Draft202012Validator) -> None:
    marked = {path.stem for path in BROKEN if complaints(judge, read(path).data)}
    assert {"channel-type", "channel-unknown-key", "match-operator", "missing-version", "durations"} <= marked


def test_what_a_type_needs_may_come_from_the_defaults(judge: jsonschema.Draft202012Validator) -> None:
    table: dict[str, Any] = {"version": 1, "outbound": {"ris": {"type": "hl7_oru", "site": "a"}}}
    assert [one.message for one in judge.iter_errors(table)] == [
        "'host' is a required property",
        "'port' is a required property",
    ]
    table["defaults"] = {"outbound": {"hl7_oru": {"host": "10.90.7.2", "port": 2575}}}
    assert complaints(judge, table) == []


def test_the_result_is_the_document_that_a_processor_writes() -> None:
    schema = result_schema()
    report = schema["$defs"]["Report"]
    assert schema["$ref"] == "#/$defs/Report"
    assert set(report["properties"]) == set(Report.model_fields)
    assert "Result" in schema["$defs"]
