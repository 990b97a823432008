"""The report of a batch as a table: CSV (RFC 4180), a header line and one line for each order.

Enter: a report. Leave: UTF-8 text, lines ended by CRLF, in which no spreadsheet finds a formula
(`channels.content.csv_table`). The same report gives the same bytes.
"""

from __future__ import annotations

import csv
from io import StringIO

from channels.content.csv_table import cell
from engine.channel import BatchExportType
from engine.model import BatchReport, BatchRow

COLUMNS = (
    *("batch_id", "batch", "site", "order_id", "created_at", "state", "failure"),
    *("study_instance_uid", "accession_number", "patient_id"),
    *("result_status", "title", "outcome", "headline"),
)


def export(report: BatchReport) -> bytes:
    """The table."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in report.rows:
        writer.writerow(_line(report, row))
    return buffer.getvalue().encode("utf-8")


def _line(report: BatchReport, row: BatchRow) -> tuple[str, ...]:
    return (
        cell(report.batch_id),
        cell(report.name),
        cell(report.site),
        cell(row.order_id),
        row.created_at.isoformat(),
        row.state.value,
        cell(row.failure),
        cell(row.study_instance_uid),
        cell(row.accession_number),
        cell(row.patient_id),
        cell(row.result_status),
        cell(row.title),
        cell(row.outcome),
        cell(row.headline),
    )


EXPORT = BatchExportType("csv", "text/csv; charset=utf-8; header=present", ".csv", export)
