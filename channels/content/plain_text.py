"""A result as plain text, for people.

Enter: a result. Leave: UTF-8 text, lines ended by LF: standing, who and which study, findings by group,
narrative, impression, maker, disclaimer. Controls, and marks that reorder or hide text, are left out.
"""

from __future__ import annotations

import re
from itertools import groupby

from channels.content.standing import BANNERS, aware, site_zone
from channels.content.wording import finding_text
from engine.channel import ExportType
from engine.model import Finding, Result

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def export(result: Result) -> bytes:
    """The page."""
    blocks = [_head(result), _identification(result), *_groups(result.report.findings)]
    blocks += _paragraph("Narrative", result.report.narrative)
    blocks += _paragraph("Impression", result.report.impression)
    blocks.append(_foot(result))
    return ("\n\n".join(filter(None, blocks)) + "\n").encode("utf-8")


def _head(result: Result) -> str:
    title = _line(result.report.title) or "Result"
    banner = BANNERS[result.status]
    return "\n".join(filter(None, (banner and f"*** {banner} ***", title, "=" * min(len(title), 100))))


def _identification(result: Result) -> str:
    patient, order, study = result.patient, result.order, result.study
    zone = site_zone(study.timezone)
    groups = (" ".join(filter(None, group.split("^"))) for group in str(patient.name).split("="))
    rows = (
        ("Patient", " / ".join(filter(None, groups))),
        ("Patient ID", " / ".join(filter(None, (patient.patient_id, patient.issuer.namespace)))),
        ("Born", patient.birth_date.isoformat() if patient.birth_date else ""),
        ("Sex", patient.sex),
        ("Accession number", order.accession_number),
        ("Procedure", order.procedure.meaning if order.procedure else ""),
        ("Study", study.description),
        ("Study date", study.started_at.strftime("%Y-%m-%d %H:%M") if study.started_at else ""),
        ("Study UID", study.study_instance_uid),
        ("Produced", aware(result.produced_at, zone).strftime("%Y-%m-%d %H:%M %z")),
        ("Status", f"{result.status.value}, revision {result.revision}"),
    )
    return "\n".join(f"{label + ':':18}{_line(value)}" for label, value in rows if value)


def _groups(findings: tuple[Finding, ...]) -> list[str]:
    """A block for each run of findings that share a group."""
    blocks = []
    for group, members in groupby(findings, key=lambda one: one.group):
        heading = _line(group) or "Findings"
        lines = [heading, "-" * min(len(heading), 100)]
        for one in members:
            place = " ".join(_line(code.meaning) for code in (one.laterality, one.site) if code)
            what = _line(one.concept.meaning) + (f", {place}" if place else "")
            lines.append(f"{what}: {_hanging(finding_text(one))}")
            if one.comment:
                lines.append(f"    {_hanging(one.comment)}")
        blocks.append("\n".join(lines))
    return blocks


def _paragraph(heading: str, text: str) -> list[str]:
    kept = _text(text).strip()
    return [f"{heading}\n{'-' * len(heading)}\n{kept}"] if kept else []


def _foot(result: Result) -> str:
    algorithm = result.report.algorithm
    maker = " ".join(filter(None, (algorithm.manufacturer, algorithm.name, algorithm.version)))
    udi = f", UDI {algorithm.udi}" if algorithm.udi else ""
    return "\n".join(filter(None, (_line(f"Made by {maker}{udi}"), _text(result.report.disclaimer).strip())))


def _text(value: str) -> str:
    return _UNPRINTABLE.sub("", value.replace("\r\n", "\n").replace("\r", "\n"))


def _line(value: str) -> str:
    return " ".join(_text(value).split())


def _hanging(value: str) -> str:
    """Text whose later lines stand under a finding's first, so that none passes for another finding."""
    return "\n    ".join(_text(value).splitlines())


EXPORT = ExportType("txt", "text/plain; charset=utf-8", ".txt", export)
