"""JSON: the canonical document, read back to the same result."""

from __future__ import annotations

import json

from channels.content.json_document import EXPORT, export
from engine.model import Result


def test_the_document_reads_back_to_the_same_result(full: Result) -> None:
    again = Result.model_validate_json(export(full))
    places = [one.model_copy(update={"path": None}) for one in full.report.artefacts]
    report = full.report.model_copy(update={"artefacts": tuple(places)})
    assert again == full.model_copy(update={"report": report})


def test_the_document_keeps_digits_and_names_and_tells_no_place(full: Result) -> None:
    content = export(full)
    loaded = json.loads(content)
    assert loaded["report"]["version"] == "pons.result/1"
    assert loaded["report"]["findings"][1]["value"] == "1.60"
    assert loaded["patient"]["name"]["ideographic"] == "山田^太郎"
    assert loaded["report"]["artefacts"][0]["path"] is None
    assert str(full.report.artefacts[0].path).encode() not in content


def test_a_bare_result_is_a_document_too(minimal: Result) -> None:
    assert Result.model_validate_json(export(minimal)) == minimal
    assert (EXPORT.name, EXPORT.suffix, EXPORT.media_type) == ("json", ".json", "application/json")
