"""A result as its canonical JSON document, the one that `pons schema result` describes.

Enter: a result. Leave: UTF-8 JSON (RFC 8259) that validates as a `Result` again. Numbers are text, so
that no reader makes binary floats of them. Where an artefact lies on our disk is nobody's business
and left out.
"""

from __future__ import annotations

import json
from typing import Any

from engine.channel import ExportType
from engine.model import Result


def document(result: Result) -> dict[str, Any]:
    """The document as plain data, without the places of artefacts."""
    plain: dict[str, Any] = result.model_dump(mode="json")
    for artefact in plain["report"]["artefacts"]:
        artefact["path"] = None
    return plain


def export(result: Result) -> bytes:
    """The document as people can read it."""
    return (json.dumps(document(result), ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


EXPORT = ExportType("json", "application/json", ".json", export)
