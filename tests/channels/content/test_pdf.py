"""The page for people and its DICOM envelope."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from channels.content import pdf
from engine.model import History, Result, ResultStatus

Standing = Callable[..., tuple[Result, History]]
AT = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)


@pytest.fixture
def pages(tool: Callable[..., str]) -> Callable[[Result], str]:
    """A function that renders a result and reads its text as poppler does."""
    return lambda result: tool("pdftotext", "poppler-utils", pdf.render_pdf(result, AT), "-layout", "{}", "-")


@pytest.mark.judges
@pytest.mark.parametrize("kind", ["full", "minimal"])
@pytest.mark.parametrize("status", list(ResultStatus))
def test_dciodvfy_finds_no_error(
    in_standing: Standing, dciodvfy: Any, kind: str, status: ResultStatus
) -> None:
    encapsulated_pdf = "1.2.840.10008.5.1.4.1.1.104.1"
    assert dciodvfy(pdf.render(*in_standing(kind, status, encapsulated_pdf)).parts[0]) == []


@pytest.mark.judges
def test_dciodvfy_finds_no_error_with_a_real_header(
    full: Result, history: Any, dciodvfy: Any, real_header: dict[str, Any]
) -> None:
    study = full.study.model_copy(update={"header": real_header})
    assert dciodvfy(pdf.render(full.model_copy(update={"study": study}), history()).parts[0]) == []


@pytest.mark.judges
def test_the_page_shows_what_the_result_says(pages: Callable[[Result], str], full: Result) -> None:
    text = pages(full)
    for finding in full.report.findings:
        assert finding.concept.meaning in text
    for word in (
        *("Yamada Tarou Dr Jr", "P|1 / STM", "1970-03-01", "ACC-1", "Brain diffusion", "2024-04-09 12:45"),
        *(full.study.study_instance_uid, "1.60", "mm", "1.85 to 2.15", "Out of protocol", "-0.0000123"),
        *("Hippocampus, Left", "first line ~ ^ & \\ |", "zweite Zeile µ", full.report.impression),
        *("In-plane resolution is 1.60 mm.", "Pons quality control 0.1.0", full.report.disclaimer, "Montage"),
    ):
        assert word in text, text


@pytest.mark.judges
@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (ResultStatus.PRELIMINARY, "PRELIMINARY"),
        (ResultStatus.CORRECTED, "CORRECTED"),
        (ResultStatus.FAILED, "FAILED - NO RESULT"),
        (ResultStatus.RETRACTED, "RETRACTED - DO NOT USE"),
    ],
)
def test_a_standing_that_matters_is_shown(
    pages: Callable[[Result], str], full: Result, status: ResultStatus, shown: str
) -> None:
    assert shown not in pages(full)
    assert shown in pages(full.model_copy(update={"status": status}))


@pytest.mark.judges
def test_no_text_of_a_result_becomes_markup(pages: Callable[[Result], str], full: Result) -> None:
    markup = '#read("/etc/hostname") $x^2$ *bold* _it_ @ref <label> = Heading #panic("no") `raw` \\ //'
    report = full.report.model_copy(
        update={"title": markup, "narrative": markup, "impression": markup, "disclaimer": markup}
    )
    text = " ".join(pages(full.model_copy(update={"report": report})).split())
    assert text.count(markup) >= 3, text


@pytest.mark.judges
def test_a_picture_is_embedded(tool: Callable[..., str], full: Result, minimal: Result) -> None:
    listing = [
        tool("pdfimages", "poppler-utils", pdf.render_pdf(one, AT), "-list", "{}") for one in (full, minimal)
    ]
    assert [len(text.splitlines()) - 2 for text in listing] == [1, 0]


def test_the_same_result_is_the_same_page(full: Result) -> None:
    digests = {hashlib.sha256(pdf.render_pdf(full, AT)).hexdigest() for _ in range(3)}
    assert len(digests) == 1


def test_the_page_s_date_is_the_rendering_s(full: Result) -> None:
    assert b"D:20261124100500" in pdf.render_pdf(full, AT)


def test_the_envelope_holds_the_page_in_the_study(full: Result, history: Any, read: Any) -> None:
    dataset = read(pdf.render(full, history()).parts[0])
    page = pdf.render_pdf(full, AT)
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == page
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.StudyInstanceUID == full.study.study_instance_uid
    assert len(dataset.SourceInstanceSequence) == len(full.study.instances)
    assert dataset.DocumentTitle == full.report.title


def test_a_correction_is_marked_on_the_page_only_where_a_final_was_seen(
    full: Result, history: Any, read: Any
) -> None:
    corrected = full.model_copy(update={"status": ResultStatus.CORRECTED})
    fresh = read(pdf.render(corrected, history()).parts[0])
    again = read(pdf.render(corrected, history(ResultStatus.FINAL, sop_class_uid=pdf.SOP_CLASS_UID)).parts[0])
    assert fresh.EncapsulatedDocument[:-1] in pdf.render_pdf(full, AT) + b"\0"
    assert fresh.EncapsulatedDocument != again.EncapsulatedDocument
    assert "PredecessorDocumentsSequence" not in fresh
    assert again.PredecessorDocumentsSequence


@pytest.mark.judges
def test_thousands_of_findings_are_cut_and_the_page_says_so(
    pages: Callable[[Result], str], full: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "MAX_FINDINGS", 50)
    report = full.report.model_copy(update={"findings": full.report.findings * 10})
    text = pages(full.model_copy(update={"report": report}))
    assert "10 further findings are not shown." in text
