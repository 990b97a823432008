"""Which results a destination gets, row by row; read from the YAML an operator would write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml

from engine.finding import Location, Mark
from engine.grammar import MatchReader
from engine.model import (
    Algorithm,
    Code,
    Finding,
    Flag,
    Order,
    Patient,
    Report,
    Result,
    ResultStatus,
    StudyReference,
)
from engine.when import When, unmet, when_from_json, when_to_json
from engine.when_grammar import WhenReader

BLEED = Code(value="50960005", scheme="SCT", meaning="Hemorrhage")
VOLUME = Code(value="118565006", scheme="SCT", meaning="Volume")
PRESENT = Code(value="52101004", scheme="SCT", meaning="Present")
BRAIN = Code(value="12738006", scheme="SCT", meaning="Brain")
ML = Code(value="mL", scheme="UCUM", meaning="milliliter")

FINDINGS = (
    Finding(concept=BLEED, value=PRESENT, flag=Flag.ABNORMAL, site=BRAIN, group="Verdict"),
    Finding(concept=VOLUME, value=Decimal("31.50"), unit=ML, flag=Flag.HIGH, group="lesion 1"),
    Finding(concept=VOLUME, value=Decimal("4"), unit=ML, group="lesion 2", comment="near the skull base"),
)


def result(
    status: str = "final", outcome: Any = "failed", findings: tuple[Finding, ...] = FINDINGS
) -> Result:
    return Result(
        result_id="r-1",
        site="st-marys",
        route="bleed",
        status=ResultStatus(status),
        produced_at=datetime(2026, 5, 4, tzinfo=UTC),
        patient=Patient(),
        order=Order(),
        study=StudyReference(study_instance_uid="1.2"),
        report=Report(outcome=outcome, findings=findings, algorithm=Algorithm(name="a", version="1")),
    )


def read(text: str) -> tuple[When, ...]:
    """The alternatives in a line of YAML; any complaint fails the test."""

    def complain(location: Location, message: str, code: str = "") -> None:
        pytest.fail(f"{location}: {message}")

    def block(model: Any, data: Any, location: Location) -> Any:
        return model.model_validate(data)

    reader = MatchReader(lambda location: Mark("t", 1, 1), complain, complain)
    return WhenReader(reader, block).when(yaml.safe_load(text), ("when",))


SENT = ""
ROWS: list[tuple[str, Result, str]] = [
    # status
    ("status: [final, corrected]", result(), SENT),
    ("status: final", result(), SENT),
    ("status: [corrected]", result(), "wanted status corrected, found final"),
    ("status: [failed]", result("failed", None, ()), SENT),
    # what the processor says of the study; without a status all but failures
    ("outcome: [warned, failed]", result(), SENT),
    ("outcome: passed", result(), "wanted outcome passed, found failed"),
    ("outcome: failed", result(outcome=None), "wanted outcome failed, found none"),
    (
        "outcome: failed",
        result("failed", None, ()),
        "wanted status preliminary or final or corrected or retracted, found failed",
    ),
    # one finding must pass all of it
    ("findings: {concept: 'SCT:50960005'}", result(), SENT),
    ("findings: {concept: '50960005'}", result(), SENT),
    ("findings: {concept: Hemorrhage, value: Present}", result(), SENT),
    ("findings: {concept: Volume, value: {at_least: 30}, unit: mL}", result(), SENT),
    ("findings: {concept: Volume, value: 31.5}", result(), SENT),
    ("findings: {concept: Volume, value: 4, flag: {exists: false}}", result(), SENT),
    (
        "findings: {concept: Volume, site: Brain}",
        result(),
        "wanted a finding with concept Volume, site Brain, found none; the nearest has site no value",
    ),
    (
        "findings: {concept: Volume, value: {at_least: 40}}",
        result(),
        "wanted a finding with concept Volume, value at least 40, found none; the nearest has value 31.50",
    ),
    (
        "findings: {value: {at_least: 1000}}",  # the digits of a code are no number
        result(),
        "wanted a finding with value at least 1000, found none",
    ),
    (
        "findings: {concept: {in: [Mass, Nodule]}}",
        result(),
        "wanted a finding with concept Mass or Nodule, found none",
    ),
    ("findings: {concept: {matches: '(?i)hem'}}", result(), SENT),
    ("findings: {comment: {matches: skull}}", result(), SENT),
    ("findings: {flag: low}", result(), "wanted a finding with flag low, found none"),
    ("findings: {flag: high}", result(), SENT),
    # what is high is abnormal too
    ("findings: {flag: abnormal, concept: Volume}", result(), SENT),
    ("findings: {flag: abnormal, count: 2}", result(), SENT),
    # how many
    ("findings: {concept: Volume, count: {at_least: 2}}", result(), SENT),
    (
        "findings: {concept: Volume, count: {at_least: 3}}",
        result(),
        "wanted at least 3 findings with concept Volume, found 2",
    ),
    ("findings: {flag: abnormal, count: 0}", result(findings=FINDINGS[2:]), SENT),
    (
        "findings: {flag: abnormal, count: 0}",
        result(),
        "wanted exactly 0 findings with flag abnormal, found 2",
    ),
    # each of a list
    ("findings: [{concept: Hemorrhage}, {value: {at_least: 30}}]", result(), SENT),
    (
        "findings: [{concept: Hemorrhage}, {value: {at_least: 32}}]",
        result(),
        "wanted a finding with value at least 32, found none",
    ),
    # one of the alternatives
    ("[{status: failed}, {outcome: failed}]", result(), SENT),
    ("[{status: failed}, {outcome: failed}]", result("failed", None, ()), SENT),
    (
        "[{status: failed}, {outcome: failed}]",
        result(outcome="passed"),
        "wanted status failed, found final; or wanted outcome failed, found passed",
    ),
]


@pytest.mark.parametrize(("text", "subject", "reason"), ROWS)
def test_a_result_is_sent_or_the_reason_why_not(text: str, subject: Result, reason: str) -> None:
    assert unmet(read(text), subject) == reason


@pytest.mark.parametrize(("status", "sent"), [("preliminary", True), ("retracted", True), ("failed", False)])
def test_without_when_all_but_failures_are_sent(status: str, sent: bool) -> None:
    assert (unmet((), result(status)) == "") is sent


def test_who_was_told_gets_the_correction_whatever_is_found_now() -> None:
    """Else the receiver would go on showing the finding that was withdrawn."""
    wanted = read("{outcome: failed, findings: {flag: abnormal}}")
    corrected = result("corrected", "passed", ())
    assert unmet(wanted, corrected) != ""
    assert unmet(wanted, corrected, told=True) == ""
    assert unmet(read("{status: final, outcome: failed}"), corrected, told=True) == (
        "wanted status final, found corrected"
    )


@pytest.mark.parametrize("text", sorted({text for text, _, _ in ROWS}))
def test_what_is_wanted_survives_the_store(text: str) -> None:
    wanted = read(text)
    stored = json.loads(json.dumps(when_to_json(wanted)))
    again = when_from_json(stored)
    assert when_to_json(again) == stored
    assert list(map(str, again)) == list(map(str, wanted))
    for subject in (result(), result(outcome="passed"), result("failed", None, ()), result(findings=())):
        assert unmet(again, subject) == unmet(wanted, subject)
