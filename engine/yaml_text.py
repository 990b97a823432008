"""Values as they stand in a table, on one line: `{to: stm-ris, after: [stm-pacs]}`.

Enter: plain data. Leaves: YAML in the style of the examples, quoted only where YAML needs it. What is
read back by engine.document is equal to what came in.
"""

from __future__ import annotations

import json
from typing import Any

import yaml


def in_line(value: Any) -> str:
    """A value in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{in_line(key)}: {in_line(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_line(one) for one in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _is_plain(text: str) -> bool:
    """Whether a text needs no quotes inside brackets and braces."""
    if set(text) & set("()?*{}\\"):
        return False
    try:
        return bool(yaml.safe_load(f"[{text}]") == [text])
    except yaml.YAMLError:
        return False
