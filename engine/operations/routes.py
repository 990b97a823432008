"""The table in force as people read it, and why a study goes where it goes.

Enter: the table, what the database says of it, decisions on record. Leave: rows in words. What is of another
site is left out; what a predicate found in an attribute of the patient stands behind a shield.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from engine.clock import at
from engine.errors import PonsError
from engine.explain import recorded
from engine.explanation import Explanation, RouteExplained, explanation
from engine.explanation_story import changes, consequences, decides_the_same
from engine.operations_model import OperationRefused, OperationRefusedReason, Sites
from engine.patient_attributes import SHIELD, asks_the_patient
from engine.predicate import demands
from engine.route import Route
from engine.store import table_versions
from engine.store.table_versions import ActiveTable
from engine.table import Table
from engine.table_change import SILENT_FOR
from engine.table_model import (
    EngineStanding,
    Explained,
    ExplainedRoute,
    RouteRow,
    TableChange,
    TableInForce,
)


def in_force(connection: Connection, table: Table, now: float, sites: Sites = None) -> TableInForce:
    """The table that this engine runs, and which engine runs which."""
    active = table_versions.active(connection)
    names = [table.path.name, *sorted(table.files.keys() - {table.path.name})]
    return TableInForce(
        change=change_of(active) if active is not None and active.version == table.version else None,
        version=table.version,
        main=table.path.name,
        files=tuple(names) if sites is None else (),
        routes=tuple(_row(route, table, sites) for route in table.routes if concerns(route, sites)),
        engines=engines(connection, now),
    )


def engines(connection: Connection, now: float) -> tuple[EngineStanding, ...]:
    """The engines that gave a sign of life lately."""
    return tuple(
        EngineStanding(row.node, at(row.started_at), row.table_version, row.refused_version, row.trouble)
        for row in table_versions.engines_alive(connection, now - SILENT_FOR)
    )


def change_of(change: ActiveTable) -> TableChange:
    """A change of the running table as a value."""
    return TableChange(
        change.change_id,
        change.version,
        at(change.at),
        change.actor,
        change.action,
        change.message,
        change.forced,
    )


def concerns(route: Route, sites: Sites) -> bool:
    """Whether a route can fire for a study of one of these sites."""
    if sites is None:
        return True
    demanded = demands(route.match).get("site")
    return demanded is None or not demanded.isdisjoint(sites)


def _row(route: Route, table: Table, sites: Sites) -> RouteRow:
    deliver = [
        one.to
        for one in route.deliver
        if sites is None or one.to not in table.outbound or table.outbound[one.to].settings.site in sites
    ]
    return RouteRow(
        name=route.name,
        position=route.position,
        inbound=route.inbound or (),
        match=str(route.match),
        process=route.process or "",
        deliver=tuple(deliver),
        hold=route.hold or "",
        shadow=route.shadow,
        otherwise=route.otherwise,
        schedule=tuple(map(str, route.schedule)),
    )


# ── why a study goes where it goes ──────────────────────────────────────────────────────────────


def explained(
    connection: Connection, table: Table, uid: str, sites: Sites, *, revealed: bool
) -> list[Explained]:
    """The latest decision of each site that sent the study, then what the table makes of it now."""
    try:
        found = recorded(connection, table, uid, now=True, sites=sites)
    except PonsError as error:
        raise OperationRefused(OperationRefusedReason.NOT_FOUND, str(error).partition("; `pons")[0]) from None
    told: list[Explained] = []
    for one in found:
        whole = explanation(
            one.decision,
            table,
            study=uid,
            site=one.site,
            revision=one.revision,
            source="record",
            decided_at=one.decided_at,
            now=one.now,
        )
        told += _told(whole, table, sites, revealed)
    return told


def _told(whole: Explanation, table: Table, sites: Sites, revealed: bool) -> Iterator[Explained]:
    hidden = {route.name for route in table.routes if not concerns(route, sites)}
    yield _explained(whole, hidden, revealed)
    if whole.now is not None:
        said = tuple(changes(whole, whole.now)) if revealed else tuple(_changes_without_why(whole, whole.now))
        if not said and decides_the_same(whole, whole.now):
            said = ("the table in force decides the same",)
        yield _explained(
            whole.now, hidden, revealed, said or ("the same routes fire, with other destinations",)
        )


def _changes_without_why(then: Explanation, again: Explanation) -> Iterator[str]:
    for words in changes(then, again):
        yield ": ".join(words.split(": ")[:2])


def _explained(one: Explanation, hidden: set[str], revealed: bool, said: Sequence[str] = ()) -> Explained:
    return Explained(
        site=one.site,
        study_instance_uid=one.study,
        revision=one.revision,
        table_version=one.table_version,
        decided_at=one.decided_at,
        verdict=one.verdict,
        holds=one.holds,
        overridden=tuple(one.overridden),
        passed_over=one.passed_over,
        routes=tuple(_route(each, revealed) for each in one.outcomes if each.hit or each.route not in hidden),
        changes=tuple(said),
    )


def _route(one: RouteExplained, revealed: bool) -> ExplainedRoute:
    wanted = one.failed.wanted if one.failed is not None else ""
    found = one.failed.found if one.failed is not None else ""
    why = one.why
    if not one.hit and not revealed and asks_the_patient(wanted or why):
        found, why = SHIELD, f"wanted {wanted}, found {SHIELD}" if wanted else SHIELD
    return ExplainedRoute(
        name=one.route,
        position=one.position,
        hit=one.hit,
        shadow=one.shadow,
        why=why,
        wanted=wanted,
        found=found,
        consequences=tuple(consequences(one)) if one.hit else (),
    )
