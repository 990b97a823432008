"""Read the `when:` of a `deliver:` entry.

Enter: plain data from the table and the reader of its tests. Leave: the alternatives of which one must
hold (docs/routing.md) and, for everything that is not of the grammar, a complaint with its location.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, SkipValidation

from engine.attribute import UNKNOWN, Named
from engine.finding import Location, did_you_mean, shown
from engine.grammar import MatchReader
from engine.settings import Settings
from engine.values import Test
from engine.when import AT_LEAST_ONE, FLAGS, PARTS, FindingsTest, When

M = TypeVar("M", bound=BaseModel)
Block = Callable[[type[M], Any, Location], M | None]
Status = Literal["preliminary", "final", "corrected", "retracted", "failed"]
Outcome = Literal["passed", "warned", "failed"]

_EMPTY = "is empty; say what a finding must be, for example {flag: abnormal}"
_WORDS = tuple(dict.fromkeys(word for words in FLAGS.values() for word in words))


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class FindingsSettings(Settings):
    """`findings:` of a `when:` what one finding must be; each key takes a value or a test of values."""

    concept: Any = Field(None, examples=["SCT:413854007"])
    """What was measured or asked: the value of its code, `SCHEME:value`, or its meaning."""
    value: Any = Field(None, examples=[{"at_least": 30}])
    """What was found: a number, text, or a code as for `concept`."""
    unit: Any = Field(None, examples=["mm"])
    """The UCUM unit of a number."""
    flag: Any = Field(None, examples=["abnormal"])
    """`normal`, `abnormal`, `low` or `high`; what is low or high is abnormal too."""
    site: Any = Field(None, examples=["SCT:12738006"])
    """Where in the body, a code."""
    laterality: Any = Field(None, examples=["SCT:7771000"])
    """On which side, a code."""
    group: Any = Field(None, examples=["Verdict"])
    """The group that it belongs to."""
    tracking_id: Any = Field(None, examples=["lesion 1"])
    """Its tracking identifier."""
    comment: Any = Field(None, examples=[{"matches": "(?i)motion"}])
    """What the processor remarks."""
    count: Any = Field(None, examples=[{"at_least": 1}])
    """How many are like that: a number, `at_least`, `at_most` or `between`; at least one when absent."""


class WhenSettings(Settings):
    """`when:` which results a destination gets; everything in it must hold."""

    status: Annotated[
        tuple[Status, ...],
        BeforeValidator(_listed, json_schema_input_type=Status | list[Status]),
        Field(min_length=1),
    ] = ("preliminary", "final", "corrected", "retracted")
    """Statuses that are sent."""
    outcome: Annotated[
        tuple[Outcome, ...],
        BeforeValidator(_listed, json_schema_input_type=Outcome | list[Outcome]),
        Field(min_length=1),
    ] = ()
    """What the processor says of the study as a whole; whatever it is when absent."""
    findings: Annotated[FindingsSettings | list[FindingsSettings] | None, SkipValidation] = Field(
        None, examples=[{"concept": "SCT:413854007", "value": {"at_least": 30}}]
    )
    """What a finding must be, or a list of such: each must hold."""


class WhenReader:
    """Reads the `when:` of one table's deliveries."""

    def __init__(self, reader: MatchReader, block: Block[Any]) -> None:
        self._reader = reader
        self._block = block
        self._complain = reader.complain

    def when(self, data: Any, location: Location) -> tuple[When, ...]:
        """The alternatives; what cannot be read is complained of and left out."""
        if isinstance(data, list):
            if not data:
                self._complain(location, "is empty; leave it out to send every result but failures")
            pairs = [(one, (*location, index)) for index, one in enumerate(data)]
        else:
            pairs = [(data, location)]
        read = [self._alternative(one, where) for one, where in pairs]
        return tuple(one for one in read if one is not None)

    def _alternative(self, data: Any, location: Location) -> When | None:
        settings = self._block(WhenSettings, data, location)
        if settings is None or not isinstance(data, dict):
            return None
        if not data:
            self._complain(location, "is empty; give it status, outcome or findings")
        findings: list[FindingsTest] = []
        if "findings" in data:
            findings = list(self._findings(data["findings"], (*location, "findings")))
        when = When(settings.status if "status" in data else (), settings.outcome, tuple(findings))
        never = when.never_holds()
        if never:
            self._complain(location, never, "never-sent")
        return when

    def _findings(self, data: Any, location: Location) -> list[FindingsTest]:
        if isinstance(data, list):
            pairs = [(one, (*location, index)) for index, one in enumerate(data)]
        else:
            pairs = [(data, location)]
        read = [self._one(one, where) for one, where in pairs]
        if not pairs:
            self._complain(location, _EMPTY)
        return [one for one in read if one is not None]

    def _one(self, data: Any, location: Location) -> FindingsTest | None:
        if self._block(FindingsSettings, data, location) is None:
            return None
        if not data:
            self._complain(location, _EMPTY)
            return None
        tests, count = [], AT_LEAST_ONE
        for part, wanted in data.items():
            inner = (*location, part)
            if part == "count":
                bounds = self._reader.count(wanted, inner)
                count = bounds or count
            elif part in PARTS:
                test = self._reader.value(wanted, inner, Named(part, UNKNOWN if part == "value" else "LO"))
                if test is not None:
                    self._check(part, test, inner)
                    tests.append((part, test))
        return FindingsTest(tuple(tests), count)

    def _check(self, part: str, test: Test, location: Location) -> None:
        """What no finding can be."""
        if part == "flag":
            for word in sorted(test.texts or ()):
                if word not in _WORDS:
                    self._complain(location, f"no flag {shown(word)}{did_you_mean(word, _WORDS)}")
        lows = [one.low for one in test.bounds if one.low is not None]
        highs = [one.high for one in test.bounds if one.high is not None]
        if lows and highs and max(lows) > min(highs):
            self._complain(location, "no number is in this range, so this never holds", "never-sent")
