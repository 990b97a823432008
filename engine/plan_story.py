"""A proposal in words and as data: what a person reads before saying yes, what a program reads instead.

Enter: a proposal. Leave: lines with what each is (added, changed, removed, trouble, aside), for a terminal to
colour; or one plain mapping. Names of the table and Study Instance UIDs appear, nothing of a patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import Any, NamedTuple

from engine.clock import at
from engine.plan import Change
from engine.plan_effect import Effect, Kind, Outcome, totals
from engine.plan_in_flight import Stop, Touched
from engine.proposal import Proposal
from engine.store.table_versions import ActiveTable

SHOWN = 20  # studies that people are shown; programs get all
SINGULAR = {"sites": "site", "processors": "processor", "routes": "route", "tests": "test"}


class Tone(StrEnum):
    """What a line is about."""

    PLAIN = "plain"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    TROUBLE = "trouble"
    ASIDE = "aside"


class Line(NamedTuple):
    """One line for people."""

    text: str
    tone: Tone = Tone.PLAIN


_TONES = {"+": Tone.ADDED, "~": Tone.CHANGED, "-": Tone.REMOVED}


def story(one: Proposal) -> Iterator[Line]:
    """The whole of it, from what is wrong with the table to what is under way."""
    yield from _findings(one)
    if one.table is None:
        return
    yield from _tests(one)
    yield Line(_heading(one))
    if one.is_running:
        yield Line("nothing changes: this is the running table")
        return
    if one.running is not None and one.before.table is None:
        what = "this release cannot read the running table: compared as written, not by meaning"
        yield Line(what, Tone.TROUBLE)
    yield from _changes(one)
    yield from _effects(one)
    yield from _in_flight(one)
    for name in one.restart:
        yield Line(f"needs a restart: {name}", Tone.TROUBLE)


def change_in_words(change: ActiveTable) -> str:
    """`applied by ann at 2026-01-31 08:00:00 UTC: the new scanner`."""
    message = f": {change.message}" if change.message else ""
    forced = ", forced" if change.forced else ""
    return f"{change.action}{forced} by {change.actor} at {at(change.at):%Y-%m-%d %H:%M:%S} UTC{message}"


def _findings(one: Proposal) -> Iterator[Line]:
    for finding in one.findings:
        tone = Tone.TROUBLE if finding.severity == "error" else Tone.CHANGED
        yield Line(str(finding), tone)


def _tests(one: Proposal) -> Iterator[Line]:
    for verdict in one.failed:
        yield Line(f"FAIL {verdict.test.name}", Tone.TROUBLE)
        yield from (Line(f"     {line}") for line in verdict.lines)
    passed = len(one.verdicts) - len(one.failed)
    yield Line(f"{passed} of {len(one.verdicts)} tests pass", Tone.TROUBLE if one.failed else Tone.PLAIN)


def _heading(one: Proposal) -> str:
    assert one.table is not None
    if one.running is None:
        return f"{one.table.version} would be the first table to run here"
    return f"{one.running.version} runs ({change_in_words(one.running)}); {one.table.version} would"


def _changes(one: Proposal) -> Iterator[Line]:
    if not one.found.changes:
        yield Line("nothing that the engine does changes: only wording, comments or the layout of files")
        return
    yield Line("")
    for change in one.found.changes:
        yield from _change(change)
    yield Line("")
    yield Line(_counted(one.found.changes))


def _change(change: Change) -> Iterator[Line]:
    tone = _TONES[change.sign]
    what = f"{SINGULAR.get(change.section, change.section)} {change.name}".rstrip()
    note = f" ({change.note})" if change.note else ""
    yield Line(f"{change.sign} {what}{note}", tone)
    for key in change.keys:
        if change.sign != "~":
            told = key.after if key.before is None else key.before
        elif key.before is None:
            told = f"{key.after} (was not given)"
        elif key.after is None:
            told = f"not given any more (was {key.before})"
        else:
            told = f"{key.before} -> {key.after}"
        yield Line(f"    {key.path}: {told}", tone)


def _counted(changes: tuple[Change, ...]) -> str:
    signs = [change.sign for change in changes]
    return f"{signs.count('+')} added, {signs.count('~')} changed, {signs.count('-')} removed"


def _effects(one: Proposal) -> Iterator[Line]:
    if not one.effects:
        return
    counts = totals(list(one.effects))
    yield Line("")
    yield Line(
        f"of the last {len(one.effects)} studies {counts[Kind.ELSEWHERE]} would go elsewhere, "
        f"{counts[Kind.OTHERWISE]} to the same places otherwise, {counts[Kind.SAME]} as before; "
        f"{counts[Kind.UNKNOWN]} cannot be told"
    )
    yield from (Line(f"    {text}") for text in _summary(one.effects))
    told = [effect for effect in one.effects if effect.kind in (Kind.ELSEWHERE, Kind.OTHERWISE)]
    for effect in told[:SHOWN]:
        places = f"{effect.before} -> {effect.after}"
        if effect.kind is Kind.OTHERWISE:
            places = f"otherwise to {effect.after}"
        yield Line(f"~ {effect.study} of {effect.site}: {places}", Tone.CHANGED)
        yield Line(f"    {effect.why}", Tone.ASIDE)
    if len(told) > SHOWN:
        yield Line(f"and {len(told) - SHOWN} more; --json has all", Tone.ASIDE)


def _summary(effects: tuple[Effect, ...]) -> Iterator[str]:
    """Which ways were taken how often, before and after: the shape of a mistake shows here."""
    told = [one for one in effects if one.kind is not Kind.UNKNOWN]
    before, after = ([place for one in told for place in _places(side(one))] for side in (_before, _after))
    for place in sorted({*before, *after}):
        if before.count(place) != after.count(place):
            yield f"{place}: {before.count(place)} -> {after.count(place)} studies"


def _before(effect: Effect) -> Outcome:
    return effect.before


def _after(effect: Effect) -> Outcome:
    return effect.after


def _places(outcome: Outcome) -> list[str]:
    if outcome.turned_away:
        return ["turned away"]
    return [*outcome.deliver, *(["held"] if outcome.held else [])]


def _in_flight(one: Proposal) -> Iterator[Line]:
    if not one.touched:
        return
    yield Line("")
    yield Line("under way:")
    for part in one.touched:
        yield Line(f"  {_touched(part)}", Tone.TROUBLE if part.stop is not Stop.NO else Tone.PLAIN)


def _touched(part: Touched) -> str:
    what = f"{SINGULAR.get(part.section, part.section)} {part.name}"
    return f"{what}: {part.counted}; {part.becomes}" if part.counts else f"{what}: {part.becomes}"


# ── for programs ────────────────────────────────────────────────────────────────────────────────


def as_data(one: Proposal) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "running": None if one.running is None else change_as_data(one.running),
        "version": None if one.table is None else one.table.version,
        "is_running": one.is_running,
        "findings": [
            {
                "file": finding.file,
                "line": finding.line,
                "column": finding.column,
                "path": finding.path,
                "message": finding.message,
                "severity": finding.severity,
                "code": finding.code,
            }
            for finding in one.findings
        ],
        "tests": {
            "passed": len(one.verdicts) - len(one.failed),
            "failed": [{"test": each.test.name, "lines": list(each.lines)} for each in one.failed],
        },
        "changes": [asdict(change) for change in one.found.changes],
        "restart": list(one.restart),
        "studies": {
            "counts": {str(kind): count for kind, count in totals(list(one.effects)).items()},
            "changed": [_effect(each) for each in one.effects if each.kind is not Kind.SAME],
        },
        "under_way": [{**asdict(part), "counts": dict(part.counts)} for part in one.touched],
    }


def change_as_data(change: ActiveTable) -> dict[str, Any]:
    """A change of the running table."""
    return {
        "change": change.change_id,
        "version": change.version,
        "at": at(change.at).isoformat(timespec="seconds"),
        "actor": change.actor,
        "action": change.action,
        "message": change.message,
        "forced": change.forced,
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "study": effect.study,
        "site": effect.site,
        "kind": str(effect.kind),
        "before": asdict(effect.before),
        "after": asdict(effect.after),
        "why": effect.why,
    }
