"""The stages that a study passes in a running engine, and the exchange of the table that they work by.

Enter: the ground that stays (database, clock, spool, folder) and a table. Leave: intake, assembly, decider,
processing, dispatch and retention, each waking the next; `exchanging` gives all of them another table
between two steps of the event loop, so that no decision is ever by two. What is under way ends as it began.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute, Route

from engine.artefact_links import ArtefactDoor, ArtefactLinks, signing_key
from engine.assembly import Assembly, Quiet
from engine.catalog import installed_batch_exports, installed_exports
from engine.channel import Links, TokenVerifier, no_links
from engine.clock import Clock
from engine.decide import Decider
from engine.directory import Directory
from engine.dispatch import Dispatch
from engine.enrolment import EnrolmentDoor
from engine.fitting import Fitter, Fitting
from engine.in_flight import InFlight
from engine.intake import DurableIntake
from engine.oauth.key_store import key_store
from engine.oauth.managed_clients import ManagedClients
from engine.oauth.server import AuthorizationServer
from engine.oauth.verifier import Verifier
from engine.oauth_section import issuer_of
from engine.operations.desk import Operations
from engine.people.desk import Desk
from engine.people.key import people_key
from engine.people.office import Office, is_readable
from engine.people_desk import PeopleDesk
from engine.processing import Processing
from engine.proposal import Place
from engine.result_files import ResultFiles
from engine.retention import Retention
from engine.sections import EngineSettings
from engine.spool import Spool
from engine.store.database import Database
from engine.table import Table
from engine.ways_in import WaysIn
from engine.workers.assignment import Premises

logger = logging.getLogger("pons.stages")


@dataclass(frozen=True, slots=True)
class Ground:
    """What an engine stands on, whatever its table."""

    database: Database
    clock: Clock
    spool: Spool
    data: Path
    node: str
    settings: EngineSettings
    available: Callable[[], bool]  # whether the database answers; from any thread
    file: Path  # the table that the engine was given
    troubles: Callable[[], Sequence[str]]  # what keeps it from taking studies, in words


class Stages:
    """Built at the start, from the table that the engine starts with."""

    def __init__(
        self, ground: Ground, table: Table, retention: Retention, on_taken: Callable[[], None]
    ) -> None:
        """
        Args:
            on_taken: called when another table has been taken, before anything else happens.
        """
        database, clock, data = ground.database, ground.clock, ground.data
        node, lease = ground.node, ground.settings.lease
        self._on_taken = on_taken
        self.retention = retention
        self.directory = Directory(table.sites)
        self.intake = DurableIntake(
            ground.spool,
            database,
            clock,
            keywords=table.recorded(),
            keep_versions=_keeps_versions(table),
            available=ground.available,
            node=node,
            lease=lease,
            replace_within=table.orders.replace_within,
        )
        links, self._doors = _artefact_links(ground)
        tokens, token_routes = _oauth(ground, table, self.intake, self.directory)
        self._doors += token_routes
        in_flight = InFlight(ground.settings.max_bytes_in_flight)
        max_instance, premises = ground.settings.max_instance, _premises(ground)
        shelf = ResultFiles(database, clock, data, installed_exports(), installed_batch_exports())
        self._shelf = shelf
        operations = Operations(
            database,
            clock,
            data,
            lambda: self.table,
            Place(ground.file, table.base, table.engine),
            ground.troubles,
        )
        self.ways = WaysIn(
            self.intake,
            self.directory,
            max_instance,
            in_flight,
            tokens,
            premises,
            shelf,
            data,
            clients=ManagedClients(database, clock, self.directory.knows),
            public_url=ground.settings.public_url,
            people=_people(ground, table, self.intake, self.directory),
            operations=operations,
        )
        self._fitter = Fitter(self.ways, data, links)
        self.fitting = self._fitter.build(table)
        self._keep(self.fitting)
        self.decider = Decider(database, ground.spool, clock, table, on_decided=self._decided)
        self.processing = Processing(
            database,
            clock,
            table,
            self.decider,
            self.fitting.processors,
            data=data,
            node=node,
            on_result=lambda: self.dispatch.wake(),
            lease=lease,
        )
        self.dispatch = Dispatch(
            database, clock, self.decider, self.fitting.destinations, data=data, node=node, lease=lease
        )
        self.assembly = Assembly(
            database, self.intake.sessions, clock, _quiet(table), on_closed=self.decider.wake
        )
        self._enrolment: EnrolmentDoor | None = None
        if table.tunnel is not None:
            self._enrolment = EnrolmentDoor(table, database, clock, self.intake.strangers)
            self._doors.append(self._enrolment.route())

    @property
    def table(self) -> Table:
        """The one that everything begun now is by."""
        return self.fitting.table

    def routes(self) -> list[BaseRoute]:
        """What the web serves for the present table."""
        return [*self.fitting.routes(), *self._doors]

    @contextlib.asynccontextmanager
    async def exchanging(self, table: Table) -> AsyncIterator[None]:
        """Entered: another table is built and its ways in are open. Left: it is taken, as a whole.

        Left by an exception nothing has changed. Raises whatever keeps the table from being taken.
        """
        async with self._fitter.exchanging(self.fitting, table, self._take):
            yield

    def _take(self, fitting: Fitting) -> None:
        table, self.fitting = fitting.table, fitting
        self.directory.take(table.sites)
        self.intake.orders.take(table.orders.replace_within)
        self._keep(fitting)
        self.intake.take(table.recorded(), keep_versions=_keeps_versions(table))
        self.assembly.take(_quiet(table))
        self.processing.take(table, fitting.processors)
        self.dispatch.take(fitting.destinations)
        self.decider.take(table)
        self.retention.take(table.retention)
        if self._enrolment is not None:
            self._enrolment.take(table)
        self._on_taken()

    def _keep(self, fitting: Fitting) -> None:
        kept = fitting.kept()
        self.intake.orders.keep(kept)
        self._shelf.keep(kept)

    def _decided(self) -> None:
        self.processing.wake()
        self.dispatch.wake()


def _keeps_versions(table: Table) -> bool:
    return table.assembly.on_conflict == "version"


def _quiet(table: Table) -> Quiet:
    return Quiet(table.assembly.stable_after, table.assembly.force_after, table.assembly.on_late)


def _artefact_links(ground: Ground) -> tuple[Links, list[BaseRoute]]:
    """What makes links for channels, and what opens them; neither without a public address."""
    if ground.settings.public_url is None:
        return no_links, []
    key, exports = signing_key(ground.data), installed_exports()
    door = ArtefactDoor(ground.database, ground.clock, ground.data, key, exports)
    return ArtefactLinks(ground.settings.public_url, key, exports).links, [door.route()]


def _premises(ground: Ground) -> Premises | None:
    """Where worker processes work; None where the engine's own process does it all."""
    settings = ground.settings
    if settings.workers == 1:
        return None
    return Premises(settings.workers, ground.data, settings.max_instance, settings.min_free)


def _oauth(
    ground: Ground, table: Table, intake: DurableIntake, directory: Directory
) -> tuple[TokenVerifier, list[Route]]:
    """Who checks access tokens, and where they are given out."""
    settings, database, clock = table.oauth, ground.database, ground.clock
    issuer = issuer_of(settings, ground.settings.public_url, ground.settings.http)
    keys = key_store(settings, ground.data, clock.now())
    keys.ring()  # what cannot be used keeps the engine from starting, and not a client from its token
    server = AuthorizationServer(
        issuer, settings.token_life, keys, database, clock, intake.strangers, directory.knows
    )
    return Verifier(issuer, keys, database, clock, directory.knows), server.routes()


def _people(ground: Ground, table: Table, intake: DurableIntake, directory: Directory) -> PeopleDesk:
    """Where people sign in and are managed."""
    key = people_key(table.people, ground.data)  # one that cannot be used keeps the engine from starting
    if not ground.database.read_now(lambda c: is_readable(c, key)):  # studies do not wait for it
        logger.error("second factors were enciphered with another key; bring that one back (docs/people.md)")
    office = Office(table.people, ground.database, ground.clock, key, intake.strangers, directory.knows)
    return Desk(office)
