"""Predicates that no study can pass, and why.

Enters: a predicate. Leaves: the innermost part of it that never holds, in words, or None. Pure, and sound
rather than complete: what is called impossible is so by the meaning in `engine.predicate`; what is
impossible for deeper reasons is not found. A study, a series and an instance have one value of what
PS3.3 C.7 describes for them (patient, study, series) and of what PS3.6 gives a multiplicity of 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VM, tag_for_keyword

from engine.checks.implication import implies, is_monotone
from engine.facts import CONTEXT_FACTS
from engine.predicate import All, AnyOf, Attribute, Fact, Instance, Instances, Not, Predicate, Series, Time
from engine.values import Test

_OF_A_STUDY = """
    StudyInstanceUID StudyID StudyDate StudyTime StudyDescription AccessionNumber ReferringPhysicianName
    PatientID IssuerOfPatientID PatientName PatientSex PatientBirthDate
"""
_OF_A_SERIES = """
    SeriesInstanceUID SeriesNumber SeriesDate SeriesTime SeriesDescription Modality ProtocolName
    BodyPartExamined Laterality PatientPosition
"""
ONE_IN_A_STUDY = frozenset(_OF_A_STUDY.split())
ONE_IN_A_SERIES = ONE_IN_A_STUDY | frozenset(_OF_A_SERIES.split())


@dataclass(frozen=True, slots=True)
class Never:
    """A part that never holds."""

    position: str  # "routes.yaml:31:5"; empty for a mapping as a whole
    why: str


def never(predicate: Predicate, level: str = "study") -> Never | None:
    """The first reason for which a predicate can hold in no scope of a level."""
    if isinstance(predicate, All):
        return _never_all(tuple(_flat(predicate)), level)
    if isinstance(predicate, AnyOf):
        found = [never(part, level) for part in predicate.parts]
        if found and None not in found:
            return Never(predicate.position, "none of its alternatives can hold")
        return None
    if isinstance(predicate, Series | Instance):
        return never(predicate.part, "series" if isinstance(predicate, Series) else "instance")
    if isinstance(predicate, Attribute | Fact):
        if _impossible([predicate.test]):
            return Never(predicate.position, f"no value is {predicate.test}")
        return None
    if isinstance(predicate, Instances) and predicate.bounds.high is not None and predicate.bounds.high < 1:
        return Never(
            predicate.position, f"a {'study' if level == 'study' else level} has at least one instance"
        )
    return None


def dead_parts(predicate: Predicate, level: str = "study") -> Iterator[Never]:
    """Alternatives that never hold in a predicate that may, and what is denied though it never holds."""
    if isinstance(predicate, All):
        for part in predicate.parts:
            yield from dead_parts(part, level)
    elif isinstance(predicate, AnyOf):
        for part in predicate.parts:
            found = never(part, level)
            if found is not None:
                yield Never(
                    found.position or predicate.position, f"this alternative never holds: {found.why}"
                )
            else:
                yield from dead_parts(part, level)
    elif isinstance(predicate, Series | Instance):
        yield from dead_parts(predicate.part, "series" if isinstance(predicate, Series) else "instance")
    elif isinstance(predicate, Not):
        found = never(predicate.part, level)
        if found is not None:
            yield Never(
                found.position or predicate.position, f"what is denied never holds anyway: {found.why}"
            )


def _flat(predicate: All) -> Iterator[Predicate]:
    for part in predicate.parts:
        if isinstance(part, All):
            yield from _flat(part)
        else:
            yield part


def _never_all(parts: Sequence[Predicate], level: str) -> Never | None:
    for part in parts:
        found = never(part, level)
        if found is not None:
            return found
    if len(parts) < 2:
        return None
    for judge in (_values_at_odds, _counts_at_odds, _hours_at_odds, _denied):
        found = judge(parts, level)
        if found is not None:
            return found
    return None


# ── values ──────────────────────────────────────────────────────────────────────────────────────


def _values_at_odds(parts: Sequence[Predicate], level: str) -> Never | None:
    by_name: dict[str, list[Fact | Attribute]] = {}
    for part in parts:
        if isinstance(part, Fact | Attribute):
            by_name.setdefault(part.name, []).append(part)
    for name, asked in by_name.items():
        if len(asked) < 2:
            continue
        tests = [one.test for one in asked]
        last = asked[-1].position
        if any(test.exists is False for test in tests) and any(_wants_a_value(test) for test in tests):
            return Never(last, f"{name} is asked to be absent and to have a value")
        if _is_single(name, level) and _impossible(tests):
            whole = "study" if name in CONTEXT_FACTS or name in ONE_IN_A_STUDY else level
            words = " and to be ".join(str(test) for test in tests)
            return Never(last, f"{name} is asked to be {words}, and {_a(whole)} has one value of it")
    return None


def _a(level: str) -> str:
    return "an instance" if level == "instance" else f"a {level}"


def _wants_a_value(test: Test) -> bool:
    return test.exists is True or test.texts is not None or test.pattern is not None or bool(test.bounds)


@lru_cache(maxsize=4096)
def _is_single(name: str, level: str) -> bool:
    if name in CONTEXT_FACTS or name in ONE_IN_A_STUDY:
        return True
    if level != "study" and name in ONE_IN_A_SERIES:
        return True
    tag = tag_for_keyword(name) if level == "instance" and name.isalnum() else None
    return tag is not None and dictionary_VM(tag) == "1"


def _impossible(tests: Sequence[Test]) -> bool:
    """Whether no one value passes all of some tests."""
    if any(test.exists is False for test in tests):
        return any(_wants_a_value(test) for test in tests)
    bounds = [one for test in tests for one in test.bounds]
    lows = [one.low for one in bounds if one.low is not None]
    highs = [one.high for one in bounds if one.high is not None]
    if lows and highs and max(lows) > min(highs):
        return True
    candidates = {text for test in tests for text in test.texts or ()}
    if not candidates or not all(is_monotone(one) for test in tests for one in test.forbidden):
        return False
    if any(test.numbers for test in tests) and any(test.pattern or test.forbidden for test in tests):
        return False  # the same number is written in many ways
    return not any(all(test.holds((value,)) for test in tests) for value in candidates)


# ── counts, hours ───────────────────────────────────────────────────────────────────────────────


def _counts_at_odds(parts: Sequence[Predicate], level: str) -> Never | None:
    here = [part for part in parts if isinstance(part, Instances)]
    lows = [one.bounds.low for one in here if one.bounds.low is not None]
    highs = [one.bounds.high for one in here if one.bounds.high is not None]
    if not highs:
        return None
    if lows and max(lows) > min(highs):
        return Never(here[-1].position, "no count of instances is in both ranges")
    for part in parts:
        for inner in _flat(part.part) if isinstance(part, Series) and isinstance(part.part, All) else ():
            low = inner.bounds.low if isinstance(inner, Instances) else None
            if low is not None and low > min(highs):
                why = f"a series of at least {low} instances is not in a study of at most {min(highs)}"
                return Never(inner.position if isinstance(inner, Instances) else "", why)
    return None


def _hours_at_odds(parts: Sequence[Predicate], _level: str) -> Never | None:
    times = [part for part in parts if isinstance(part, Time)]
    if len(times) < 2:
        return None
    common = set(_minutes(times[0]))
    for one in times[1:]:
        common &= set(_minutes(one))
    return None if common else Never(times[-1].position, "no time of day is in both ranges")


def _minutes(time: Time) -> Iterator[int]:
    end = time.end if time.start <= time.end else time.end + 24 * 60
    return (minute % (24 * 60) for minute in range(time.start, end))


# ── what is demanded and denied ─────────────────────────────────────────────────────────────────


def _denied(parts: Sequence[Predicate], _level: str) -> Never | None:
    for index, part in enumerate(parts):
        if isinstance(part, Not) and implies(All((*parts[:index], *parts[index + 1 :])), part.part):
            return Never(part.position, f"denies what the same predicates demand: {part.part}")
    return None
