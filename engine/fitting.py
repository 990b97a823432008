"""What of an engine comes from its table: built from one, exchanged for that of another as a whole.

Enter: a table. Leave: its processors, destinations and ways in, each the same object as before where its
block, and what the engine lends it, is the same. Everything that may fail is done before anything changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from starlette.routing import BaseRoute

from engine.catalog import installed_exports
from engine.channel import (
    HoldsKeys,
    Keeps,
    Links,
    OutboundContext,
    OutboundType,
    Processor,
    ProcessorContext,
)
from engine.dispatch import Destination
from engine.errors import ConfigurationError
from engine.key_set import key_set_route
from engine.plan import needs_restart
from engine.table import Declared, Table
from engine.ways_in import Way, WaysIn


@dataclass(frozen=True, slots=True)
class Fitting:
    """One table, and what was built from it."""

    table: Table
    processors: Mapping[str, Processor]
    destinations: Mapping[str, Destination]
    ways: Mapping[str, Way]

    def routes(self) -> list[BaseRoute]:
        """What it adds to the web: its mounted channels, and the keys that its destinations publish."""
        mounted = [route for way in self.ways.values() for route in way.routes]
        holders = {
            name: one.channel for name, one in self.destinations.items() if isinstance(one.channel, HoldsKeys)
        }
        return [*mounted, key_set_route(holders)]

    def kept(self) -> dict[str, dict[str, float]]:
        """The destinations of each site where results are kept for pulling, and for how many seconds."""
        found: dict[str, dict[str, float]] = {}
        for name, one in self.destinations.items():
            if isinstance(one.channel, Keeps):
                found.setdefault(one.declared.settings.site, {})[name] = one.channel.kept_for
        return found


class Fitter:
    """Builds fittings, and exchanges the one that is in use."""

    def __init__(self, ways: WaysIn, data: Path, links: Links) -> None:
        self._ways = ways
        self._data = data
        self._links = links

    def build(self, table: Table, before: Fitting | None = None) -> Fitting:
        """What a table gives; opens nothing. Raises whatever a part raises that cannot be built."""
        return Fitting(
            table,
            {name: self._processor(table, one, before) for name, one in table.processors.items()},
            {name: self._destination(table, one, before) for name, one in table.outbound.items()},
            self._ways.build(table.inbound),
        )

    @contextlib.asynccontextmanager
    async def exchanging(
        self, before: Fitting, table: Table, take: Callable[[Fitting], None]
    ) -> AsyncIterator[None]:
        """Entered: all is built and bound. Left: taken. Left by an exception: nothing has changed.

        Args:
            take: puts everything but the ways in to use, at once and without failing.

        Raises:
            ConfigurationError: what a running engine cannot change, or an address that cannot be bound.
        """
        changed = needs_restart(before.table, table)
        if changed:
            raise ConfigurationError(f"{', '.join(changed)}: needs a restart of the engine to change")
        after = await asyncio.to_thread(self.build, table, before)
        await asyncio.to_thread(lambda: (table.index, table.keywords()))  # not at the first decision
        async with self._ways.opening(after.ways):
            yield
        take(after)

    def _processor(self, table: Table, declared: Declared[Any], before: Fitting | None) -> Processor:
        name = declared.name
        if before is not None and _is_same(declared, before.table.processors.get(name)):
            return before.processors[name]
        built: Processor = declared.type.build(declared.settings, ProcessorContext(name, table.base))
        return built

    def _destination(
        self, table: Table, declared: Declared[OutboundType], before: Fitting | None
    ) -> Destination:
        name, site = declared.name, table.sites[declared.settings.site]
        if (
            before is not None
            and _is_same(declared, before.table.outbound.get(name))
            and before.table.sites[declared.settings.site] == site
        ):
            return before.destinations[name]
        lent = OutboundContext(
            name,
            site,
            table.engine.ae_title,
            self._data / "payloads",
            self._links,
            installed_exports,
            self._data,
        )
        return Destination(declared, declared.type.build(declared.settings, lent), ZoneInfo(site.timezone))


def _is_same(one: Declared[Any], other: Declared[Any] | None) -> bool:
    """Whether two blocks say the same, wherever they stand."""
    return other is not None and one.type is other.type and one.settings == other.settings
