"""Which studies can be taken up again, from assembling, routing or processing, and how.

Enter: a study and the stage. Leave: a step that says what would happen, or why nothing does. What comes
of it is a new version of the same lineage, so a receiver sees a correction and not a second result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from engine.decide import queue_jobs
from engine.replay_plan import PURGED, Stage, Step
from engine.route import RouteOutcome, decision_from_json
from engine.store import replay as queries
from engine.store import studies as study_queries
from engine.table import Table


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What decides whether a study can be taken up again."""

    receiving: bool
    purged: bool
    revision: int
    revision_state: str  # of that revision; empty when there is none
    at_work: tuple[str, ...] = ()  # processors with a run queued or under way
    decided: bool = False
    processors: tuple[str, ...] = ()  # that the latest decision asks for
    gone: tuple[str, ...] = ()  # of these, those that the table no longer has


def why_not_up(facts: StudyFacts, stage: Stage) -> str:
    """Why a study is not taken up again from a stage; empty when it is."""
    if facts.purged:
        return PURGED
    if facts.receiving:
        return "instances are arriving: what comes of them is decided by itself"
    if facts.revision_state == "closed":
        return f"revision {facts.revision} is about to be decided"
    if facts.at_work:
        return f"{', '.join(facts.at_work)} is at work on it"
    if stage is Stage.PROCESS:
        if facts.revision_state == "held" and not facts.decided:
            return f"revision {facts.revision} was never decided; release its hold, or replay it from route"
        if not facts.processors:
            return "its decision asks for no processor"
        if facts.gone:
            return f"the table has no processor {', '.join(facts.gone)} any more; replay it from route"
    return ""


def study_step(
    connection: Connection, study: Any, stage: Stage, table: Table, *, route: str | None = None
) -> Step:
    """What a replay from a stage means for one study."""
    decided = queries.latest_decision(connection, study.id)
    hits = [hit for hit in decision_from_json(decided.decision).hits if hit.process] if decided else []
    if route is not None:
        hits = [hit for hit in hits if hit.route == route]
    processors = tuple(dict.fromkeys(hit.process for hit in hits if hit.process))
    facts = StudyFacts(
        receiving=study.state == "receiving",
        purged=study.purged_at is not None,
        revision=study.revision,
        revision_state=queries.revision_state(connection, study.id, study.revision),
        at_work=tuple(queries.open_jobs(connection, study.id)),
        decided=decided is not None and decided.revision == study.revision,
        processors=processors,
        gone=tuple(name for name in processors if name not in table.processors),
    )
    why = why_not_up(facts, stage)
    tell: dict[Stage, Callable[[], str]] = {
        Stage.ASSEMBLE: lambda: (
            f"revision {study.revision + 1} is made of its {queries.instances_of(connection, study.id)} "
            "instances and decided"
        ),
        Stage.ROUTE: lambda: f"revision {study.revision} is decided again, by table {table.version}",
        Stage.PROCESS: lambda: _processing(decided, processors, hits),
    }
    return Step(
        study.study_instance_uid,
        study.site,
        study.study_instance_uid,
        "",
        facts.revision_state or study.state,
        effect="" if why else tell[stage](),
        left_out=why,
        row=study,
    )


def _processing(decided: Any, processors: Sequence[str], hits: Sequence[RouteOutcome]) -> str:
    told = dict.fromkeys(sending.to for hit in hits if not hit.shadow for sending in hit.deliver)
    where = f"; what comes of it goes to {', '.join(told)}" if told else ""
    return f"{', '.join(processors)} on revision {decided.revision} again{where}"


def take_up(
    connection: Connection, study: Any, stage: Stage, now: float, *, route: str | None = None
) -> None:
    """Take a study up again from a stage; the engine does the rest at its next look."""
    if stage is Stage.PROCESS:
        decided = queries.latest_decision(connection, study.id)
        assert decided is not None  # or the plan would have left it out
        hits = decision_from_json(decided.decision).hits
        queue_jobs(connection, study.id, decided.revision, hits, now, route=route)
    elif stage is Stage.ROUTE:
        study_queries.set_revision_state(connection, study.id, study.revision, "closed", now)
    else:
        queries.open_revision(connection, study.id)
        study_queries.close_revision(
            connection, study.id, now, "assembled again", on_late="rerun", last_at=study.last_at
        )
