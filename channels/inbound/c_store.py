"""Receive instances by C-STORE, answer C-ECHO, commit to what was stored (PS3.4 B, A and J; PS3.7 9.1).

Enter: associations of the table's sites. Leave: each data set byte-exact as received, behind a
file meta header of its own, in the engine's intake; success only after the intake has it durable.
Storage commitment is told in commitment.py and commitment_reports.py.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

from pydantic import Field
from pydicom.uid import UID

from channels.inbound.commitment import Commitment
from channels.inbound.commitment_reports import CommitmentReports, CommitmentSettings
from channels.inbound.places import Places
from channels.transport.commitment_data_set import PUSH_MODEL
from channels.transport.dimse_acceptor import Acceptor
from channels.transport.dimse_command import Command
from channels.transport.dimse_negotiation import Context, Rejection
from channels.transport.dimse_pdu import AssociationLost
from channels.transport.dimse_scp import Association, Limits, Status
from channels.transport.file_meta import encode_file_meta
from engine.channel import (
    AETitle,
    Duration,
    HostPort,
    InboundContext,
    InboundType,
    Intake,
    Landing,
    Place,
    Settings,
    Size,
    Tls,
    UnknownPeer,
)
from engine.errors import Busy, ConfigurationError, Rejected, RejectedReason
from engine.model import Arrival, Receipt

logger = logging.getLogger("pons.c_store")

# PS3.4 table B.2-1; C000 where trying again would not help
STATUS = {
    RejectedReason.NOT_DICOM: 0xC000,
    RejectedReason.TRUNCATED: 0xC000,
    RejectedReason.TOO_LARGE: 0xC000,
    RejectedReason.INVALID_UID: 0xA900,
    RejectedReason.SOP_MISMATCH: 0xA900,
    RejectedReason.STUDY_MISMATCH: 0xA900,
    RejectedReason.CONFLICT: 0x0111,
}
OUT_OF_RESOURCES = 0xA700
PROCESSING_FAILURE = 0x0110

T = TypeVar("T")


class CStoreSettings(Settings):
    """`type: c_store`"""

    listen: HostPort = "127.0.0.1:11112"
    """Address and port to listen on; keep it on the tunnel's address or on loopback."""
    ae_title: AETitle = "PONS"
    """Our AE title; an association that calls another is rejected."""
    tls: Tls | None = None
    """TLS for every association: `certificate` and `key` are ours, with `ca` the peer must show one."""
    max_pdu: int = Field(131072, ge=4096, le=1048576)
    """Largest PDU we announce, in bytes; each association holds one in memory."""
    max_associations: int = Field(64, ge=1, le=1000)
    """Associations served at once; one more is rejected as transient."""
    max_associations_per_site: int | None = Field(None, ge=1, le=1000, examples=[16])
    """Associations of one site; three quarters of `max_associations` when absent, so that none has all."""
    acse_timeout: Duration = 30.0
    """How long a connection may take to ask for its association."""
    network_timeout: Duration = 300.0
    """How long an association may be silent between two messages."""
    dimse_timeout: Duration = 60.0
    """How long each PDU inside a message may take."""
    min_rate: Size = 1024
    """Bytes per second that a message must keep up over each `dimse_timeout`, or it is aborted; 0: any."""
    grace: Duration = 10.0
    """At shutdown, how long a C-STORE under way may take to finish."""
    commitment: CommitmentSettings = CommitmentSettings()
    """Storage commitment: how senders hear that what they sent is safe."""


class CStore:
    """The listening channel; `address` is what it is bound to while it listens."""

    def __init__(self, settings: CStoreSettings, context: InboundContext) -> None:
        self.address: tuple[str, int] | None = None
        self._retire: Callable[[], Awaitable[None]] | None = None
        self._acceptor: Acceptor | None = None
        self._settings = settings
        self._context = context
        self._places = Places(
            settings.max_associations, settings.max_associations_per_site, processes=context.processes
        )

    @asynccontextmanager
    async def listening(self, intake: Intake) -> AsyncIterator[None]:
        """Entered: bound and serving. Left: every association has ended."""
        settings = self._settings
        host, _, port = settings.listen.rpartition(":")
        reports = CommitmentReports(self._context.name, settings.commitment, intake.commitments)
        reception = _Reception(settings.ae_title, self._context, intake, reports, self._places)
        limits = Limits(
            max_pdu=settings.max_pdu,
            max_associations=self._places.total,
            acse_timeout=settings.acse_timeout,
            network_timeout=settings.network_timeout,
            dimse_timeout=settings.dimse_timeout,
            max_drain=self._context.max_instance_bytes,
            min_rate=settings.min_rate,
        )
        tls = settings.tls.server_context() if settings.tls else None
        bind = partial(self._context.bind, host.strip("[]"), int(port))
        acceptor = self._acceptor = Acceptor(bind, reception, limits, tls)
        try:
            self.address = acceptor.start()
        except OSError as error:
            raise ConfigurationError(
                f"inbound.{self._context.name}.listen: {settings.listen} cannot be bound: {error.strerror}"
            ) from None
        logger.info("listening", extra={"pons": {"inbound": self._context.name, "listen": settings.listen}})
        async with reports.running():
            self._retire = partial(_retired, acceptor, reports)
            try:
                yield
            finally:
                stopping = asyncio.create_task(asyncio.to_thread(acceptor.stop, settings.grace))
                try:
                    await asyncio.wait({stopping}, timeout=settings.grace + 1)
                finally:  # also when it is cancelled: the engine is told to hurry
                    acceptor.cut()
                    reception.give_up()
                    await stopping
                    self.address = self._retire = None

    def measured(self) -> dict[str, float]:
        """Associations by site, and what was kept within its limits."""
        named = f'inbound="{self._context.name}"'
        samples = self._places.measured("pons_associations", named)
        if self._acceptor is not None:
            samples[f"pons_connections_without_association{{{named}}}"] = float(self._acceptor.waiting)
            samples[f"pons_connections_closed_total{{{named}}}"] = float(self._acceptor.closed)
            samples[f"pons_messages_too_slow_total{{{named}}}"] = float(self._acceptor.too_slow)
        return samples

    async def retire(self) -> None:
        """Accept no association more; returns when every one that is open has ended."""
        if self._retire is not None:
            await self._retire()


async def _retired(acceptor: Acceptor, reports: CommitmentReports) -> None:
    empty = asyncio.Event()
    wake = partial(asyncio.get_running_loop().call_soon_threadsafe, empty.set)
    await asyncio.to_thread(acceptor.rest, wake)
    reports.rest()
    await empty.wait()


class _Reception:
    """What the associations of one listener are served with; called from their threads."""

    normalized = frozenset({PUSH_MODEL})

    def __init__(
        self,
        ae_title: str,
        context: InboundContext,
        intake: Intake,
        reports: CommitmentReports,
        places: Places,
    ) -> None:
        self._ae_title = ae_title
        self._places = places
        self._context = context
        self._intake = intake
        self._commitment = Commitment(context.name, intake.commitments, reports, self._run)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._sessions: dict[Association, tuple[str, str]] = {}  # site and session
        self._waiting: set[Future[Any]] = set()

    def admit(self, association: Association) -> Rejection | None:
        """Address first: who is no site learns nothing about AE titles."""
        try:
            site = self._context.sites.identify(association.remote_address, association.calling_ae_title)
        except UnknownPeer as error:
            if error.what == "address":
                return self._refuse(Rejection.NO_REASON, association, error.what)
            if association.called_ae_title == self._ae_title:
                return self._refuse(Rejection.CALLING_AE_TITLE, association, error.what)
            return self._refuse(Rejection.CALLED_AE_TITLE, association, "called_ae_title")
        if association.called_ae_title != self._ae_title:
            return self._refuse(Rejection.CALLED_AE_TITLE, association, "called_ae_title")
        full = self._places.take(site.key)
        if full is not None:
            facts = {"inbound": self._context.name, "site": site.key, "reason": full}
            logger.warning("too many associations", extra={"pons": facts})
            return Rejection.LOCAL_LIMIT
        session = f"{self._context.name}-{uuid.uuid4().hex}"
        with self._lock:
            self._sessions[association] = site.key, session
        return None

    def _refuse(self, rejection: Rejection, association: Association, what: str) -> Rejection:
        logger.warning(
            "unknown peer",
            extra={
                "pons": {
                    "inbound": self._context.name,
                    "unknown": what,
                    "remote_address": association.remote_address,
                    "calling_ae_title": association.calling_ae_title,
                    "called_ae_title": association.called_ae_title,
                }
            },
        )
        self._intake.turned_away(
            self._context.name,
            what,
            association.remote_address,
            association.calling_ae_title,
            association.called_ae_title,
        )
        return rejection

    def is_served(self, abstract_syntax: str) -> bool:
        """Storage SOP classes: the Standard's, those it will add, and private ones."""
        return is_storage(abstract_syntax)

    def store(
        self, association: Association, context: Context, command: Command, fragments: Iterator[memoryview]
    ) -> Status:
        """Land one instance and have it accepted."""
        landing: Landing | None = None
        place: Place | None = None
        try:
            place = self._context.in_flight.take(self._sessions[association][0])
            landing = place.holds(self._intake.land())
            landing.write(
                encode_file_meta(
                    sop_class_uid=command.sop_class_uid,
                    sop_instance_uid=command.sop_instance_uid,
                    transfer_syntax_uid=context.transfer_syntax_uid,
                    calling_ae_title=association.calling_ae_title,
                    called_ae_title=association.called_ae_title,
                )
            )
            for fragment in fragments:
                landing.write(fragment)
            self._accept(association, command, landing)
        except Rejected as error:
            return Status(STATUS[error.reason], str(error))
        except Busy as error:
            return Status(OUT_OF_RESOURCES, str(error))
        except CancelledError:
            return Status(OUT_OF_RESOURCES, "the engine is shutting down")
        except AssociationLost:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            facts = {"inbound": self._context.name, "error": type(error).__name__}
            logger.error(
                "defect: instance not stored",
                extra={"pons": {**facts, "where": f"{where.filename}:{where.lineno}"}},
            )
            return Status(PROCESSING_FAILURE, "internal error, see the engine's log")
        finally:
            if landing is not None:
                landing.discard()
            if place is not None:
                place.leave()
        return Status(0x0000)

    def _accept(self, association: Association, command: Command, landing: Landing) -> Receipt:
        site, session = self._sessions[association]
        arrival = Arrival(
            site=site,
            inbound=self._context.name,
            session=session,
            landing=landing,
            remote_address=association.remote_address,
            calling_ae_title=association.calling_ae_title,
            called_ae_title=association.called_ae_title,
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
        )
        return self._intake.accept_now(arrival, self._wait)

    def perform(
        self, association: Association, context_id: int, context: Context, command: Command, data: bytes
    ) -> Status:
        """Storage commitment asked of us, or reported to us."""
        site, _ = self._sessions[association]
        return self._commitment.perform(association, site, context_id, context, command, data)

    def _run(self, work: Coroutine[Any, Any, T], /) -> T:
        """Wait for the engine's loop; CancelledError once it has been given up."""
        return self._wait(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _wait(self, future: Future[T], /) -> T:
        with self._lock:
            self._waiting.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._waiting.discard(future)

    def give_up(self) -> None:
        """Stop waiting for the engine: the grace of a shutdown is over."""
        with self._lock:
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()

    def ended(self, association: Association) -> None:
        """The association is over: its studies may become stable."""
        with self._lock:
            site, session = self._sessions.pop(association)
        self._places.leave(site)
        self._intake.leave(session)


@lru_cache(maxsize=1024)
def is_storage(abstract_syntax: str) -> bool:
    """Whether a SOP class is one of storage.

    Under the Standard's own root that is what PS3.6 names so, and what it does not know yet in
    the arc of storage SOP classes; outside of it, private SOP classes of whatever vendor.
    """
    if not abstract_syntax.startswith("1.2.840.10008."):
        return bool(abstract_syntax)
    uid = UID(abstract_syntax)
    name, kind = uid.name, uid.type
    if name == abstract_syntax:  # PS3.6 as we have it does not know it
        return abstract_syntax.startswith("1.2.840.10008.5.1.4.1.1.")
    if kind != "SOP Class" or "Storage Commitment" in name or name == "Media Storage Directory Storage":
        return False
    return "Storage" in name and not any(word in name for word in (" FIND", " MOVE", " GET"))


def _build(settings: CStoreSettings, context: InboundContext) -> CStore:
    return CStore(settings, context)


CHANNEL = InboundType("c_store", CStoreSettings, _build, processes=True)
