"""Jobs as the engine hands them to a processor, and a small phantom to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.channel import Job
from engine.model import Finding, InstanceFacts, Report, Study
from examples.phantom import make_phantom

SLICES, VOLUMES, SIZE, B0 = 8, 10, 32, 2


@pytest.fixture(scope="session")
def pristine_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small phantom: 8 slices, 10 volumes, 2 of them unweighted; never write into it."""
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, slices=SLICES, volumes=VOLUMES, size=SIZE, b0=B0)
    return folder


@pytest.fixture
def phantom(pristine_phantom: Path, tmp_path: Path) -> Path:
    """A copy of it laid out as a job's input folder; its files are `in/1.2.3/VVV-SSS.dcm`."""
    shutil.copytree(pristine_phantom, tmp_path / "in" / "1.2.3")
    return tmp_path / "in"


@pytest.fixture
def job(tmp_path: Path) -> Callable[[Path], Job]:
    """A function that makes the job of an input folder."""

    def make(in_dir: Path) -> Job:
        out_dir = tmp_path / "out"
        out_dir.mkdir(exist_ok=True)
        facts = tuple(
            InstanceFacts("1.2.3", f"1.2.3.{index}", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", {})
            for index, _ in enumerate(sorted(in_dir.rglob("*.dcm")))
        )
        study = Study(
            site="st-marys",
            study_instance_uid="1.2",
            revision=3,
            inbound="pacs",
            calling_ae_title="STM_PACS",
            called_ae_title="PONS",
            received_at=datetime(2026, 1, 15, 9, 30, tzinfo=UTC),
            instances=facts,
        )
        return Job("job-1", in_dir, out_dir, study)

    return make


@pytest.fixture
def by_name() -> Callable[[Report], dict[str, list[Finding]]]:
    """A function that sorts a report's findings by the meaning of their concept."""

    def sort(report: Report) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding in report.findings:
            found.setdefault(finding.concept.meaning, []).append(finding)
        return found

    return sort
