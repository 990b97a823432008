"""Findings as SARIF 2.1.0: what code hosts demand is there, and nothing that the format does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engine.config import examine
from engine.finding import Finding
from engine.sarif import log_of

BROKEN = Path(__file__).parent / "broken_tables"


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
MESSAGE = closed(["text"], text=TEXT)
REGION = closed(
    ["startLine", "startColumn"],  # 3.30
    startLine={"type": "integer", "minimum": 1},
    startColumn={"type": "integer", "minimum": 1},
)
PLACE = closed(
    ["physicalLocation"],  # 3.28
    physicalLocation=closed(
        ["artifactLocation", "region"],  # 3.29
        artifactLocation=closed(["uri"], uri={"type": "string", "pattern": r"^[^\s\\]+$"}),
        region=REGION,
    ),
    logicalLocations={"type": "array", "items": closed(["fullyQualifiedName"], fullyQualifiedName=TEXT)},
)
RESULT = closed(
    ["ruleId", "level", "message", "locations", "partialFingerprints"],  # 3.27
    ruleId={"type": "string", "pattern": "^[a-z-]+$"},
    ruleIndex={"type": "integer", "minimum": 0},
    level={"enum": ["none", "note", "warning", "error"]},
    message=MESSAGE,
    locations={"type": "array", "items": PLACE, "minItems": 1},
    partialFingerprints={"type": "object", "additionalProperties": TEXT, "minProperties": 1},
)
DRIVER = closed(
    ["name", "rules"],  # 3.19
    name=TEXT,
    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
    rules={
        "type": "array",
        "uniqueItems": True,
        "items": closed(["id", "shortDescription"], id=TEXT, shortDescription=MESSAGE),  # 3.49
    },
)
RUN = closed(
    ["tool", "results"],  # 3.14
    tool=closed(["driver"], driver=DRIVER),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results={"type": "array", "items": RESULT},
)
LOG = closed(
    ["version", "runs"],  # 3.13
    **{
        "$schema": TEXT,
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN, "minItems": 1},
    },
)


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_broken_table_makes_a_log_as_the_standard_has_it(path: Path) -> None:
    _, findings = examine(path, surroundings=False)
    log = json.loads(json.dumps(log_of(findings, Path("tables"), "1.2.3")))
    jsonschema.validate(log, LOG)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[one["ruleIndex"]] for one in run["results"]] == [one.code for one in findings]
    prints = [one["partialFingerprints"]["finding/v1"] for one in run["results"]]
    assert len(set(prints)) == len(findings)
    for one, finding in zip(run["results"], findings, strict=True):
        assert one["locations"][0]["physicalLocation"]["region"]["startLine"] == finding.line


def test_a_finding_is_recognised_when_its_line_has_moved() -> None:
    one = Finding("a b.yaml", 3, 5, "sites.a", "cause", "warning", "bad-value")
    moved = Finding("a b.yaml", 90, 1, "sites.a", "cause", "warning", "bad-value")
    first, second = (log_of([each], Path("/x"), "1.0.0")["runs"][0]["results"][0] for each in (one, moved))
    assert first["partialFingerprints"] == second["partialFingerprints"]
    assert first["level"] == "warning"
    where = first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert where.endswith("/x/a%20b.yaml")
