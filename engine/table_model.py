"""The facts of the table that runs, of another that is proposed, and of why a study goes where it goes.

Values for people. Only what an `ExplainedRoute` found in a study can tell of its patient. Times are aware.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route of the table in force, in words."""

    name: str
    position: str
    inbound: tuple[str, ...]  # empty: whatever way in
    match: str
    process: str
    deliver: tuple[str, ...]
    hold: str
    shadow: bool
    otherwise: bool
    schedule: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableChange:
    """One change of the running table."""

    change_id: int
    version: str
    at: datetime
    actor: str
    action: str  # started | applied | reloaded | rolled back
    message: str
    forced: bool


@dataclass(frozen=True, slots=True)
class EngineStanding:
    """One process that runs on this database, and what it says of the table."""

    node: str
    since: datetime
    version: str
    refused: str  # the version that it could not take
    trouble: str  # and why


@dataclass(frozen=True, slots=True)
class TableInForce:
    """The table that runs."""

    change: TableChange | None
    version: str
    main: str  # name of the table's file
    files: tuple[str, ...]  # every file of it, the table's own first
    routes: tuple[RouteRow, ...]
    engines: tuple[EngineStanding, ...]


@dataclass(frozen=True, slots=True)
class ToldLine:
    """A line about a proposed table, or of a difference."""

    text: str
    tone: str = "plain"  # plain | added | changed | removed | trouble | aside


@dataclass(frozen=True, slots=True)
class TableProposal:
    """What another table would change."""

    running: TableChange | None  # what it was compared with
    version: str  # empty where it has errors
    lines: tuple[ToldLine, ...]  # as `pons plan` says it
    difference: tuple[ToldLine, ...]  # of the files, line by line
    objections: tuple[str, ...]  # why it is not applied
    forceable: bool  # whether somebody may apply it all the same


@dataclass(frozen=True, slots=True)
class TableApplied:
    """What came of applying one."""

    version: str
    change_id: int | None  # None: it was the running table already
    engines: tuple[EngineStanding, ...]
    taken: bool  # whether every engine that lives took it


@dataclass(frozen=True, slots=True)
class ExplainedRoute:
    """What one route said of a study."""

    name: str
    position: str
    hit: bool
    shadow: bool
    why: str
    wanted: str  # of a miss by a predicate
    found: str
    consequences: tuple[str, ...]  # what follows of a hit, in words


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a study goes where it goes: one decision."""

    site: str
    study_instance_uid: str
    revision: int
    table_version: str
    decided_at: datetime | None  # None: decided now, by the table in force
    verdict: str  # routed | held
    holds: tuple[str, ...]
    overridden: tuple[str, ...]  # attributes that the metadata of its order gave other values
    passed_over: int  # further routes that could not fire
    routes: tuple[ExplainedRoute, ...]
    changes: tuple[str, ...] = ()  # of one decided now: what is not as it was decided
