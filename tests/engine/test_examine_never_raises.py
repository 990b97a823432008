"""Whatever an operator saves, `examine` answers with findings, never with an exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.config import examine

ROOT = Path(__file__).parents[2]
SOUND = (ROOT / "routes.yaml").read_text()

WORDS = "pacs a c_store dicom_forward MR 60s 10.0.0.1 (?i)x ( 22:00"
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70000),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    st.sampled_from(WORDS.split()),
)
KEY_WORDS = """
    a pacs type site name match all any not series instance instances time between in equals matches exists
    Modality ProcedureCodeSequence.CodeValue (0018,9087) deliver to after when status from process select
    transform set remove hold otherwise given expect routes tunnel addresses ae_titles listen secret env <<
"""
KEYS = st.sampled_from(KEY_WORDS.split())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
SECTION_WORDS = "version engine include assembly sites inbound processors outbound routes tests"
SECTIONS = st.sampled_from(SECTION_WORDS.split())


def said(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    table, findings = examine(path, surroundings=False)
    errors = [finding for finding in findings if finding.severity == "error"]
    assert (table is None) is bool(errors)
    assert all("\n" not in str(finding) and finding.line >= 1 and finding.column >= 1 for finding in findings)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("anything") / "routes.yaml"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.dictionaries(SECTIONS, ANYTHING, max_size=6))
def test_sections_of_anything(path: Path, data: dict[str, Any]) -> None:
    said(path, yaml.safe_dump({"version": 1} | data))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(match=st.dictionaries(KEYS, ANYTHING, max_size=4), select=ANYTHING, given_=ANYTHING)
def test_predicates_and_tests_of_anything(path: Path, match: Any, select: Any, given_: Any) -> None:
    routes = [{"name": "x", "match": match, "select": select, "hold": "x"}]
    tests = [{"name": "x", "given": given_, "expect": {"routes": ["x"]}}]
    said(
        path,
        yaml.safe_dump(
            {"version": 1, "sites": {"a": {"tunnel": "10.0.0.1"}}, "routes": routes, "tests": tests}
        ),
    )


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(0, len(SOUND)), length=st.integers(0, 30),
    inserted=st.text(st.sampled_from("{}[]:,-#&*!|>'\"%@` \n\taé1.\\"), max_size=6),
)  # fmt: skip
def test_a_sound_table_with_a_slip_of_the_hand(path: Path, start: int, length: int, inserted: str) -> None:
    said(path, SOUND[:start] + inserted + SOUND[start + length :])


@settings(max_examples=60, deadline=None)
@example(content=b'version: 1\noutbound: {x: {type: hl7_oru, site: a, "h\\n1": 2}}\n')
@given(content=st.binary(max_size=60))
def test_bytes_of_anything(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    table, findings = examine(path)
    assert table is not None or findings
    assert all("\n" not in str(finding) for finding in findings)
