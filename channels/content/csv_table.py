"""A result as a table: CSV (RFC 4180), a header line and one line for each finding.

Enter: a result. Leave: UTF-8 text, lines ended by CRLF. A spreadsheet takes a cell that begins with
`=`, `+`, `-`, `@` or a control character for a formula and runs it, so a *text* cell that begins with
one of them, or with an apostrophe, gets an apostrophe in front; taking one away always restores the
text. Numbers stay numbers: a negative one begins with `-` and is none the worse for it.
"""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from io import StringIO

from channels.content.wording import value_text
from engine.channel import ExportType
from engine.model import Code, Finding, Result

COLUMNS = (
    *("result_id", "status", "revision", "produced_at", "site", "route"),
    *("study_instance_uid", "accession_number", "patient_id", "algorithm", "algorithm_version"),
    *("number", "group", "concept_code", "concept_scheme", "concept", "kind", "value"),
    *("value_code", "value_scheme", "unit", "range_low", "range_high", "flag"),
    *("body_site", "laterality", "tracking_id", "tracking_uid", "comment"),
)

_RISKY = "=+-@'\t\r\n＝＋－＠"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def export(result: Result) -> bytes:
    """The table."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    algorithm = result.report.algorithm
    common = (
        cell(result.result_id),
        cell(result.status.value),
        str(result.revision),
        result.produced_at.isoformat(),
        cell(result.site),
        cell(result.route),
        cell(result.study.study_instance_uid),
        cell(result.order.accession_number),
        cell(result.patient.patient_id),
        cell(algorithm.name),
        cell(algorithm.version),
    )
    for number, finding in enumerate(result.report.findings, start=1):
        writer.writerow((*common, str(number), *_row(finding)))
    return buffer.getvalue().encode("utf-8")


def cell(value: str) -> str:
    """A text cell that no spreadsheet runs; what cannot be printed becomes U+FFFD."""
    text = _UNPRINTABLE.sub("\ufffd", value)
    return f"'{text}" if text.startswith(tuple(_RISKY)) else text


def _row(finding: Finding) -> tuple[str, ...]:
    value, span = finding.value, finding.reference_range
    number = isinstance(value, Decimal)
    code = value if isinstance(value, Code) else None
    return (
        cell(finding.group),
        cell(finding.concept.value),
        cell(finding.concept.scheme),
        cell(finding.concept.meaning),
        "number" if number else "code" if code else "text",
        value_text(finding) if number else cell(value_text(finding)),
        cell(code.value) if code else "",
        cell(code.scheme) if code else "",
        cell(finding.unit.value) if finding.unit else "",
        "" if span is None or span.low is None else str(span.low),
        "" if span is None or span.high is None else str(span.high),
        finding.flag.value if finding.flag else "",
        cell(finding.site.meaning) if finding.site else "",
        cell(finding.laterality.meaning) if finding.laterality else "",
        cell(finding.tracking_id),
        cell(finding.tracking_uid),
        cell(finding.comment),
    )


EXPORT = ExportType("csv", "text/csv; charset=utf-8; header=present", ".csv", export)
