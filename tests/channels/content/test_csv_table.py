"""CSV: one line a finding, read back to the same text, nothing for a spreadsheet to run."""

from __future__ import annotations

import csv
from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.content.csv_table import COLUMNS, cell, export
from engine.model import Result


def rows(result: Result) -> list[dict[str, str]]:
    """The lines after the header, as a strict reader finds them."""
    text = export(result).decode("utf-8")
    return list(csv.DictReader(StringIO(text, newline=""), strict=True))


def test_each_finding_is_a_line_under_the_header(full: Result) -> None:
    found = rows(full)
    assert [row["concept"] for row in found] == [one.concept.meaning for one in full.report.findings]
    assert all(tuple(row) == COLUMNS and None not in row.values() for row in found)
    geometry, remark = found[1], found[5]
    assert (geometry["kind"], geometry["value"], geometry["unit"]) == ("number", "1.60", "mm")
    assert (geometry["range_low"], geometry["range_high"], geometry["flag"]) == ("1.85", "2.15", "L")
    assert (found[0]["value"], found[0]["value_code"]) == ("Out of protocol", "out-of-protocol")
    assert (remark["kind"], remark["value"]) == ("text", "first line ~ ^ & \\ |\nzweite Zeile µ")
    assert {row["patient_id"] for row in found} == {"P|1"}


def test_lines_end_as_rfc_4180_says(full: Result) -> None:
    content = export(full)
    assert content.endswith(b"\r\n")
    assert content.startswith(b"result_id,status,revision,")


def test_without_findings_the_header_stands_alone(minimal: Result) -> None:
    assert rows(minimal) == []
    assert export(minimal).count(b"\r\n") == 1


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'quoted", '=HYPERLINK("http://x","y")'],
)
def test_a_text_cell_that_a_spreadsheet_would_run_is_disarmed(full: Result, text: str) -> None:
    finding = full.report.findings[5].model_copy(update={"value": text, "comment": text, "group": text})
    report = full.report.model_copy(update={"findings": (finding,)})
    (row,) = rows(full.model_copy(update={"report": report}))
    assert (row["value"], row["comment"], row["group"]) == (f"'{text}", f"'{text}", f"'{text}")


def test_a_negative_number_stays_a_number(full: Result) -> None:
    assert rows(full)[4]["value"] == "-0.0000123"
    assert Decimal(rows(full)[4]["value"]) == full.report.findings[4].value


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\r\n\t,\"'=")))
def test_any_text_reads_back_and_adds_no_line(full: Result, text: str) -> None:
    finding = full.report.findings[5].model_copy(update={"value": text})
    report = full.report.model_copy(update={"findings": (finding, full.report.findings[1])})
    found = rows(full.model_copy(update={"report": report}))
    assert len(found) == 2
    assert found[0]["value"].removeprefix("'") == text  # taking one apostrophe away restores it
    assert found[0]["value"] == cell(text)
    assert found[1]["value"] == "1.60"
