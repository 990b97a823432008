"""How sites and destinations stand: the table beside what lies in the database and what the tunnels say.

Enter: the table in force, a connection, a clock. Leave: a row each, in the order of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.clock import at
from engine.explanation import where_of
from engine.model import Site
from engine.operations_model import DestinationStanding, Sites, SiteStanding, TunnelStanding
from engine.outlook import state_of
from engine.store import browse
from engine.store.browse import OpenHolds
from engine.store.destinations import Numbers, Standing, all_standings, numbers
from engine.table import Table
from engine.tunnel_watch import STALE, SiteHealth, read_status
from engine.window import closed_until

SILENT_AFTER = 24 * 3600.0  # seconds without a study
SENT_WITHIN = 14 * 24 * 3600.0  # seconds in which a site must have sent something to be missed
NO_LONGER = "the table has no such destination; what is queued for it waits"


def destinations(
    connection: Connection, table: Table, now: float, sites: Sites = None
) -> list[DestinationStanding]:
    """Every way out of the table, then those that only have something left in the database."""
    standings, lying = all_standings(connection), numbers(connection)
    names = [name for name, one in table.outbound.items() if sites is None or one.settings.site in sites]
    if sites is None:  # of which site they were, the table does not say any more
        names += sorted(lying.keys() - table.outbound.keys())
    return [
        _destination(table, name, standings.get(name, Standing()), lying.get(name, Numbers()), now)
        for name in names
    ]


def _destination(
    table: Table, name: str, standing: Standing, lies: Numbers, now: float
) -> DestinationStanding:
    state, why = state_of(standing, closed_at(table, name, now))
    declared = table.outbound.get(name)
    if declared is None:
        state, why = "unknown", NO_LONGER
    settings = declared.settings if declared is not None else None
    rate = settings.rate if settings is not None else None
    return DestinationStanding(
        destination=name,
        type=declared.type.name if declared is not None else "",
        carries=declared.type.carries if declared is not None else "",
        site=settings.site if settings is not None else "",
        where=where_of(settings) if settings is not None else "",
        state=state,
        why=why,
        queued=lies.queued,
        waiting=lies.waiting,
        dead=lies.dead,
        oldest_at=_moment(lies.oldest_at),
        last_acknowledged_at=_moment(standing.last_acknowledged_at),
        rate="" if rate is None else _rate_in_words(rate),
        maintenance=tuple(map(str, settings.maintenance)) if settings is not None else (),
    )


def closed_at(table: Table, name: str, now: float) -> datetime | None:
    """When the maintenance windows of a destination end that hold now; None when none does."""
    if name not in table.outbound:
        return None
    settings = table.outbound[name].settings
    zone = ZoneInfo(table.sites[settings.site].timezone)
    return closed_until(settings.maintenance, at(now), zone)


def sites(
    connection: Connection,
    table: Table,
    now: float,
    seen: Sites = None,
    holds: Sequence[OpenHolds] | None = None,
) -> list[SiteStanding]:
    """Every site of the table that somebody may see.

    Args:
        holds: `browse.open_holds`, where they were looked for already.
    """
    shown = [site for site in table.sites.values() if seen is None or site.key in seen]
    latest = browse.latest_orders_at(connection, [site.key for site in shown])
    held = {row.site: row.n for row in (browse.open_holds(connection) if holds is None else holds)}
    lying = by_site(numbers(connection), table)
    tunnels = tunnel_standings(table, now)
    return [
        _site(
            site,
            latest.get(site.key),
            held.get(site.key, 0),
            lying.get(site.key, Numbers()),
            tunnels.get(site.key),
            now,
        )
        for site in shown
    ]


def _site(
    site: Site, latest: float | None, held: int, lies: Numbers, tunnel: TunnelStanding | None, now: float
) -> SiteStanding:
    return SiteStanding(
        site=site.key,
        name=site.name,
        timezone=site.timezone,
        addresses=site.addresses,
        ae_titles=site.ae_titles,
        last_study_at=_moment(latest),
        silent=latest is not None and SILENT_AFTER < now - latest < SENT_WITHIN,
        held=held,
        queued=lies.queued,
        waiting=lies.waiting,
        dead=lies.dead,
        tunnel=tunnel,
    )


def by_site(lying: Mapping[str, Numbers], table: Table) -> dict[str, Numbers]:
    """What lies at destinations, added up by the site that each is of."""
    found: dict[str, Numbers] = {}
    for name, one in lying.items():
        if name in table.outbound:
            site = table.outbound[name].settings.site
            before = found.get(site, Numbers())
            found[site] = Numbers(
                before.queued + one.queued, before.waiting + one.waiting, before.dead + one.dead
            )
    return found


def tunnel_standings(table: Table, now: float) -> dict[str, TunnelStanding]:
    """The tunnel of each site that has one, as it was written down last; reads a file."""
    if table.tunnel is None:
        return {}
    written_at, healths = read_status(table.tunnel.folder / "status.json")
    lately = now - written_at <= STALE
    told = {one.site: one for one in healths}
    return {
        site.key: _tunnel(site.tunnel, told.get(site.key), lately)
        for site in table.sites.values()
        if site.tunnel
    }


def _tunnel(address: str, health: SiteHealth | None, lately: bool) -> TunnelStanding:
    if health is None:
        return TunnelStanding(address, None, None, 0, 0)
    return TunnelStanding(
        address,
        health.alive if lately else None,
        at(health.last_handshake) if health.last_handshake else None,
        health.rx_bytes,
        health.tx_bytes,
    )


def _rate_in_words(rate: float) -> str:
    for per, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if rate * seconds >= 1:
            return f"{rate * seconds:g}/{per}"
    return f"{rate * 86400:g}/day"


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else at(seconds)
