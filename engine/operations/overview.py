"""How an engine fares at a moment: the last day in numbers, what happened last, what needs attention.

Enter: a connection, the table in force, a clock, what the process itself has to say (disk, database). Leaves:
an `Overview`. It is asked by every dashboard that is open, so all of it comes by way of indices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from engine.breaker import CLOSED
from engine.clock import at
from engine.operations import standing
from engine.operations_model import (
    Attention,
    Care,
    DestinationStanding,
    Happening,
    Hour,
    Overview,
    Sites,
    SiteStanding,
)
from engine.store import browse, table_versions
from engine.store.browse import OpenHolds
from engine.store.destinations import all_standings
from engine.table import Table
from engine.table_change import SILENT_FOR

HOUR = 3600.0
HOURS = 24
RECENT = 12


def overview(
    connection: Connection, table: Table, now: float, troubles: Sequence[str], sites: Sites = None
) -> Overview:
    """How it fares, for some sites or for all.

    Args:
        troubles: what keeps this process from taking studies, in words.
    """
    lying = standing.destinations(connection, table, now, sites)
    holds = browse.open_holds(connection)
    fares = standing.sites(connection, table, now, sites, holds)
    tried = browse.retrying(connection)
    held = [row for row in holds if sites is None or row.site in sites]
    attention = [
        *_engines(connection, troubles, now),
        *_destinations(connection, lying),
        *_sites(fares),
        *(_hold(row) for row in held),
    ]
    return Overview(
        as_of=at(now),
        day=browse.orders_since(connection, now - HOURS * HOUR, sites),
        queued=sum(one.queued for one in lying),
        retrying=sum(tried.get(one.destination, 0) for one in lying),
        waiting=sum(one.waiting for one in lying),
        dead=sum(one.dead for one in lying),
        held=sum(row.n for row in held),
        hours=_hours(connection, now, sites),
        recent=_recent(connection, sites),
        attention=tuple(sorted(attention, key=lambda one: not one.urgent)),
    )


def _hours(connection: Connection, now: float, sites: Sites) -> tuple[Hour, ...]:
    first = now - now % HOUR - (HOURS - 1) * HOUR
    edges = [first + number * HOUR for number in range(HOURS + 1)]
    counted = browse.counted_between(connection, edges, sites)
    return tuple(Hour(at(edge), *counts) for edge, counts in zip(edges, counted, strict=False))


def _recent(connection: Connection, sites: Sites) -> tuple[Happening, ...]:
    found = [
        Happening(
            at(row.created_at),
            "received",
            f"order of {row.submitter_kind} {row.submitter}",
            row.site,
            row.uid,
        )
        for row in browse.latest_orders(connection, sites, RECENT)
    ]
    found += [
        Happening(
            at(row.finished_at),
            state,
            f"{row.destination} [{row.status}]" + (f": {row.reason}" if state == "dead" else ""),
            row.site,
            row.study_instance_uid,
        )
        for state in ("delivered", "dead")
        for row in browse.latest_ended(connection, state, sites, RECENT)
    ]
    found += [
        Happening(at(row.held_at), "held", row.reason, row.site, row.study_instance_uid)
        for row in browse.latest_holds(connection, sites, RECENT)
    ]
    return tuple(sorted(found, key=lambda one: one.at, reverse=True)[:RECENT])


# ── what needs attention ────────────────────────────────────────────────────────────────────────


def _engines(connection: Connection, troubles: Sequence[str], now: float) -> Iterator[Attention]:
    for trouble in troubles:
        yield Attention(Care.ENGINE, trouble, urgent=True)
    for row in table_versions.engines_alive(connection, now - SILENT_FOR):
        if row.refused_version:
            text = f"engine {row.node} could not take table {row.refused_version}; the one before goes on"
            yield Attention(Care.ENGINE, text, urgent=True)


def _destinations(connection: Connection, lying: Sequence[DestinationStanding]) -> Iterator[Attention]:
    circuits = {name: one.circuit.state for name, one in all_standings(connection).items()}
    for one in lying:
        if one.dead:
            text = f"{_counted(one.dead, 'delivery', 'deliveries')} gave up"
            yield Attention(Care.DEAD_LETTERS, text, one.destination, one.site, urgent=True)
        if one.state == "paused":
            yield Attention(Care.PAUSED, one.why, one.destination, one.site, urgent=one.queued > 0)
        elif circuits.get(one.destination, CLOSED) != CLOSED:
            yield Attention(Care.CIRCUIT, one.why, one.destination, one.site, urgent=True)


def _sites(fares: Sequence[SiteStanding]) -> Iterator[Attention]:
    for one in fares:
        tunnel = one.tunnel
        if tunnel is not None and tunnel.alive is False:
            text = "the tunnel is silent, never heard"
            if tunnel.last_handshake is not None:
                text = f"the tunnel is silent, last heard at {tunnel.last_handshake:%Y-%m-%d %H:%M} UTC"
            if one.queued:
                text += f"; {_counted(one.queued, 'delivery waits', 'deliveries wait')}"
            yield Attention(Care.TUNNEL, text, one.site, one.site, urgent=one.queued > 0)
        if one.silent and one.last_study_at is not None:
            text = f"no study since {one.last_study_at:%Y-%m-%d %H:%M} UTC"
            yield Attention(Care.SILENT, text, one.site, one.site)


def _hold(row: OpenHolds) -> Attention:
    longest = f"the longest since {at(row.oldest_at):%Y-%m-%d %H:%M} UTC"
    text = f"{_counted(row.n, 'study waits', 'studies wait')} for a person, {longest}"
    return Attention(Care.HOLDS, text, row.site, row.site)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
