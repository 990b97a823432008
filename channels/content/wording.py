"""A finding in words, for every format that people read."""

from __future__ import annotations

from decimal import Decimal

from engine.model import Code, Finding, Range


def value_text(finding: Finding) -> str:
    """The value alone: a number in its own digits, a code by its meaning."""
    value = finding.value
    if isinstance(value, Decimal):
        return format(value, "f") if abs(value.adjusted()) < 20 else str(value)
    return value.meaning if isinstance(value, Code) else value


def unit_text(unit: Code | None) -> str:
    """The unit as written beside a number; nothing for a dimensionless one."""
    return unit.value if unit and unit.value != "1" else ""


def range_text(span: Range | None) -> str:
    """`1.85 to 2.15`, `from 2`, `to 5`; both limits belong to the range."""
    if span is None or (span.low is None and span.high is None):
        return ""
    if span.low is None:
        return f"to {span.high}"
    return f"from {span.low}" if span.high is None else f"{span.low} to {span.high}"


def finding_text(finding: Finding) -> str:
    """All of it in a line: `1.60 mm (1.85 to 2.15) L`."""
    limits = range_text(finding.reference_range)
    flag = finding.flag.value if finding.flag else ""
    parts = (value_text(finding), unit_text(finding.unit), f"({limits})" if limits else "", flag)
    return " ".join(filter(None, parts))
