"""JSON Schema of the table and of results, for editors and for the authors of processors.

Enter: the models and the installed types. Leaves: a schema (2020-12) that knows every channel's
settings, so that an editor completes keys, shows their meaning and marks what is unknown.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.catalog import Catalog, Kind
from engine.errors import ConfigurationError
from engine.facts import CONTEXT_FACTS
from engine.grammar import OPERATORS
from engine.model import Report, Result
from engine.sections import NAME, TableSettings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE = r"^(([A-Z][A-Za-z0-9]+|\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\))(\.|$))+$"
_SECTIONS: tuple[tuple[str, Kind], ...] = (
    ("inbound", "inbound"),
    ("processors", "processor"),
    ("outbound", "outbound"),
)


def result_schema() -> dict[str, Any]:
    """What a processor writes to `out/result.json`; the result that wraps it is among the definitions."""
    refs, schema = models_json_schema([(Report, "validation"), (Result, "validation")])
    return {"$schema": _DIALECT, **schema, **refs[Report, "validation"], "title": "pons.result/1"}


def table_schema(catalog: Catalog) -> dict[str, Any]:
    """A routing table, with the settings of every type that is installed and can be loaded."""
    types = [
        (section, name, _settings(catalog, kind, name))
        for section, kind in _SECTIONS
        for name in catalog.names(kind)
    ]
    known = [(section, name, model) for section, name, model in types if model is not None]
    models: list[type[BaseModel]] = [TableSettings, *dict.fromkeys(model for _, _, model in known)]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = schema["$defs"]
    root = _definition(definitions, refs[TableSettings, "validation"])
    for section, kind in _SECTIONS:
        offered = []
        for _, name, model in (one for one in known if one[0] == section):
            own = _definition(definitions, refs[model, "validation"])
            definitions[f"{kind}.{name}"] = _typed(name, own)
            offered.append(f"{kind}.{name}")
        root["properties"][section] |= {
            "propertyNames": {"pattern": NAME},
            "additionalProperties": _by_type(offered),
        }
    root["properties"]["sites"] |= {"propertyNames": {"pattern": NAME}}
    route = _definition(definitions, {"$ref": "#/$defs/RouteSettings"})
    route["properties"]["match"] = _described(route["properties"]["match"], "study")
    route["properties"]["select"] = _described(route["properties"]["select"], "series")
    definitions |= _predicates()
    return {"$schema": _DIALECT, **root, "title": "Pons routing table", "$defs": definitions}


def _settings(catalog: Catalog, kind: Kind, name: str) -> type[BaseModel] | None:
    try:
        if kind == "inbound":
            return catalog.inbound(name).settings
        return catalog.outbound(name).settings if kind == "outbound" else catalog.processor(name).settings
    except ConfigurationError:  # broken: `pons check` says so where a table uses it
        return None


def _definition(definitions: dict[str, Any], ref: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definitions[str(ref["$ref"]).removeprefix("#/$defs/")]
    return found


def _typed(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """A type's settings with the key that names the type."""
    return {
        **own,
        "title": name,
        "properties": {"type": {"const": name}, **own.get("properties", {})},
        "required": ["type", *own.get("required", [])],
    }


def _by_type(offered: list[str]) -> dict[str, Any]:
    """The definition that `type` names; one branch at a time, so that errors speak of that type alone."""
    names = [name.partition(".")[2] for name in offered]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name.partition(".")[2]}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in offered
        ],
    }


def _described(field: dict[str, Any], level: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/predicates.{level}", "description": field.get("description", "")}


def _predicates() -> dict[str, Any]:
    """The grammar of `engine.grammar` as a schema."""
    scalar = {"type": ["string", "number"]}
    operands: dict[str, Any] = {
        "equals": scalar,
        "in": {"type": "array", "items": scalar, "minItems": 1},
        "matches": {"type": "string", "format": "regex"},
        "exists": {"type": "boolean"},
        "between": {"type": "array", "items": scalar, "minItems": 2, "maxItems": 2},
        "at_least": scalar,
        "at_most": scalar,
        "not": {"$ref": "#/$defs/predicates.test"},
    }
    test = {
        "anyOf": [
            scalar,
            {
                "type": "object",
                "properties": {operator: operands[operator] for operator in OPERATORS},
                "additionalProperties": False,
                "minProperties": 1,
            },
        ]
    }
    count = {"$ref": "#/$defs/predicates.count"}
    clock = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
    time = {
        "type": "object",
        "properties": {"between": {"type": "array", "items": clock, "minItems": 2, "maxItems": 2}},
        "required": ["between"],
        "additionalProperties": False,
    }
    structure: dict[str, dict[str, Any]] = {
        "study": {
            "series": {"$ref": "#/$defs/predicates.series"},
            "instance": {"$ref": "#/$defs/predicates.instance"},
            "instances": count,
            "time": time,
            **{fact: {"$ref": "#/$defs/predicates.test"} for fact in CONTEXT_FACTS},
        },
        "series": {"instance": {"$ref": "#/$defs/predicates.instance"}, "instances": count},
        "instance": {},
    }
    return {
        "predicates.test": test,
        "predicates.count": {
            "anyOf": [
                {"type": "integer"},
                {
                    "type": "object",
                    "properties": {
                        key: operands[key] for key in ("equals", "at_least", "at_most", "between")
                    },
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ]
        },
        **{f"predicates.{level}": _level(level, words) for level, words in structure.items()},
    }


def _level(level: str, words: dict[str, Any]) -> dict[str, Any]:
    own = {"$ref": f"#/$defs/predicates.{level}"}
    several = {"type": "array", "items": own, "minItems": 1}
    return {
        "type": "object",
        "properties": {"all": several, "any": several, "not": own, **words},
        "patternProperties": {_ATTRIBUTE: {"$ref": "#/$defs/predicates.test"}},
        "additionalProperties": False,
        "minProperties": 1,
    }
