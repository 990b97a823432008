"""Which results a destination gets: the `when:` of a `deliver:` entry.

Enter: a result and what a destination wants of it. Leaves: nothing when it is sent, else the reason why
not. Pure: the same decision and the same result give the same answer at any time, so the reason is not
stored but told from them again.

A result is sent when one of the alternatives holds: its status is among those named (all but *failed*
where none are), its outcome too, and so many of its findings pass every test, each of them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.model import Code, Finding, Result
from engine.values import Bounds, Test, bounds_from_json, bounds_to_json, test_from_json, test_to_json

DELIVERED_BY_DEFAULT = ("preliminary", "final", "corrected", "retracted")
"""Statuses that are sent where none are named: a failure report goes to those who ask for it."""

OUTCOMES = ("passed", "warned", "failed")
"""What a processor may say of the study as a whole (`outcome` of its report)."""

FLAGS: Mapping[str, tuple[str, ...]] = {
    "N": ("normal", "N"),
    "A": ("abnormal", "A"),
    "L": ("low", "L", "abnormal"),
    "H": ("high", "H", "abnormal"),
}
"""A flag (HL7 table 0078) in words; what is low or high is abnormal too."""

PARTS = ("concept", "value", "unit", "flag", "site", "laterality", "group", "tracking_id", "comment")
"""What may be asked of a finding. A code is `SCHEME:value`, its meaning, and but for `value` its value."""

AT_LEAST_ONE = Bounds(Decimal(1), None)


@dataclass(frozen=True, slots=True)
class FindingsTest:
    """So many findings pass each of these tests."""

    tests: tuple[tuple[str, Test], ...]  # what is asked, and what it must be
    count: Bounds = AT_LEAST_ONE

    def unmet(self, findings: Sequence[Finding]) -> str:
        """Why a result's findings do not do; empty when they do."""
        passed = sum(self._passed(finding) == len(self.tests) for finding in findings)
        if self.count.holds(Decimal(passed)):
            return ""
        return f"wanted {self}, found {passed or 'none'}{self._nearest(findings) if not passed else ''}"

    def _passed(self, finding: Finding) -> int:
        """How many tests pass before the first that does not."""
        for number, (part, test) in enumerate(self.tests):
            if not test.holds(values_of(finding, part)):
                return number
        return len(self.tests)

    def _nearest(self, findings: Sequence[Finding]) -> str:
        best = max(findings, key=self._passed, default=None)
        if best is None or not (passed := self._passed(best)):
            return ""
        part, _ = self.tests[passed]
        found = next(iter(values_of(best, part)), "no value")
        return f"; the nearest has {part} {found}"

    def __str__(self) -> str:
        asked = ", ".join(f"{part} {test}" for part, test in self.tests)
        counted = "a finding" if self.count == AT_LEAST_ONE else f"{self.count} findings"
        return f"{counted} with {asked}" if asked else counted


@dataclass(frozen=True, slots=True)
class When:
    """One alternative: everything in it must hold."""

    status: tuple[str, ...] = ()  # empty: all but failed
    outcome: tuple[str, ...] = ()  # empty: whatever it is
    findings: tuple[FindingsTest, ...] = ()

    def unmet(self, result: Result, *, told: bool = False) -> str:
        """Why it does not hold; empty when it does.

        Args:
            told: the destination was sent an earlier version, or was to be: the correction of that goes
                there whatever is found now, or it would go on showing what no longer is.
        """
        statuses = self.status or DELIVERED_BY_DEFAULT
        if result.status.value not in statuses:
            return f"wanted status {' or '.join(statuses)}, found {result.status.value}"
        if told:
            return ""
        outcome = result.report.outcome
        if self.outcome and outcome not in self.outcome:
            return f"wanted outcome {' or '.join(self.outcome)}, found {outcome or 'none'}"
        return next((why for one in self.findings if (why := one.unmet(result.report.findings))), "")

    def never_holds(self) -> str:
        """Why no result could ever meet it; empty when one could."""
        if self.status == ("failed",):
            if self.outcome:
                return "a run that failed gives no outcome, so this never holds"
            if any(not one.count.holds(Decimal(0)) for one in self.findings):
                return "a run that failed gives no findings, so this never holds"
        return ""

    def __str__(self) -> str:
        parts = [" or ".join(self.status)] if self.status else []
        if self.outcome:
            parts.append(f"outcome {' or '.join(self.outcome)}")
        parts.extend(map(str, self.findings))
        return ", ".join(parts)


def unmet(alternatives: Sequence[When], result: Result, *, told: bool = False) -> str:
    """Why a destination does not get a result; empty when it does. No alternatives: all but failures."""
    reasons = []
    for one in alternatives or (When(),):
        why = one.unmet(result, told=told)
        if not why:
            return ""
        reasons.append(why)
    return "; or ".join(dict.fromkeys(reasons))


def values_of(finding: Finding, part: str) -> tuple[str, ...]:
    """What a finding has under one of `PARTS`, in every way in which it may be asked for."""
    value: Any = getattr(finding, part)
    if value is None or value == "":
        return ()
    if part == "flag":
        return FLAGS[value.value]
    if isinstance(value, Code):
        named = f"{value.scheme}:{value.value}", value.meaning
        return named if part == "value" else (value.value, *named)  # its digits are no number
    return (f"{value:f}",) if isinstance(value, Decimal) else (str(value),)


# ── as stored ───────────────────────────────────────────────────────────────────────────────────


def when_to_json(alternatives: Sequence[When]) -> list[dict[str, Any]]:
    """Alternatives as plain data; what is empty is left out."""
    return [dict(_written(one)) for one in alternatives]


def _written(when: When) -> Iterator[tuple[str, Any]]:
    if when.status:
        yield "status", list(when.status)
    if when.outcome:
        yield "outcome", list(when.outcome)
    if when.findings:
        yield (
            "findings",
            [
                {
                    "tests": {part: test_to_json(test) for part, test in one.tests},
                    "count": bounds_to_json(one.count),
                }
                for one in when.findings
            ],
        )


def when_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[When, ...]:
    """The alternatives that `when_to_json` wrote."""
    return tuple(
        When(
            status=tuple(one.get("status", ())),
            outcome=tuple(one.get("outcome", ())),
            findings=tuple(
                FindingsTest(
                    tuple((part, test_from_json(test)) for part, test in findings["tests"].items()),
                    bounds_from_json(findings["count"]),
                )
                for findings in one.get("findings", ())
            ),
        )
        for one in data
    )
