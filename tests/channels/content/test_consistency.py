"""What we add to a study says of patient, study and frame what the study's own images say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from channels.content import pdf, rejection_note, sc, sr
from engine.model import Acknowledged, DeliveryId, History, Result, ResultStatus, Site, StoredInstance
from engine.study_context import read_context
from tests.peers.judges import dcentvfy_errors


@pytest.fixture
def sources(real_study: Path) -> list[Path]:
    return sorted(real_study.iterdir())[:3]


@pytest.fixture
def of_real_study(full: Result, sources: list[Path]) -> Result:
    """The full result, on three instances of a real study."""
    stored = []
    for path in sources:
        read = dcmread(path, stop_before_pixels=True)
        stored.append(
            StoredInstance(
                str(read.SeriesInstanceUID),
                str(read.SOPInstanceUID),
                str(read.SOPClassUID),
                str(read.file_meta.TransferSyntaxUID),
                path,
                sha256="",
            )
        )
    context = read_context(tuple(stored), Site("st-marys", "St. Mary's", timezone="Europe/Dublin"), 1)
    told = {"patient": context.patient, "order": context.order, "study": context.study}
    return full.model_copy(update=told)


@pytest.fixture
def objects(of_real_study: Result, history: Callable[..., History], tmp_path: Path) -> list[Path]:
    """All that a PACS may get of that result: report, pictures, page, and the note that rejects them."""
    renderings: list[Any] = [
        render(of_real_study, history(delivery=f"d-{number}"))
        for number, render in enumerate((sr.render, sc.render, pdf.render))
    ]
    earlier = tuple(
        Acknowledged(
            DeliveryId(f"d-{number}"),
            ResultStatus.FINAL,
            1,
            tuple(part.identifier for part in payload.parts),
            tuple(part.facts["sop_class_uid"] for part in payload.parts),
            tuple(part.facts["series_instance_uid"] for part in payload.parts),
        )
        for number, payload in enumerate(renderings)
    )
    retracted = of_real_study.model_copy(update={"status": ResultStatus.RETRACTED})
    last = history()
    renderings.append(rejection_note.render(retracted, History(last.delivery_id, last.rendered_at, earlier)))
    paths = []
    for payload in renderings:
        for part in payload.parts:
            path = tmp_path / f"{part.identifier}.dcm"
            path.write_bytes(part.read())
            paths.append(path)
    return paths


@pytest.mark.judges
def test_dcentvfy_finds_no_contradiction_to_the_images(sources: list[Path], objects: list[Path]) -> None:
    assert len(objects) == 4
    assert dcentvfy_errors([*sources, *objects]) == []


@pytest.mark.judges
@pytest.mark.parametrize("keyword", ["PatientName", "PatientBirthDate", "StudyDate", "StudyID"])
def test_dcentvfy_can_find_a_contradiction(sources: list[Path], objects: list[Path], keyword: str) -> None:
    document = dcmread(objects[0])
    setattr(document, keyword, "19010101" if keyword.endswith("Date") else "Other")
    document.save_as(objects[0])

    assert [line for line in dcentvfy_errors([*sources, *objects]) if keyword in line] != []
