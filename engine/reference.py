"""The reference pages of the table, from the same models as its JSON Schema.

Enter: the installed types. Leave: Markdown, a section for each block with every field's type, default,
meaning and an example. `make docs` writes them to docs/reference/; a test holds them to the software.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.catalog import Catalog
from engine.schema import SECTIONS, marked_table_schema
from engine.yaml_text import in_line

_TABLE = """# The table, field by field

Made by `make docs` from the models that read the table; [the routing table](../routing.md) tells the
story, [channels and processors](types.md) have a page of their own. A field without a default must be
given, unless it says otherwise. A duration is a number with its unit (`250ms`, `60s`, `20m`, `72h`), a
size a number of bytes or `64kB`, `512MB`, `4GB` (powers of 1024), a rate `10/s`, `120/m` or `600/h`.
"""
_TYPES = """# Channels and processors, field by field

Made by `make docs` from the models that read the table. What each type promises, what counts as
delivered and which errors there are stands on the page that its heading names;
[blocks that several share](table.md) are beside the table's own. The block `type: webhook`, for example,
stands under a name of your choice in `outbound:`.
"""
_PAGES = {"inbound": "channels", "outbound": "channels", "processor": "processors"}
_TOLD = {
    "predicates.study": "[predicates](../routing.md#predicates)",
    "predicates.series": "[predicates](../routing.md#predicates)",
    "given.study": "[a study](../routing.md#tests)",
}
_SHARED = "every destination"
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def reference_pages(catalog: Catalog) -> dict[str, str]:
    """The pages by their file names."""
    schema = marked_table_schema(catalog)
    return {"table.md": _Reference(schema).table(), "types.md": _Reference(schema).types(catalog)}


def title_of(catalog: Catalog, kind: str, name: str) -> str:
    """What the page and the section of a type are called: a name that goes both ways tells which is meant."""
    return f"{name} (outbound)" if kind == "outbound" and name in catalog.names("inbound") else name


class _Reference:
    """Writes the pages of one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._definitions: dict[str, dict[str, Any]] = schema["$defs"]
        self._titles = self._titles_of_blocks()

    def table(self) -> str:
        """The sections, and every block that they or a type mention."""
        parts = [_TABLE, self._block("the file", self._root)]
        parts += [self._block(title, self._definitions[name]) for name, title in self._titles.items()]
        return "\n".join(parts)

    def types(self, catalog: Catalog) -> str:
        """What every destination has, then each installed type."""
        parts = [_TYPES]
        outbound = [self._definitions[f"outbound.{name}"] for name in catalog.names("outbound")]
        common = [
            key for key in outbound[0]["properties"] if all(key in one["properties"] for one in outbound)
        ]
        shared = [key for key in common if key != "type" and _alike(key, outbound)]
        parts.append(
            self._block(_SHARED, outbound[0], only=shared, told="The fields that all of `outbound:` have.")
        )
        for section, kind in SECTIONS:
            for name in catalog.names(kind):
                block = self._definitions.get(f"{kind}.{name}")
                if block is not None:
                    own = [key for key in block["properties"] if kind != "outbound" or key not in shared]
                    title = title_of(catalog, kind, name)
                    page = f"[`{name}` under `{section}:`](../{_PAGES[kind]}/{_slug(title)}.md)"
                    rest = f", and the fields of [{_SHARED}](#{_slug(_SHARED)})" if kind == "outbound" else ""
                    told = f"{page}{rest}. {block.get('description', '')}"
                    parts.append(self._block(title, block, only=own, told=told))
        return "\n".join(parts)

    def _titles_of_blocks(self) -> dict[str, str]:
        """A heading for every block with fields of its own, by the way to it, in the order of a table."""
        found: dict[str, str] = {}
        ahead = [(self._root, "")]
        types = [(block, name) for name, block in self._definitions.items() if "." in name]
        while ahead:
            block, path = ahead.pop(0)
            for key, field in block.get("properties", {}).items():
                for name in _referred(field):
                    if name not in found and "." not in name:
                        found[name] = title = self._title(name, f"{path} {key}".strip())
                        ahead.append((self._definitions[name], title))
            if not ahead and types:
                ahead = [(block, "") for block, name in types if name.partition(".")[0] in _PAGES]
                types = []
        return found

    def _title(self, name: str, path: str) -> str:
        """A secret stands in many places; the kinds of one block are told apart by their `type`."""
        if name == "Secret":
            return "secret"
        kind = self._definitions[name].get("properties", {}).get("type", {}).get("const", "")
        return f"{path} {kind}".strip()

    def _block(
        self, title: str, block: dict[str, Any], *, only: list[str] | None = None, told: str = ""
    ) -> str:
        lines = [f"## {title}", "", told or str(block.get("description", "")).strip(), ""]
        lines += ["| field | type | default | meaning | example |", "|---|---|---|---|---|"]
        for key, field in block.get("properties", {}).items():
            if (only is None or key in only) and "const" not in field:
                default = self._default(key, field, block)
                meaning = " ".join(str(field.get("description", "")).split())
                example = in_line(field["examples"][0]) if field.get("examples") else ""
                row = (f"`{key}`", self._type(field), default, meaning, f"`{example}`" if example else "")
                lines.append(f"| {' | '.join(one.replace('|', chr(92) + '|') for one in row)} |")
        return "\n".join([*lines, ""])

    @staticmethod
    def _default(key: str, field: dict[str, Any], block: dict[str, Any]) -> str:
        if key in block.get("required", ()):
            return "–"
        default = field.get("default")
        return "" if default in (None, "", [], {}) else f"`{in_line(default)}`"

    def _type(self, field: dict[str, Any]) -> str:
        if "$ref" in field:
            name = str(field["$ref"]).removeprefix("#/$defs/")
            if name in _TOLD:
                return _TOLD[name]
            title = self._titles[name]
            return f"[{title.split()[-1]}](table.md#{_slug(title)})"
        if "x-kind" in field:
            return str(field["x-kind"])
        if "enum" in field:
            return "one of " + ", ".join(f"`{one}`" for one in field["enum"])
        for word in ("anyOf", "oneOf"):
            if word in field:
                told = [self._type(one) for one in field[word] if one.get("type") != "null"]
                return " or ".join(dict.fromkeys(one for one in told if one)) or "anything"
        kind = field.get("type", "")
        kind = next((one for one in kind if one != "null"), "") if isinstance(kind, list) else kind
        if kind == "array":
            return f"list of {self._type(field.get('items', {}))}"
        if kind == "object":
            return self._mapping(field)
        bounds = [str(field[key]) for key in ("minimum", "maximum") if key in field]
        word = "path" if field.get("format") == "path" else _WORDS.get(str(kind), "anything")
        return f"{word}, {' to '.join(bounds)}" if len(bounds) == 2 else word

    def _mapping(self, field: dict[str, Any]) -> str:
        values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties", {})]
        inner = next((one for one in values if isinstance(one, dict) and one), None)
        if inner is not None and "allOf" in inner:
            return "mapping of [blocks with a type](types.md)"
        return "mapping" if inner is None else f"mapping of {self._type(inner)}"


def _alike(key: str, blocks: list[dict[str, Any]]) -> bool:
    fields = [block["properties"][key] for block in blocks]
    usual = max(fields, key=fields.count)
    return all(one == usual for one in fields)


def _referred(field: Any) -> Iterator[str]:
    """The blocks that a field mentions, in order."""
    if isinstance(field, dict):
        if isinstance(field.get("$ref"), str):
            yield field["$ref"].removeprefix("#/$defs/")
        for key, inner in field.items():
            if key != "examples":
                yield from _referred(inner)
    elif isinstance(field, list):
        for inner in field:
            yield from _referred(inner)


_UNNAMED = str.maketrans("", "", "()")  # what the anchor of a heading leaves out


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-").translate(_UNNAMED)
