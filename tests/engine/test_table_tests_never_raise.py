"""Whatever stands under `given:` and `expect:`, there are findings or a verdict, never an exception."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import examine
from engine.table_tests import cover_tests, run_tests
from tests.engine.random_routes import HEAD, PRIVATE

ROUTES = [
    {
        "name": "mr",
        "match": {"site": "a", "Modality": {"exists": True}},
        "transform": [{"set": {"BodyPartExamined": "BRAIN"}}],
        "process": "qc",
        "deliver": ["a-archive", "a-pacs", {"to": "a-ris", "when": {"status": ["final", "failed"]}}],
    },
    {"name": "rest", "otherwise": True, "hold": "nobody"},
]

SCALARS = st.one_of(
    st.integers(-5, 10**12), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
    st.text(max_size=12), st.sampled_from(["a", "pacs", "MR", "12:00", "final", "failed", "absent", "2026"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["exists", "matches", "in", "x"]), inner, max_size=2),
    ),
    max_leaves=4,
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["Modality", "Rows", "StudyDate", "EchoTime", "PatientName", "PixelData", "ProcedureCodeSequence",
         "ProcedureCodeSequence.CodeValue", "(0018,9087)", "(2005,1413)", PRIVATE, "StudyInstanceUID",
         "SOPClassUID", "SeriesInstanceUID", "Nonsense", ""]
    ),
    VALUES,
    max_size=4,
)  # fmt: skip
GIVEN = st.builds(
    lambda facts, attributes, series: {**attributes, **facts, **series},
    st.dictionaries(
        st.sampled_from(["site", "inbound", "time", "calling_ae_title", "dicom_json", "folder", "result"]),
        VALUES,
        max_size=2,
    ),
    ATTRIBUTES,
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"series": st.one_of(VALUES, st.lists(ATTRIBUTES, min_size=1, max_size=2))}),
    ),
).map(lambda made: {"site": "a", "Modality": "MR", "result": {}, **made})
FIELDS = st.dictionaries(
    st.sampled_from(["OBX-5", "PID-3.1", "MSH-2", "x", "Modality", "BodyPartExamined", "a.0.b"]),
    VALUES,
    max_size=2,
)
EXPECT = st.fixed_dictionaries(
    {"routes": st.just(["mr"])},
    optional={
        "deliver": VALUES,
        "holds": VALUES,
        "held": SCALARS,
        "transformed": st.dictionaries(
            st.sampled_from(["a-archive", "qc", "a-ris", "z"]), FIELDS, max_size=2
        ),
        "rendered": st.dictionaries(st.sampled_from(["a-archive", "a-pacs", "a-ris"]), FIELDS, max_size=2),
    },
)


@settings(max_examples=120, deadline=None)
@given(made=GIVEN, expected=EXPECT)
def test_a_test_of_a_table_ends_in_findings_or_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any], expected: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("tests") / "routes.yaml"
    tests = [{"name": "t", "given": made, "expect": expected}]
    path.write_text(HEAD + yaml.safe_dump({"routes": ROUTES, "tests": tests}, allow_unicode=True))
    table, findings = examine(path, surroundings=False)
    if table is None:
        assert [one for one in findings if one.severity == "error"]
        return
    (verdict,) = run_tests(table)
    assert verdict.passed or verdict.lines
    assert 0 <= cover_tests(table).percent <= 100
