"""Settings models as JSON Schema in the operator's words: defaults as they are written, an example each.

Enter: pydantic models. Leave: definitions (2020-12) in which `timeout` defaults to `30s` and not to
30.0, and in which every field has at least one example. An example stands beside the field
(`Field(examples=[...])`) where only its author can know one; otherwise it is the default, the sample
of its type (`x-sample`), the first choices, or composed from the fields of the block it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from engine.settings import duration_text, size_text

Definitions = dict[str, dict[str, Any]]

_WRITTEN = {"duration": duration_text, "size": size_text}
_OWN_KEYS = ("x-sample", "x-kind")
_DEEPEST = 4  # a block in a block in a block; what is deeper is shown where it is defined


class _AsWritten(GenerateJsonSchema):
    """Defaults become what an operator would type; whole blocks tell theirs field by field."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Everything keeps the order it is written in."""
        return value

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        default = schema.get("default")
        if isinstance(default, BaseModel) or default == ():
            return {key: value for key, value in found.items() if key != "default"}
        written = _WRITTEN.get(str(found.get("x-kind")))
        if written is not None and isinstance(default, int | float):
            found["default"] = written(default)
        return found


def definitions_of(models: Sequence[type[BaseModel]]) -> tuple[dict[type[BaseModel], str], Definitions]:
    """The definitions of some models and of all they use, and the name under which each stands."""
    refs, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_AsWritten
    )
    names = {model: str(refs[model, "validation"]["$ref"]).removeprefix("#/$defs/") for model in models}
    definitions: Definitions = schema["$defs"]
    return names, definitions


def exemplify(definitions: Definitions) -> None:
    """Give every field an example, in place."""
    for one in definitions.values():
        for field in one.get("properties", {}).values():
            if not field.get("examples") and "const" not in field:
                found = example_of(field, definitions)
                if found is not None:
                    field["examples"] = [found]


def example_of(field: dict[str, Any], definitions: Definitions, depth: int = 0) -> Any:
    """One value that a field may have, as an operator writes it; None when nothing tells one."""
    if depth > _DEEPEST:
        return None
    if field.get("examples"):
        return field["examples"][0]
    if isinstance(field.get("type"), str) and field["type"] == "boolean":
        return not field.get("default", False)
    for key in ("const", "default", "x-sample"):
        if field.get(key) not in (None, "", [], {}):
            return field[key]
    if "enum" in field:
        return field["enum"][0]
    if "$ref" in field:
        return _composed(definitions[field["$ref"].removeprefix("#/$defs/")], definitions, depth)
    for choice in (*field.get("allOf", ()), *field.get("oneOf", ()), *field.get("anyOf", ())):
        found = example_of(choice, definitions, depth + 1)
        if found is not None:
            return found
    if field.get("type") == "array" and "items" in field:
        item = example_of(field["items"], definitions, depth + 1)
        return None if item is None else [item]
    return field.get("minimum") if field.get("type") in ("integer", "number") else None


def _composed(block: dict[str, Any], definitions: Definitions, depth: int) -> Any:
    """A block by the examples of its fields: the required ones, or all where none is."""
    if block.get("examples") or "properties" not in block:
        return example_of(block, definitions, depth + 1)
    names = block.get("required") or block["properties"]
    found = {name: example_of(block["properties"][name], definitions, depth + 1) for name in names}
    return {name: value for name, value in found.items() if value is not None} or None


def without_marks(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, its `x-` marks taken out in place: they are for this house, not for editors."""
    for part in _every(schema):
        for key in _OWN_KEYS:
            part.pop(key, None)
    return schema


def _every(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _every(inner)
