"""What is called impossible is impossible: no study passes it, whatever it holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checks.contradiction import never
from engine.checks.implication import implies
from engine.facts import StudyFacts
from engine.finding import Location, Mark
from engine.grammar import MatchReader
from engine.model import InstanceFacts, Study
from engine.predicate import All

MODALITIES = ("MR", "CT")
TIMES = ("1", "1.0", "2", "30")
TESTS = st.recursive(
    st.one_of(
        st.sampled_from(MODALITIES).map(lambda one: {"equals": one}),
        st.just({"in": list(MODALITIES)}),
        st.sampled_from(["R$", "^C", "X"]).map(lambda one: {"matches": one}),
        st.booleans().map(lambda one: {"exists": one}),
    ),
    lambda inner: st.tuples(inner, inner).map(lambda both: {**both[0], "not": both[1]}),
    max_leaves=3,
)
NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        "in": st.lists(st.sampled_from([1, 2, 30]), min_size=1, max_size=2),
        "at_least": st.sampled_from([1, 2, 25]),
        "at_most": st.sampled_from([1, 2, 25]),
        "exists": st.just(True),
    },
).filter(bool)
COUNTS = st.sampled_from([0, 1, 2, {"at_least": 2}, {"at_most": 1}, {"at_most": 3}])
LEAVES = st.one_of(
    TESTS.map(lambda test: {"Modality": test}),
    NUMBERS.map(lambda test: {"EchoTime": test}),
    st.sampled_from(["M", "F"]).map(lambda sex: {"PatientSex": sex}),
)
WITHIN = st.recursive(
    st.one_of(LEAVES, COUNTS.map(lambda count: {"instances": count})),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)
PREDICATES = st.recursive(
    st.one_of(
        WITHIN,
        WITHIN.map(lambda part: {"series": part}),
        st.lists(LEAVES, min_size=1, max_size=2).map(lambda parts: {"instance": {"all": parts}}),
        st.sampled_from(["a", "b"]).map(lambda site: {"site": site}),
        st.sampled_from([["22:00", "06:00"], ["08:00", "18:00"], ["05:00", "07:00"]]).map(
            lambda ends: {"time": {"between": ends}}
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """A study as the Standard allows: one sex, one modality a series, one echo time an instance."""
    sex = draw(st.sampled_from(["M", "F", ""]))
    instances = []
    for series in range(draw(st.integers(1, 2))):
        modality = draw(st.sampled_from([*MODALITIES, ""]))
        for number in range(draw(st.integers(1, 3))):
            attributes = {"Modality": modality, "PatientSex": sex, "EchoTime": draw(st.sampled_from(TIMES))}
            instances.append(
                InstanceFacts(f"1.2.{series}", f"1.2.{series}.{number}", "1.2", "1.2.840", attributes)
            )
    hour = draw(st.sampled_from([2, 6, 12, 23]))
    site = draw(st.sampled_from(["a", "b"]))
    return Study(site, "1.2", 1, "pacs", "A", "PONS", datetime(2026, 3, 1, hour), tuple(instances))


def read(data: dict[str, Any]) -> All:
    def complain(location: Location, message: str, code: str = "") -> None:
        """What the grammar refuses is left out."""

    return MatchReader(lambda location: Mark("t", 1, len(location)), complain, complain).match(
        data, ("match",)
    )


def passes(predicate: All, study: Study) -> bool:
    facts = StudyFacts(study)
    return predicate.miss(facts, facts.whole) is None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=PREDICATES, study=studies())
def test_what_is_called_impossible_no_study_passes(data: dict[str, Any], study: Study) -> None:
    predicate = read(data)
    if passes(predicate, study):
        assert never(predicate) is None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(first=PREDICATES, second=PREDICATES, study=studies())
def test_what_follows_holds_wherever_the_first_does(
    first: dict[str, Any], second: dict[str, Any], study: Study
) -> None:
    one, other = read(first), read({"all": [second]})
    for premise, conclusion in ((one, other), (read({"all": [first, second]}), other), (other, one)):
        if implies(premise, conclusion) and passes(premise, study):
            assert passes(conclusion, study)
