"""JSON Schema of the table and of results, for editors and for the authors of processors.

Enter: the models and the installed types. Leaves: a schema (2020-12) that knows every channel's
settings, so that an editor completes keys, shows their meaning and marks what is unknown.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.catalog import Catalog, Kind
from engine.document import MAPPINGS, SEQUENCES
from engine.errors import ConfigurationError
from engine.model import Report, Result
from engine.schema_fields import Definitions, definitions_of, exemplify, without_marks
from engine.schema_given import given_definitions
from engine.schema_predicates import predicate_definitions
from engine.sections import NAME, TableSettings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
SECTIONS: tuple[tuple[str, Kind], ...] = (
    ("inbound", "inbound"),
    ("processors", "processor"),
    ("outbound", "outbound"),
)
"""The sections whose blocks have a `type`, and the kind of type."""


def result_schema() -> dict[str, Any]:
    """What a processor writes to `out/result.json`; the result that wraps it is among the definitions."""
    refs, schema = models_json_schema([(Report, "validation"), (Result, "validation")])
    return {"$schema": _DIALECT, **schema, **refs[Report, "validation"], "title": "pons.result/1"}


def table_schema(catalog: Catalog) -> dict[str, Any]:
    """A routing table, with the settings of every type that is installed and can be loaded."""
    schema = without_marks(marked_table_schema(catalog))
    return {**schema, **_required_where_nothing_defaults(schema["$defs"])}


def marked_table_schema(catalog: Catalog) -> dict[str, Any]:
    """The same with the marks of `engine.schema_fields`: `x-kind` says what a text or number stands for."""
    known = [
        (section, kind, name, model)
        for section, kind in SECTIONS
        for name in catalog.names(kind)
        if (model := _settings(catalog, kind, name)) is not None
    ]
    types = dict.fromkeys(model for *_, model in known)
    names, definitions = definitions_of([TableSettings, *types])
    for _, kind, name, model in known:
        definitions[f"{kind}.{name}"] = _typed(name, definitions[names[model]])
    for model in types:
        del definitions[names[model]]
    root = definitions.pop(names[TableSettings])
    for section, _ in SECTIONS:
        offered = [f"{kind}.{name}" for one, kind, name, _ in known if one == section]
        root["properties"][section] |= {
            "propertyNames": {"pattern": NAME},
            "additionalProperties": _by_type(offered),
        }
    root["properties"]["sites"] |= {"propertyNames": {"pattern": NAME}}
    definitions |= predicate_definitions() | given_definitions()
    _put_grammar(definitions)
    exemplify(definitions | {"": root})
    # Every section may stand empty, as `check` reads it.
    for section in root["properties"].keys() - {"version"}:
        root["properties"][section] = _or_nothing(root["properties"][section])
    return {"$schema": _DIALECT, **root, "title": "Pons routing table", "$defs": definitions}


def included_schema(catalog: Catalog) -> dict[str, Any]:
    """A file that a table includes: only what is added to the table's own, and no version."""
    whole = table_schema(catalog)
    kept = {
        name: whole["properties"][name] for name in (*MAPPINGS, *SEQUENCES) if name in whole["properties"]
    }
    return {
        **{key: value for key, value in whole.items() if key not in ("required", "if", "then")},
        "title": "Part of a Pons routing table",
        "description": "A file that a routing table includes.",
        "properties": kept,
    }


def _settings(catalog: Catalog, kind: Kind, name: str) -> type[BaseModel] | None:
    try:
        if kind == "inbound":
            return catalog.inbound(name).settings
        return catalog.outbound(name).settings if kind == "outbound" else catalog.processor(name).settings
    except ConfigurationError:  # broken: `pons check` says so where a table uses it
        return None


def _typed(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """A type's settings with the key that names the type."""
    named = {"const": name, "description": f"What it is: {name}."}
    return {
        **own,
        "title": name,
        "properties": {"type": named, **{key: {**field} for key, field in own.get("properties", {}).items()}},
        "required": ["type", *own.get("required", [])],
    }


def _by_type(offered: list[str]) -> dict[str, Any]:
    """The definition that `type` names; one branch at a time, so that errors speak of that type alone."""
    names = [name.partition(".")[2] for name in offered]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names, "description": "What it is."}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name.partition(".")[2]}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in offered
        ],
    }


def _required_where_nothing_defaults(definitions: Definitions) -> dict[str, Any]:
    """What a type needs, asked for in a table without `defaults:`; from those any field may come."""
    sections = {}
    for section, kind in SECTIONS:
        asked = []
        for name, block in definitions.items():
            needed = [key for key in block.get("required", ()) if key != "type"]
            if name.startswith(f"{kind}.") and needed:
                block["required"] = ["type"]
                named = {"properties": {"type": {"const": block["title"]}}, "required": ["type"]}
                asked.append({"if": named, "then": {"required": needed}})
        if asked:
            sections[section] = {"additionalProperties": {"allOf": asked}}
    return {"if": {"not": {"required": ["defaults"]}}, "then": {"properties": sections}}


def _put_grammar(definitions: Definitions) -> None:
    """What the models leave open because `engine.grammar` and `engine.given` read it."""
    for block, key, grammar in (
        ("RouteSettings", "match", "predicates.study"),
        ("RouteSettings", "select", "predicates.series"),
        ("TestSettings", "given", "given.study"),
    ):
        field = definitions[block]["properties"][key]
        definitions[block]["properties"][key] = {
            "$ref": f"#/$defs/{grammar}",
            "description": field.get("description", ""),
            "examples": field.get("examples", []),
        }


def _or_nothing(section: dict[str, Any]) -> dict[str, Any]:
    if isinstance(section.get("type"), str):
        return {**section, "type": [section["type"], "null"]}
    if "$ref" not in section:
        return section
    return {
        **{key: section[key] for key in section if key != "$ref"},
        "anyOf": [{"$ref": section["$ref"]}, {"type": "null"}],
    }
