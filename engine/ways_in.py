"""The ways in of a running engine: those of its table, opened, and exchanged while it runs.

Enter: the inbound channels of a table, and later those of another. Leave: open doors. A channel whose block
is the same stays the very same object: its socket, associations and requests never hear of the change. New
ones are open before anything else changes, and closed again when the change is not made; those that are gone
take nothing more and are left once what they have has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from engine.bearer import NoTokens
from engine.channel import (
    ClientRegister,
    Inbound,
    InboundContext,
    InboundType,
    InFlight,
    Intake,
    Measures,
    Mounted,
    OperationsDesk,
    Retires,
    SiteDirectory,
    TokenVerifier,
)
from engine.errors import ConfigurationError
from engine.listening_sockets import ListeningSockets
from engine.people_desk import PeopleDesk
from engine.result_shelf import EmptyShelf, ResultShelf
from engine.table import Declared
from engine.workers.assignment import Premises
from engine.workers.crew import Crew

logger = logging.getLogger("pons.ways_in")


@dataclass(eq=False, slots=True)
class Way:
    """One inbound channel: its block of the table, the object, and what holds it open."""

    declared: Declared[InboundType]
    channel: Inbound | Mounted
    routes: list[BaseRoute]
    close: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Task[None] | None = None  # while it listens

    def is_of(self, declared: Declared[InboundType]) -> bool:
        """Whether a block says the same as the one that this was built from."""
        return self.declared.type is declared.type and self.declared.settings == declared.settings

    @property
    def listen(self) -> Any:
        """Where it listens, if its settings say so."""
        return getattr(self.declared.settings, "listen", None)


class WaysIn:
    """Opens, exchanges and closes them; lives on the event loop."""

    def __init__(
        self,
        intake: Intake,
        sites: SiteDirectory,
        max_instance: int,
        in_flight: InFlight | None = None,
        tokens: TokenVerifier | None = None,
        premises: Premises | None = None,
        results: ResultShelf | None = None,
        data: Path | None = None,
        clients: ClientRegister | None = None,
        public_url: str | None = None,
        operations: OperationsDesk | None = None,
        people: PeopleDesk | None = None,
    ) -> None:
        """
        Args:
            clients: who manages clients of the API.
            public_url: where the one HTTP server is reached from outside.
            data: the data folder, where channels keep files; the current one when absent.
            operations: where those ask who look after the engine.
            people: where people sign in.
            premises: where worker processes work, if there are any.
        """
        self._intake = intake
        self._sites = sites
        self._max_instance = max_instance
        self._in_flight = in_flight or InFlight()
        self._tokens = tokens or NoTokens()
        self._results = results or EmptyShelf()
        self._premises = premises
        self._operations = operations
        self._data = data or Path()
        self._clients = clients
        self._public_url = public_url
        self._people = people
        self._sockets = ListeningSockets()
        self._ways: Mapping[str, Way] = {}
        self._leaving: dict[asyncio.Task[None], Way] = {}

    def build(self, inbound: Mapping[str, Declared[InboundType]]) -> dict[str, Way]:
        """What a table's ways in will be; opens nothing, and raises whatever a channel raises."""
        return {name: self._kept(declared) or self._built(declared) for name, declared in inbound.items()}

    def _kept(self, declared: Declared[InboundType]) -> Way | None:
        way = self._ways.get(declared.name)
        return way if way is not None and way.is_of(declared) else None

    def _built(self, declared: Declared[InboundType]) -> Way:
        lent = InboundContext(
            declared.name,
            self._sites,
            self._max_instance,
            self._sockets.bind,
            in_flight=self._in_flight,
            tokens=self._tokens,
            data=self._data,
            results=self._results,
            operations=self._operations,
            clients=self._clients,
            public_url=self._public_url,
            people=self._people,
        )
        if declared.type.processes and self._premises is not None:
            return Way(declared, Crew(declared.type, declared.settings, lent, self._premises), [])
        channel = declared.type.build(declared.settings, lent)
        routes = list(channel.routes(self._intake)) if isinstance(channel, Mounted) else []
        return Way(declared, channel, routes)

    @contextlib.asynccontextmanager
    async def opening(self, wanted: Mapping[str, Way]) -> AsyncIterator[None]:
        """Entered: the new ones are open beside those there were. Left: these are the ways in.

        When it is left by an exception nothing has changed. Raises ConfigurationError when an address
        cannot be bound, naming the channel.
        """
        held_by = {way.listen for way in self._ways.values()}
        opened: list[Way] = []
        new = [way for way in wanted.values() if way.held is None and isinstance(way.channel, Inbound)]
        try:
            # Last those that take a socket over: that hardly fails, and what they accept is not cut off.
            for way in sorted(new, key=lambda way: way.listen in held_by):
                await _open(way, self._intake)
                opened.append(way)
            yield
        except BaseException:
            await _closed(opened)
            raise
        self._take(wanted)

    def measured(self) -> dict[str, float]:
        """Samples for `/metrics`: bytes in flight, and what each channel counts; a retiring one counts in."""
        samples = Counter(self._in_flight.measured())
        for way in (*self._ways.values(), *self._leaving.values()):
            if isinstance(way.channel, Measures):
                samples.update(way.channel.measured())
        return dict(samples)

    def _take(self, wanted: Mapping[str, Way]) -> None:
        gone = [way for name, way in self._ways.items() if wanted.get(name) is not way]
        self._ways = dict(wanted)
        for way in gone:
            if way.held is not None:
                task = asyncio.create_task(_retired(way))
                self._leaving[task] = way
                task.add_done_callback(self._has_left)

    def _has_left(self, task: asyncio.Task[None]) -> None:
        way = self._leaving.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a channel broke as it was closed", exc_info=error)
        elif not task.cancelled():
            logger.info("a retired channel has ended", extra={"pons": {"inbound": way.declared.name}})

    @contextlib.asynccontextmanager
    async def opened(self, wanted: Mapping[str, Way]) -> AsyncIterator[None]:
        """These are open while entered, and what they are exchanged for; left, all are quiet.

        Cancelled while it is left, each cuts off what it was waiting for.
        """
        async with self.opening(wanted):
            pass
        try:
            yield
        finally:
            ways = [*self._ways.values(), *self._leaving.values()]
            for task in self._leaving:
                task.cancel()
            await _closed(ways)


async def _open(way: Way, intake: Intake) -> None:
    """Held open by a task of its own from now on; raises what the channel raises when it is entered."""
    entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    way.held = asyncio.create_task(_hold(way, intake, entered))
    try:
        await asyncio.shield(entered)
    except OSError as error:
        raise ConfigurationError(
            f"inbound.{way.declared.name}: cannot listen: {error.strerror or error}"
        ) from None
    except asyncio.CancelledError:
        await _closed([way])
        raise


async def _hold(way: Way, intake: Intake, entered: asyncio.Future[None]) -> None:
    assert isinstance(way.channel, Inbound)
    try:
        async with way.channel.listening(intake):
            entered.set_result(None)
            await way.close.wait()
    except BaseException as error:
        if entered.done():
            raise
        entered.set_exception(error)


async def _retired(way: Way) -> None:
    """Serve what is open to its end, then leave."""
    if isinstance(way.channel, Retires):
        await way.channel.retire()
    way.close.set()
    assert way.held is not None
    await asyncio.shield(way.held)


async def _closed(ways: list[Way]) -> None:
    """Close all at once; cancelled, they are cut off."""
    held = [way.held for way in ways if way.held is not None]
    for way in ways:
        way.close.set()
    closing = asyncio.gather(*held, return_exceptions=True)
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        for task in held:
            task.cancel()
        await closing
        raise
