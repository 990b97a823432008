"""What the check accepts can be done: on any object it gives a file that can be written and read again."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.datadict import keyword_dict

from engine.errors import TransformFailed
from engine.study_context import tolerate_sloppy_values
from engine.transform.rules import complaints_of_step
from engine.transform.steps import apply_steps

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
SAMPLES = [FOLDER / name for name in ("CT_small.dcm", "MR_small_implicit.dcm", "reportsi.dcm", "rtplan.dcm")]
PRESENT = sorted({one.keyword for path in SAMPLES for one in dcmread(path) if one.keyword})
KNOWN = sorted(name for name in keyword_dict if name)
NAMES = st.one_of(
    st.sampled_from(PRESENT),
    st.sampled_from(KNOWN),
    st.sampled_from(["private", "(60xx,3000)", "(0009,xxxx)", "ReferencedStudySequence.StudyID"]),
)
VALUES = st.one_of(
    st.sampled_from(["HEAD", "", "20260131", "Größe", "頭部", "{Modality}", "7", "{PatientID}-{StudyDate}"]),
    st.text(max_size=20),
    st.integers(-40000, 70000),
    st.floats(-1000, 1000).map(lambda number: round(number, 2)),
)
TABLES = st.dictionaries(st.sampled_from(["CT", "MR", "ORIGINAL", "1", "GE"]), VALUES, min_size=1, max_size=3)
OTHERWISE = st.one_of(
    st.sampled_from(["keep", "remove", "hold"]), st.builds(lambda one: {"set": one}, VALUES)
)
STEPS = st.one_of(
    st.builds(lambda name, one: {"set": {name: one}}, NAMES, st.one_of(VALUES, st.lists(VALUES, min_size=1))),
    st.builds(lambda names: {"remove": names}, st.lists(NAMES, min_size=1, max_size=3)),
    st.builds(lambda names: {"keep": names}, st.lists(NAMES, min_size=1, max_size=3)),
    st.builds(lambda one, other: {"copy": {one: other}}, NAMES, NAMES),
    st.builds(
        lambda name, table, otherwise: {"map": {name: {"table": table, "otherwise": otherwise}}},
        *(NAMES, TABLES, OTHERWISE),
    ),
    st.builds(
        lambda names: {"hash": {"keys": names, "secret": {"file": "key"}}}, st.lists(NAMES, min_size=1)
    ),
    st.builds(lambda days: {"shift_dates": {"by": days}}, st.integers(-900, 900)),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("accepted")
    (made / "key").write_text("a secret")
    tolerate_sloppy_values()
    return made


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(step=STEPS, everywhere=st.booleans(), sample=st.sampled_from(SAMPLES))
def test_a_step_that_is_accepted_can_be_done(
    base: Path, step: dict[str, Any], everywhere: bool, sample: Path
) -> None:
    if everywhere and set(step) & {"remove", "map", "hash"}:
        step = {**step, "everywhere": True}
    assume(not list(complaints_of_step({**step, "for": "processor"})))
    dataset = dcmread(sample)
    with contextlib.suppress(TransformFailed):
        apply_steps(dataset, [step], base)
        stream = io.BytesIO()
        dcmwrite(stream, dataset)
        stream.seek(0)
        again = dcmread(stream)
        assert {one.tag for one in again} == {
            one.tag for one in dataset if one.tag.element or one.tag.group < 8
        }
