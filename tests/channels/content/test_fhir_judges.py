"""FHIR R4 before two judges in Node, beside the three in Python that test_fhir.py asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from channels.content import fhir
from engine.model import History, Result, ResultStatus
from tests.peers.fhir_node_judges import node_fhir_errors

Standing = Callable[..., tuple[Result, History]]
MODES: tuple[fhir.Mode, ...] = ("upsert", "report", "document")


@pytest.mark.judges
def test_medplum_and_fhir_js_find_no_error_in_any_mode_and_standing(in_standing: Standing) -> None:
    cases = [
        (mode, kind, status) for mode in MODES for kind in ("full", "minimal") for status in ResultStatus
    ]
    resources = []
    for mode, kind, status in cases:
        payload = fhir.render(*in_standing(kind, status), mode, include_pdf=True)
        resources.append(json.loads(payload.parts[0].read()))
    found = dict(zip(cases, node_fhir_errors(resources), strict=True))
    assert {case: errors for case, errors in found.items() if errors} == {}


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a status that is none": lambda report: report.update(status="done"),
    "an element that is none": lambda report: report.update(verdict="fine"),
    "no code": lambda report: report.pop("code"),
    "one where a list belongs": lambda report: report.update(category=report["category"][0]),
    "an R5 element": lambda report: report.update(study=report.pop("imagingStudy")),
}


@pytest.mark.judges
def test_the_two_do_look(full: Result, history: Any) -> None:
    resources = []
    for spoil in WRONG.values():
        report = json.loads(fhir.render(full, history(), "report").parts[0].read())
        spoil(report)
        resources.append(report)
    found = dict(zip(WRONG, node_fhir_errors(resources), strict=True))
    assert [what for what, errors in found.items() if not errors] == []
    judges = {error.partition(":")[0] for errors in found.values() for error in errors}
    assert judges == {"Medplum", "FHIR.js"}
