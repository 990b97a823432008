"""A stored result finds its files wherever the data folder is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from engine.model import Algorithm, Artefact, Order, Patient, Report, Result, ResultStatus, StudyReference
from engine.stored_result import stored_result


def test_a_moved_data_folder_still_has_the_files_of_its_results(tmp_path: Path) -> None:
    kept = Result(
        result_id="r-1",
        site="st-marys",
        route="mr",
        status=ResultStatus.FINAL,
        produced_at=datetime(2026, 1, 2, tzinfo=UTC),
        patient=Patient(),
        order=Order(),
        study=StudyReference(study_instance_uid="1.2"),
        report=Report(
            algorithm=Algorithm(name="a", version="1"),
            artefacts=(
                Artefact(name="a.png", media_type="image/png", path=Path("artefacts/r-1/a.png")),
                Artefact(name="b.png", media_type="image/png"),
            ),
        ),
    )
    file = tmp_path / "before" / "artefacts" / "r-1" / "a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"picture")

    document = kept.model_dump(mode="json")
    assert stored_result(document, tmp_path / "before").report.artefacts[0].read() == b"picture"
    (tmp_path / "before").rename(tmp_path / "after")
    found = stored_result(document, tmp_path / "after")

    assert found.report.artefacts[0].read() == b"picture"
    assert found.report.artefacts[1].path is None
    assert found.report.findings == kept.report.findings
