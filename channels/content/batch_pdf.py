"""The report of a batch on paper: counts by state, and a line for each order, made by typst from batch.typ.

Enter: a report. Leave: PDF bytes, dated with the latest change of its orders, so that the same report
gives the same bytes. Values reach the template as data and never as source.
"""

from __future__ import annotations

import re

from channels.content import typesetting
from engine.channel import BatchExportType
from engine.model import BatchReport, BatchRow

TEMPLATE = "batch.typ"
MAX_ROWS = 5000  # orders on paper; the table has all of them

# Controls, and marks that reorder or hide text: on a page they would mislead the reader.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def export(report: BatchReport) -> bytes:
    """The page."""
    left_out = len(report.rows) - MAX_ROWS
    data = {
        "title": _printable(report.name) or f"Batch {report.batch_id}",
        "batch_id": report.batch_id,
        "site": _printable(report.site),
        "submitter": _printable(str(report.submitter)),
        "created": report.created_at.isoformat(timespec="seconds"),
        "as_of": report.as_of.isoformat(timespec="seconds"),
        "orders": str(len(report.rows)),
        "counts": [[state.value, str(count)] for state, count in report.states.items()],
        "rows": [_row(row) for row in report.rows[:MAX_ROWS]],
        "left_out": f"{left_out} more orders are in the table (CSV)" if left_out > 0 else "",
    }
    return typesetting.pdf(TEMPLATE, data, int(report.as_of.timestamp()))


def _row(row: BatchRow) -> dict[str, str]:
    said = " · ".join(part for part in (row.outcome, row.headline) if part) if row.headline else ""
    return {
        "accession": _printable(row.accession_number),
        "patient": _printable(row.patient_id),
        "uid": _printable(row.study_instance_uid),
        "order": row.order_id,
        "state": row.state.value,
        "said": _printable(row.failure or said),
    }


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)


EXPORT = BatchExportType("pdf", "application/pdf", ".pdf", export)
