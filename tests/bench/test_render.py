"""The comparison is fair: what the peers' libraries build says the same as what is rendered."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import hl7
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from bench import render


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    Image.new("RGB", (64, 48), (20, 90, 160)).save(path)
    return path


def observations(message: bytes) -> list[tuple[str, str]]:
    """Concept and value of each number in a message."""
    parsed = hl7.parse(message.decode())
    return [(str(obx[3][0][0]), str(obx[5])) for obx in parsed.segments("OBX") if str(obx[2]) == "NM"]


def numbers(content: bytes) -> list[tuple[str, float]]:
    """Concept and value of each measurement in a structured report, leaving out ranges."""
    found = []

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", []):
            if child.ValueType == "NUM" and child.RelationshipType == "CONTAINS":
                code = child.ConceptNameCodeSequence[0].CodeValue
                found.append((code, float(child.MeasuredValueSequence[0].NumericValue)))
            walk(child)

    walk(dcmread(BytesIO(content), force=True))
    return found


def test_hl7apy_builds_the_same_observations(picture: Path) -> None:
    subject = render.result(20, picture)
    mine = observations(render.ours(subject)["oru"]()[0])
    assert len(mine) == 20
    assert observations(render.by_hl7apy(subject)) == mine


def test_highdicom_builds_the_same_measurements_on_the_same_evidence(picture: Path) -> None:
    subject = render.result(20, picture)
    mine, theirs = render.ours(subject)["sr"]()[0], render.by_highdicom(subject, render.evidence(subject))
    assert len(numbers(mine)) == 20
    assert numbers(theirs) == numbers(mine)
    for content in (mine, theirs):
        (study,) = dcmread(BytesIO(content), force=True).CurrentRequestedProcedureEvidenceSequence
        assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == render.INSTANCES


@pytest.mark.parametrize("name", ["oru", "fhir", "webhook", "sr", "sc", "pdf", "json", "csv", "txt", "xml"])
def test_every_format_makes_something(picture: Path, name: str) -> None:
    work: Callable[[], list[bytes]] = render.ours(render.result(3, picture))[name]
    assert all(work())


def test_rows_say_what_who_how_long_and_how_much(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "SIZES", (2,))
    rows = render.measure(1, picture)
    assert {row["subject"] for row in rows} == {"pons", "hl7apy", "highdicom"}
    assert {row["metric"] for row in rows} == {"ms", "cpu ms", "kB"}
    assert {"oru-2", "fhir-2", "webhook-2", "sr-2", "sc-2", "pdf-2"} <= {row["work"] for row in rows}
    assert all(row["value"] > 0 and row["runs"] == 1 for row in rows)
    assert len({(row["work"], row["subject"], row["metric"]) for row in rows}) == len(rows)
