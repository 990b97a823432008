"""quality_control end to end: a real study, a phantom, and what cannot be measured."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from engine.channel import Job, ProcessorContext
from engine.errors import ConfigurationError, ProcessorFailed
from engine.model import Code, Finding, Flag, Report
from engine.processors.quality_control import PROCESSOR, QualityControlSettings
from examples.phantom import make_phantom

ByName = Callable[[Report], dict[str, list[Finding]]]
MakeJob = Callable[[Path], Job]


async def run(job: Job, base: Path, **settings: object) -> Report:
    """Build the processor from a block of the table and run it once."""
    block = QualityControlSettings.model_validate(settings)
    return await PROCESSOR.build(block, ProcessorContext("dti-qc", base)).process(job)


@pytest.fixture(scope="module")
def protocol_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom that follows the packaged protocol, in a job's input folder."""
    folder = tmp_path_factory.mktemp("job") / "in"
    make_phantom(folder / "1.2.3", slices=64, volumes=32, size=32, b0=2)
    return folder


@pytest.fixture
def real_job(real_study: Path, job: MakeJob, tmp_path: Path) -> Job:
    shutil.copytree(real_study, tmp_path / "in" / "1.2.3")
    return job(tmp_path / "in")


async def test_the_real_study_is_out_of_protocol_in_resolution_and_slice_count_but_complete(
    real_job: Job, by_name: ByName, tmp_path: Path
) -> None:
    report = await run(real_job, tmp_path)
    findings = by_name(report)
    # The figures of the 260 Philips images, each beside what the protocol makes of it.
    rows: list[tuple[str, list[str], Flag | None]] = [
        ("In-plane resolution", ["1.600"], Flag.LOW),
        ("Slice count", ["4"], Flag.LOW),
        ("Echo time", ["52.52"], Flag.LOW),
        ("Flip angle", ["78.0"], Flag.LOW),
        ("Number of b0 images", ["1"], Flag.LOW),
        ("Repetition time", ["6400.0"], Flag.NORMAL),
        ("Slice Thickness", ["2.000"], Flag.NORMAL),
        ("Gap between slices", ["0.000"], Flag.NORMAL),
        ("Orientation spread", ["0.00"], Flag.NORMAL),
        ("Stack shear", ["0.00"], Flag.NORMAL),
        ("Source image diffusion b-value", ["0", "1000"], Flag.NORMAL),
        ("Number of diffusion directions", ["64"], Flag.NORMAL),
        ("Number of volumes", ["65"], None),
        ("Missing volumes", ["0"], Flag.NORMAL),
        ("Missing slices", ["0"], Flag.NORMAL),
        ("Duplicate slices", ["0"], Flag.NORMAL),
        ("Subject Age", ["68"], None),
    ]
    for name, values, flag in rows:
        assert [str(finding.value) for finding in findings[name]] == values, name
        assert {finding.flag for finding in findings[name]} == {flag}, name
    assert report.status == "final"
    assert report.outcome == "failed"
    assert report.impression.startswith("protocol check failed: ")
    assert "in-plane resolution, slice count" in report.impression
    assert "In-plane resolution is 1.6 mm; the protocol asks for 1.85 to 2.15 mm." in report.narrative
    assert "Slice count is 4; the protocol asks for 64 to 86." in report.narrative
    # The person did not move: neighbouring volumes of the scan differ by less than a voxel.
    displacement = findings["Displacement between volumes"][0].value
    assert isinstance(displacement, Decimal)
    assert Decimal("0.3") < displacement < Decimal("1.6")


async def test_the_phantom_is_within_protocol(
    protocol_phantom: Path, job: MakeJob, by_name: ByName, tmp_path: Path
) -> None:
    report = await run(job(protocol_phantom), tmp_path)
    findings = by_name(report)
    assert (report.outcome, report.impression) == ("passed", "within protocol")
    assert [finding.value for finding in findings["Protocol check"]] == [
        Code(value="within-protocol", scheme="99PONS", meaning="Within protocol")
    ]
    assert {finding.flag for finding in report.findings} == {Flag.NORMAL, None}
    assert report.algorithm.name == "Pons quality control"
    assert report.disclaimer == "technical quality control, not for diagnostic use"
    # Every measure but the vendor's own gradient table, which the phantom has not.
    assert "missing volumes" in report.narrative
    assert report.narrative.count("Not checked") == 1


async def test_every_number_has_a_ucum_unit_and_every_code_fits_dicom(
    phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    report = await run(job(phantom), tmp_path)
    numbers = [finding for finding in report.findings if isinstance(finding.value, Decimal)]
    assert len(numbers) > 20
    assert all(finding.unit is not None and finding.unit.scheme == "UCUM" for finding in numbers)
    assert all(len(finding.concept.value) <= 16 for finding in report.findings)


async def test_the_montage_is_a_bounded_picture_without_text(
    phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    one_job = job(phantom)
    report = await run(one_job, tmp_path)
    assert [(artefact.name, artefact.media_type) for artefact in report.artefacts] == [
        ("montage.png", "image/png")
    ]
    with Image.open(one_job.out_dir / "montage.png") as picture:
        assert max(picture.size) <= 1600
        assert picture.mode == "L"
        assert picture.info == {}
        assert picture.getextrema() == (0, 255)


async def test_the_event_loop_goes_on_while_a_study_is_measured(
    protocol_phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    await run(job(protocol_phantom), tmp_path)
    took = time.monotonic() - began
    ticking.cancel()
    assert longest < took / 2


async def test_a_study_without_mr_images_fails_and_says_what_to_do(job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(
        ProcessorFailed, match=r"^dti-qc: no MR image among 0 instances; let the route select"
    ):
        await run(job(tmp_path / "in"), tmp_path)


async def test_a_damaged_file_fails_by_its_name_and_without_a_traceback(
    phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    (phantom / "1.2.3" / "001-001.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 64)
    with pytest.raises(ProcessorFailed, match=r"instance 001-001 cannot be read") as caught:
        await run(job(phantom), tmp_path)
    assert "\n" not in str(caught.value)


async def test_too_many_images_are_refused_before_they_are_measured(
    phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(ProcessorFailed, match="more image planes than max_frames; raise it or select"):
        await run(job(phantom), tmp_path, max_frames=79)


async def test_a_measurement_that_takes_too_long_is_ended(
    phantom: Path, job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(ProcessorFailed, match=r"was ended after 0\.01 s; raise timeout"):
        await run(job(phantom), tmp_path, timeout="10ms")


async def test_a_sites_own_protocol_is_found_beside_the_table(
    phantom: Path, job: MakeJob, by_name: ByName, tmp_path: Path
) -> None:
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "short.yaml").write_text(
        "version: 1\n"
        "name: Short stack\n"
        "rules:\n"
        "  - id: slices\n"
        "    concept: {value: slice-count, scheme: 99PONS, meaning: Slice count}\n"
        "    measure: slice_count\n"
        "    unit: '{slices}'\n"
        "    high: 8\n"
    )
    report = await run(job(phantom), tmp_path, protocol="protocols/short.yaml")
    assert (report.outcome, report.impression) == ("passed", "within protocol")
    assert set(by_name(report)) == {"Protocol check", "Slice count"}


def test_a_protocol_that_does_not_exist_is_found_when_the_table_is_checked(tmp_path: Path) -> None:
    block = QualityControlSettings.model_validate({"protocol": "protocols/none.yaml"})
    with pytest.raises(ConfigurationError, match=r"none\.yaml: protocol cannot be read"):
        PROCESSOR.build(block, ProcessorContext("dti-qc", tmp_path))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="protocoll"):
        QualityControlSettings.model_validate({"protocoll": "x"})
