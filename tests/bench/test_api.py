"""The bench of the REST API: questions are answered, every way brings its study, every figure is there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pydicom
import pytest

from bench.api.__main__ import shown, uploaded
from bench.api.asking import QUESTIONS, asked
from bench.api.house import serving
from bench.api.sending import KIND, SUBJECTS, archive
from bench.intake.__main__ import free_port


def test_every_question_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, free_port(), free_port(), 400) as house:
        for question in QUESTIONS:
            figures = asked(house, question, 400, 2, 5)
            assert set(figures) == {"requests/s", "p50 ms", "p99 ms"}
            assert 0 < figures["p50 ms"] <= figures["p99 ms"]


def test_every_way_brings_the_study() -> None:
    rows = uploaded(1, 3)
    assert {(row["subject"], row["metric"]) for row in rows} == {
        (subject, metric) for subject in SUBJECTS for metric in ("MB/s", "cpu ms", "rss MB")
    }
    assert all(row["value"] > 0 for row in rows if row["metric"] != "cpu ms")
    assert shown(rows).row_count == len(SUBJECTS)


@pytest.mark.parametrize("count", [1, 3])
def test_an_archive_holds_its_instances(count: int) -> None:
    with zipfile.ZipFile(io.BytesIO(archive(count, 0))) as packed:
        read = [pydicom.dcmread(io.BytesIO(packed.read(name))) for name in packed.namelist()]
    assert len({one.SOPInstanceUID for one in read}) == count
    assert {one.StudyInstanceUID for one in read} == {read[0].StudyInstanceUID}
    assert all(len(one.PixelData) == KIND.pixels for one in read)
