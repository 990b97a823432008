"""Whatever is edited, the rest of an object stays as it was, and others read it as before."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset

from engine.study_context import tolerate_sloppy_values
from engine.transform.copies import write_edited
from engine.transform.steps import edits_of
from tests.peers.process import binary

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
SAMPLES = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
    *("image_dfl.dcm", "JPEG2000.dcm", "liver_1frame.dcm", "examples_overlay.dcm", "rtplan.dcm"),
    *("reportsi.dcm", "waveform_ecg.dcm", "UN_sequence.dcm", "nested_priv_SQ.dcm", "test-SR.dcm"),
)
STEPS: dict[str, dict[str, Any]] = {
    "set": {"set": {"StudyID": "7", "SeriesNumber": 3, "EchoTime": 12.5, "PatientComments": "by pons"}},
    "remove": {"remove": ["PatientName", "StationName", "(60xx,xxxx)"]},
    "private": {"remove": ["private"]},
    "copy": {"copy": {"PatientID": "AdditionalPatientHistory"}},
    "map": {"map": {"Modality": {"table": {"CT": "MR", "MR": "CT"}, "otherwise": {"set": "OT"}}}},
    "hash": {"hash": {"keys": ["PatientName", "ReferringPhysicianName"], "secret": {"file": "key"}}},
    "shift": {"shift_dates": {"by": -400}},
}
TOUCHED = {
    "set": {0x00200010, 0x00200011, 0x00180081, 0x00104000},
    "remove": {0x00100010, 0x00081010},
    "private": set[int](),
    "copy": {0x001021B0},
    "map": {0x00080060},
    "hash": {0x00100010, 0x00080090},
    "shift": set[int](),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("edits")
    (made / "key").write_text("a secret")
    tolerate_sloppy_values()
    return made


def is_touched(names: list[str], dataset: Dataset, tag: int) -> bool:
    """Whether some of the steps may change an element."""
    group = tag >> 16
    vr = dataset.get_item(tag).VR  # read but not converted
    if vr in (None, "UN"):
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    return (
        any(tag in TOUCHED[name] for name in names)
        or ("private" in names and (bool(group & 1) or vr == "SQ"))
        or ("remove" in names and group & 0xFF00 == 0x6000)
        or ("shift" in names and vr in ("DA", "DT", "SQ"))
    )


def dumped(path: Path) -> tuple[int, int]:
    """How DCMTK reads a file: its exit status, and the errors and warnings it has to tell."""
    done = subprocess.run(
        [binary("dcmdump", "dcmtk"), "-M", "+L", str(path)], capture_output=True, check=False, timeout=60
    )
    return done.returncode, len(done.stderr.splitlines())


@pytest.mark.peers
@settings(max_examples=40, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES), names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4)
)
def test_what_no_step_touches_stays_and_a_stranger_reads_it(
    folder: Path, sample: str, names: list[str]
) -> None:
    source = FOLDER / sample
    with tempfile.TemporaryDirectory(dir=folder) as place:
        copy, again = Path(place) / "copy.dcm", Path(place) / "again.dcm"
        edits = edits_of([STEPS[name] for name in names], folder)
        write_edited(source, copy, edits)
        write_edited(source, again, edits)
        assert copy.read_bytes() == again.read_bytes()
        before, after = dcmread(source), dcmread(copy)
        tags = set(before.keys()) | set(after.keys())
        for tag in tags:
            if not is_touched(names, before if tag in before else after, tag):
                assert tag in before, tag
                assert before.get_item(tag).value == after.get_item(tag).value, tag
        assert before.file_meta == after.file_meta
        status, told = dumped(source)
        assert dumped(copy)[0] == status
        assert dumped(copy)[1] <= told
