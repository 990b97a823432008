"""A name leaves as the Unicode it was, in every format, whatever bytes the scanner wrote it in."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7apy.parser import parse_message

from channels.content import event, fhir, json_document, oru, pdf, sc, sr
from engine.model import PersonName, Result, Site, StoredInstance
from engine.study_context import read_context
from tests.character_sets import SAMPLES, Sample, instance


@pytest.fixture(params=SAMPLES, ids=str)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each character set in turn."""
    found: Sample = request.param
    return found


@pytest.fixture
def result(sample: Sample, minimal: Result, tmp_path: Path) -> Result:
    """A result of the sample's study, as the engine reads it from its stored instance."""
    path = tmp_path / "instance.dcm"
    path.write_bytes(instance(sample))
    stored = StoredInstance(
        "1.2.3.1", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", path, ""
    )
    found = read_context([stored], Site(key="st-marys", name="St. Mary's"), 1)
    report = minimal.report.model_copy(update={"narrative": sample.description})
    parts = {"patient": found.patient, "order": found.order, "study": found.study, "report": report}
    return minimal.model_copy(update=parts)


@pytest.mark.parametrize("render", [sr.render, sc.render, pdf.render], ids=["sr", "sc", "pdf"])
def test_dicom_objects_carry_it(
    sample: Sample, result: Result, history: Any, read: Any, render: Callable[..., Any]
) -> None:
    dataset = read(render(result, history()).parts[0])
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert str(dataset.PatientName) == sample.name
    assert str(dataset.ReferringPhysicianName) == sample.name
    assert dataset.StudyDescription == sample.description


def test_a_structured_report_says_it(sample: Sample, result: Result, history: Any, read: Any) -> None:
    dataset = read(sr.render(result, history()).parts[0])
    texts = [str(one.value) for one in dataset.iterall() if one.keyword == "TextValue"]
    assert sample.description in texts


def test_an_oru_message_carries_it(sample: Sample, result: Result, history: Any) -> None:
    text = oru.render(result, history()).parts[0].read().decode("utf-8")
    expected = [_xpn(group) for group in sample.name.split("=") if group]

    by_hl7apy = parse_message(text, find_groups=False)
    assert by_hl7apy.msh.msh_18.to_er7() == "UNICODE UTF-8"
    assert [one.to_er7().split("^")[:5] for one in by_hl7apy.pid.pid_5] == expected

    by_python_hl7 = hl7.parse(text)
    names = str(by_python_hl7.segment("PID")[5]).split("~")
    assert [one.split("^")[:5] for one in names] == expected
    words = [str(one[5]) for one in by_python_hl7.segments("OBX")]
    assert sample.description in words
    assert "?" not in names


def _xpn(group: str) -> list[str]:
    family, given, middle, prefix, suffix = [*group.split("^"), "", "", "", ""][:5]
    return [family, given, middle, suffix, prefix]


@pytest.mark.parametrize("mode", ["upsert", "report", "document"])
def test_fhir_carries_it(sample: Sample, result: Result, history: Any, mode: Any) -> None:
    loaded = json.loads(fhir.render(result, history(), mode).parts[0].read().decode("utf-8"))
    resources = [one["resource"] for one in loaded["entry"]] if "entry" in loaded else [loaded]
    resources += [one for resource in list(resources) for one in resource.get("contained", [])]
    [patient] = [one for one in resources if one["resourceType"] == "Patient"]
    groups = [group.split("^") for group in sample.name.split("=") if group]
    assert [one["family"] for one in patient["name"]] == [group[0] for group in groups]
    assert [one["given"] for one in patient["name"]] == [
        [part for part in group[1:3] if part] for group in groups
    ]


def test_an_event_carries_it(sample: Sample, result: Result, history: Any) -> None:
    body = json.loads(event.render(result, history(), "full").parts[0].read().decode("utf-8"))
    assert PersonName(**body["data"]["patient"]["name"]) == PersonName.parse(sample.name)
    assert body["data"]["study"]["description"] == sample.description


def test_the_canonical_document_carries_it(sample: Sample, result: Result) -> None:
    again = Result.model_validate_json(json_document.export(result))
    assert again == result
    assert again.patient.name == PersonName.parse(sample.name)


@pytest.mark.judges
def test_a_page_shows_it(sample: Sample, result: Result, history: Any, tool: Callable[..., str]) -> None:
    page = tool("pdftotext", "poppler-utils", pdf.render_pdf(result, history().rendered_at), "{}", "-")
    for group in filter(None, sample.name.split("=")):
        assert _plain(" ".join(group.split("^"))) in _plain(page)
    assert _plain(page).count(_plain(sample.description)) == 2  # as the study and as the narrative


def _plain(text: str) -> str:
    """Letters alone, in their compatible form; without spaces and the marks of direction.

    Where two Thai marks stand on one letter, poppler reads the three twice: docs/decisions/fonts.md.
    """
    letters = re.sub("[\\s\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "", unicodedata.normalize("NFKC", text))
    return re.sub(r"([\u0e00-\u0e7f]{3})\1", r"\1", letters)
