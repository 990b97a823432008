"""What another table would do with the studies that came last.

Enter: two tables, and studies as the engine has them on record. Leave: for each, what the running table makes
of it and what the other would, with the first reason where they differ. Reasons name routes, positions and
what a predicate wanted, never what was found in a study: that may be of the patient.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.clock import at
from engine.directory import Directory
from engine.errors import Rejected, UnknownPeer
from engine.facts import StudyFacts
from engine.model import Study
from engine.overrides import in_facts
from engine.recorded_study import recorded_study
from engine.route import Decision, RouteOutcome, decide, decide_among
from engine.store import studies as study_queries
from engine.store.database import Database
from engine.store.study_orders import overrides_of
from engine.store.under_way import latest_studies
from engine.table import Table

GONE = "its files are gone, or cannot be read"
NOBODY = "no route matched"
_KEYS = {"shadow": "mode", "series": "selection"}  # what the table calls the rest is what an outcome calls it


class Kind(StrEnum):
    """How what two tables make of a study differs."""

    SAME = "as before"
    ELSEWHERE = "elsewhere"  # other destinations, another processor, held or not
    OTHERWISE = "otherwise"  # the same destinations by other routes, series, edits or conditions
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a study, in the names of the table."""

    routes: tuple[str, ...] = ()
    process: tuple[str, ...] = ()
    deliver: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    turned_away: str = ""  # why it would not be taken in at all

    @property
    def places(self) -> tuple[Any, ...]:
        """Where it goes."""
        return set(self.process), set(self.deliver), bool(self.held), bool(self.turned_away)

    def __str__(self) -> str:
        if self.turned_away:
            return "turned away"
        held = [f"held: {reason}" for reason in self.held]
        return (
            ", ".join([*self.deliver, *held]) or ", ".join(f"{one} only" for one in self.process) or "nowhere"
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """One study under both tables."""

    study: str  # Study Instance UID
    site: str
    kind: Kind
    before: Outcome
    after: Outcome
    why: str


def effects(
    database: Database, before: Table, after: Table, limit: int, path_of: Callable[[str], Path]
) -> Iterator[Effect]:
    """Decide the studies that came last by both tables, the latest first; blocks while headers are read.

    Args:
        limit: how many studies at most.
        path_of: the file of what a row of `instances` names.
    """
    who_before, who_after = Directory(before.sites), Directory(after.sites)
    keywords = before.keywords() | after.keywords()
    for row in database.read_now(partial(latest_studies, limit=limit)):
        members = database.read_now(partial(study_queries.members, study_id=row.id, revision=row.revision))
        study = None
        if members:
            with contextlib.suppress(OSError, Rejected):
                study = recorded_study(row, members, row.revision, keywords, before.sites, path_of)
        if study is not None:
            study = in_facts(
                study,
                database.read_now(partial(overrides_of, study_id=row.id, revision=row.revision)),
            )
        if study is None:
            yield Effect(row.study_instance_uid, row.site, Kind.UNKNOWN, Outcome(), Outcome(), GONE)
            continue
        away = _turned_away(row, who_before, who_after, after)
        yield compare(study, before, _as_of(study, row, after), after, away)


def compare(study: Study, before: Table, study_after: Study, after: Table, turned_away: str = "") -> Effect:
    """What two tables make of one study: pure.

    Args:
        study_after: the same study with its time as the other table tells it.
        turned_away: why the other table would not take it in.
    """
    old = decide(study, before)
    if turned_away:
        mine, other = outcome(old), Outcome(turned_away=turned_away)
        return Effect(study.study_instance_uid, study.site, Kind.ELSEWHERE, mine, other, turned_away)
    new = decide(study_after, after)
    mine, other = outcome(old), outcome(new)
    kind = Kind.SAME
    if mine.places != other.places:
        kind = Kind.ELSEWHERE
    elif _asked(old) != _asked(new):
        kind = Kind.OTHERWISE
    why = "" if kind is Kind.SAME else first_reason(old, new, StudyFacts(study_after), after)
    return Effect(study.study_instance_uid, study.site, kind, mine, other, why)


def outcome(decision: Decision) -> Outcome:
    """A decision in the names of the table."""
    live = [hit for hit in decision.hits if not hit.shadow]
    held = tuple(dict.fromkeys(hit.hold for hit in live if hit.hold))
    return Outcome(
        routes=tuple(hit.route for hit in live),
        process=tuple(dict.fromkeys(hit.process for hit in live if hit.process)),
        deliver=tuple(dict.fromkeys(one.to for hit in live for one in hit.deliver)),
        held=held if live else (NOBODY,),
        shadow=tuple(hit.route for hit in decision.hits if hit.shadow),
    )


def first_reason(old: Decision, new: Decision, facts: StudyFacts, after: Table) -> str:
    """Why another table decides otherwise: the first route, in its order, that does."""
    was, now = ({hit.route: hit for hit in each.hits} for each in (old, new))
    routes = {route.name: route for route in after.routes}
    for name, hit in was.items():
        if name not in routes:
            return f"route {name!r} is gone"
        if name not in now:
            if routes[name].otherwise:
                fired = next((one.route for one in new.hits if not one.shadow), "")
                return f"route {name!r} stands back: {fired!r} fires now"
            (asked,) = decide_among(facts, [routes[name]], after).outcomes
            return f"route {name!r} does not fire: {_wanted(asked)}"
        if _plain(hit) != _plain(now[name]):
            return f"route {name!r} has another {_other(_plain(hit), _plain(now[name]))}"
    for name in now:
        if name not in was:
            return f"route {name!r} fires now ({routes[name].position})"
    return "the routes stand in another order"


def totals(found: list[Effect]) -> dict[Kind, int]:
    """How many studies of each kind; every kind is there."""
    counts = Counter(one.kind for one in found)
    return {kind: counts[kind] for kind in Kind}


def _wanted(asked: RouteOutcome) -> str:
    """What the first predicate wanted that failed, without what it found."""
    if asked.failed is None:
        return asked.position
    return f"{asked.failed.position} wants {asked.failed.wanted}"


def _asked(decision: Decision) -> list[RouteOutcome]:
    return [_plain(hit) for hit in decision.hits]


def _plain(hit: RouteOutcome) -> RouteOutcome:
    """What a route asks for, without where it stands and how it is put in words."""
    return dataclasses.replace(hit, position="", why="")


def _other(was: RouteOutcome, now: RouteOutcome) -> str:
    """The first key of a route by which two outcomes of it differ."""
    names = [field.name for field in dataclasses.fields(was)]
    first = next(name for name in names if getattr(was, name) != getattr(now, name))
    return _KEYS.get(first, first)


def _as_of(study: Study, row: Any, table: Table) -> Study:
    """The study with its time of arrival in the time zone that another table gives its site."""
    site = table.sites.get(study.site)
    zone = ZoneInfo(site.timezone) if site else None
    return dataclasses.replace(study, received_at=at(row.last_at).astimezone(zone))


def _turned_away(row: Any, before: Directory, after: Directory, table: Table) -> str:
    """Why another table would not take in what came as this study did; empty when it would."""
    if row.site not in table.sites:
        return f"site {row.site} is gone"
    if row.inbound not in table.inbound:
        return f"way in {row.inbound} is gone"
    title = row.calling_ae_title or None
    try:
        if before.identify(row.remote_address, title).key != row.site:
            return ""  # who it was is not known from this any more
    except UnknownPeer:
        return ""
    try:
        now = after.identify(row.remote_address, title).key
    except UnknownPeer as error:
        return f"site {row.site} is not known by its {error.what.replace('_', ' ')} any more"
    return "" if now == row.site else f"it would be taken for one of site {now}"
