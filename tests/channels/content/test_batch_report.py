"""The report of a batch, as a table and on paper: every order, no formula, the same bytes twice."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from channels.content import batch_csv, batch_pdf
from engine.model import BatchReport, BatchRow, OrderState, Submitter

BEGUN = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


def row(number: int, **said: object) -> BatchRow:
    facts = {
        "order_id": f"{number:032x}",
        "study_instance_uid": f"1.2.3.{number}",
        "accession_number": f"ACC-{number}",
        "patient_id": f"P-{number}",
        "state": OrderState.DELIVERED,
        "created_at": BEGUN + timedelta(minutes=number),
    }
    return BatchRow.model_validate(facts | said)


def report(*rows: BatchRow, name: str = "May") -> BatchReport:
    counts = {state: sum(one.state is state for one in rows) for state in OrderState}
    return BatchReport(
        batch_id="b" * 32,
        name=name,
        site="st-marys",
        submitter=Submitter(kind="client", name="ris"),
        created_at=BEGUN,
        as_of=BEGUN + timedelta(hours=1),
        states={state: count for state, count in counts.items() if count},
        rows=rows,
    )


THREE = report(
    row(1, result_status="final", title="Quality", outcome="passed", headline="Within protocol, 山田"),
    row(2, state="failed", failure="processor dti-qc failed"),
    row(3, state="created", study_instance_uid="", accession_number="=1+1", patient_id="-5"),
)


def test_each_order_is_a_line_under_the_header() -> None:
    content = batch_csv.export(THREE)
    found = list(csv.DictReader(StringIO(content.decode("utf-8"), newline=""), strict=True))
    assert [line["state"] for line in found] == ["delivered", "failed", "created"]
    assert [line["headline"] for line in found] == ["Within protocol, 山田", "", ""]
    assert found[1]["failure"] == "processor dti-qc failed"
    assert (found[2]["accession_number"], found[2]["patient_id"]) == ("'=1+1", "'-5"), (
        "no spreadsheet runs it"
    )
    assert all(tuple(line) == batch_csv.COLUMNS for line in found)
    assert content.count(b"\r\n") == 4


@pytest.mark.parametrize("module", [batch_csv, batch_pdf])
def test_the_same_report_gives_the_same_bytes(module: object) -> None:
    export: Callable[[BatchReport], bytes] = module.export  # type: ignore[attr-defined]
    assert export(THREE) == export(THREE.model_copy())
    assert export(THREE) != export(report(row(1)))


@pytest.mark.judges
def test_the_page_shows_every_order_and_no_markup(tool: Callable[..., str]) -> None:
    told = report(
        *THREE.rows, row(4, headline="#panic() $x$ *bold* \u202eright"), name="#set page(fill: red)"
    )
    text = tool("pdftotext", "poppler-utils", batch_pdf.export(told), "-layout", "{}", "-")
    for word in (
        *("#set page(fill: red)", "client ris", "st-marys", "ACC-1", "P-2", "passed · Within protocol, 山田"),
        *("processor dti-qc failed", "1.2.3.1", f"{3:032x}", "#panic() $x$ *bold*", "2026-11-30T09:00:00"),
    ):
        assert word in text, text
    assert "\u202e" not in text


@pytest.mark.judges
def test_a_long_batch_ends_with_what_was_left_out(
    tool: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_pdf, "MAX_ROWS", 2)
    text = tool("pdftotext", "poppler-utils", batch_pdf.export(THREE), "-layout", "{}", "-")
    assert "1 more orders are in the table (CSV)" in text


def test_an_empty_batch_has_a_header_and_a_page() -> None:
    assert batch_csv.export(report()).count(b"\r\n") == 1
    assert batch_pdf.export(report(name="")).startswith(b"%PDF")
