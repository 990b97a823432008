"""What a result says, as a page shows it: findings by group, each with its value, limits and flag. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from channels.content.wording import range_text, unit_text, value_text
from engine.model import Finding, Flag, Result

FLAGS = {Flag.NORMAL: "normal", Flag.ABNORMAL: "abnormal", Flag.LOW: "low", Flag.HIGH: "high"}
FLAG_KINDS = {Flag.NORMAL: "good", Flag.ABNORMAL: "bad", Flag.LOW: "wait", Flag.HIGH: "wait"}


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    what: str
    place: str
    value: str
    limits: str
    flag: str
    kind: str
    comment: str


def rows_of(findings: Sequence[Finding]) -> list[tuple[str, list[Row]]]:
    """The findings under their groups, in their order."""
    return [
        (group or "Findings", [_row(one) for one in members])
        for group, members in groupby(findings, key=lambda one: one.group)
    ]


def _row(one: Finding) -> Row:
    unit = unit_text(one.unit)
    limits = range_text(one.reference_range)
    return Row(
        what=one.concept.meaning,
        place=" ".join(code.meaning for code in (one.laterality, one.site) if code),
        value=f"{value_text(one)} {unit}".strip(),
        limits=f"{limits} {unit}".strip() if limits else "",
        flag=FLAGS[one.flag] if one.flag else "",
        kind=FLAG_KINDS[one.flag] if one.flag else "",
        comment=one.comment,
    )


def pictures_of(result: Result) -> list[tuple[str, str]]:
    """Names and titles of the pictures that a processor made."""
    return [
        (one.name, one.title or one.name)
        for one in result.report.artefacts
        if one.media_type == "image/png" and one.path is not None
    ]


def files_of(result: Result) -> list[tuple[str, str]]:
    """Names and titles of what else it made."""
    return [
        (one.name, one.title or one.name)
        for one in result.report.artefacts
        if one.media_type != "image/png" and one.path is not None
    ]
