"""Receive studies by SFTP: files, folders and ZIP archives put into `/input` of a site's own root.

Enter: connections of the table's users, each of one site (SSH: RFC 4251 to 4254, SFTP version 3 as OpenSSH
has it). Leave: the instances of each complete upload, as one study in the engine's intake. Who may come in is
told in sftp_gate.py, what a session does in sftp_session.py, when an upload is complete in sftp_uploads.py,
and what becomes of it in sftp_taking.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncssh
from pydantic import Field

from channels.inbound.places import Places
from channels.inbound.sftp_gate import Gate, House
from channels.inbound.sftp_keys import SIGNATURES, host_key
from channels.inbound.sftp_landing import Lander
from channels.inbound.sftp_root import Root
from channels.inbound.sftp_session import Desk
from channels.inbound.sftp_status import Status, Told
from channels.inbound.sftp_taking import Pace, Taker
from channels.inbound.sftp_uploads import Uploads
from channels.inbound.sftp_users import Guest, SftpUser, cut, revoked_keys, user_of
from channels.transport.sftp_layout import site_folder
from channels.transport.ssh_algorithms import ALGORITHMS
from engine.channel import (
    Duration,
    HostPort,
    InboundContext,
    InboundType,
    Intake,
    PackageLimits,
    Secret,
    Settings,
    Size,
)
from engine.errors import ConfigurationError

logger = logging.getLogger("pons.sftp")

THREADS = 8  # that read and write files for all sessions

_newest: dict[tuple[Path, str], Sftp] = {}
"""Which channel of a name listens since the last table: who is open at the one before is measured by it."""


class SftpSettings(Settings):
    """`type: sftp`"""

    listen: HostPort = "127.0.0.1:2022"
    """Address and port to listen on; keep it on the tunnel's address or on loopback."""
    users: dict[str, SftpUser] = Field(
        default_factory=dict,
        examples=[{"stm": {"site": "st-marys", "authorized_keys": {"file": "keys/stm.pub"}}}],
    )
    """Who may come in, by user name; there are no passwords."""
    revoked_keys: Secret | None = Field(None, examples=[{"file": "keys/revoked"}])
    """A file of public keys, one a line, that let nobody in any more, of users or of authorities; read anew
    at every login, and connections by one of them are cut."""
    host_key: Secret | None = Field(None, examples=[{"file": "secrets/sftp-host-key"}])
    """Our OpenSSH private key; one is made in the data folder, and kept, when absent."""
    quiet: Duration = 5.0
    """How long nothing of an upload may change until it counts as complete."""
    resume_within: Duration = 3600.0
    """How long an upload whose connection was cut waits to be finished before it is refused."""
    keep: Duration = 86400.0
    """How long uploads stay in `.done` and `.failed`."""
    status: Literal["uploads", "site", "none"] = "uploads"
    """Whose orders `/status` and `/output/groups` tell of: those of `uploads`, all of the `site`, `none`."""
    group_formats: tuple[str, ...] = Field(("csv", "pdf"), examples=[["csv"]])
    """File formats of the report of a group, written to `/output/groups` once all its orders are through."""
    keep_output: Duration = 30 * 86400.0
    """How long reports stay in `/output`."""
    keep_status: Duration = 30 * 86400.0
    """How long the status of an order that is through stays in `/status`."""
    max_waiting: Size = 64 << 30
    """Most bytes of one site in `/input` that are not taken in yet."""
    max_files: int = Field(100_000, ge=1, le=10_000_000)
    """Most files and folders of one site in `/input` that are not taken in yet."""
    package: PackageLimits = PackageLimits()
    """Limits of one upload."""
    max_connections: int = Field(64, ge=1, le=1000)
    """Connections served at once; one more is closed."""
    max_connections_per_site: int | None = Field(None, ge=1, le=1000, examples=[16])
    """Connections of one site; three quarters of `max_connections` when absent, so that none has all."""
    max_connections_per_address: int = Field(24, ge=1, le=1000)
    """Connections from one address, also of those that have not shown a key yet."""
    max_sessions: int = Field(10, ge=1, le=100)
    """SFTP sessions in one connection."""
    max_handles: int = Field(64, ge=1, le=1000)
    """Files open at once in one session."""
    login_timeout: Duration = 30.0
    """How long a connection may take to show a key."""
    network_timeout: Duration = 120.0
    """How long a client may not answer before its connection is cut."""
    grace: Duration = 5.0
    """At shutdown, how long connections may take to end."""


class Sftp:
    """The listening channel; `address` is what it is bound to while it listens."""

    def __init__(self, settings: SftpSettings, context: InboundContext) -> None:
        self.address: tuple[str, int] | None = None
        self._settings = settings
        self._context = context
        self._users = {name: user_of(name, user, context) for name, user in settings.users.items()}
        self._places = Places(settings.max_connections, settings.max_connections_per_site)
        self._counts: Counter[str] = Counter()
        self._connections: dict[asyncssh.SSHServerConnection, str] = {}
        self._guests: dict[asyncssh.SSHServerConnection, Guest] = {}
        self._roots: dict[str, Root] = {}
        self._acceptor: asyncssh.SSHAcceptor | None = None
        revoked_keys(settings.revoked_keys)
        if settings.host_key is not None:
            host_key(settings.host_key, Path())

    @asynccontextmanager
    async def listening(self, intake: Intake) -> AsyncIterator[None]:
        """Entered: bound and serving. Left: every session has ended, nothing is taken any more."""
        settings, name = self._settings, self._context.name
        asyncssh.set_log_level(logging.WARNING)  # below that it tells of users, and of names of files
        threads = ThreadPoolExecutor(THREADS, "pons-sftp")
        takers: list[asyncio.Task[None]] = []
        try:
            folder = self._context.data / "sftp" / name
            key = await asyncio.to_thread(host_key, settings.host_key, folder)
            desks = await asyncio.to_thread(self._desks, intake, threads)
            house = House(
                self._context,
                intake,
                self._users,
                desks.__getitem__,
                self._places,
                settings.max_connections,
                settings.max_connections_per_address,
                settings.max_sessions,
                settings.max_handles,
                self._connections,
                self._guests,
                lambda: revoked_keys(settings.revoked_keys),
                self._counts,
            )
            self._acceptor = await self._bound(house, key)
            self.address = self._acceptor.get_addresses()[0][:2]
            _newest[self._identity] = self
            if settings.revoked_keys is not None:
                takers.append(asyncio.create_task(self._watch_revoked()))
            places = asyncio.Semaphore(THREADS // 2)
            status = self._status(intake, threads)
            takers.append(asyncio.create_task(status.run()))
            for site, desk in desks.items():
                lander = Lander(self._context, intake, site, settings.package, threads, status.uploaded)
                taker = self._taker(site, desk, lander, threads, places)
                takers.append(asyncio.create_task(taker.run()))
            logger.info("listening", extra={"pons": {"inbound": name, "listen": settings.listen}})
            yield
        finally:
            if _newest.get(self._identity) is self:
                del _newest[self._identity]
            await self._end(takers)
            await asyncio.to_thread(threads.shutdown)
            self.address = self._acceptor = None

    def _desks(self, intake: Intake, threads: ThreadPoolExecutor) -> dict[str, Desk]:
        settings = self._settings

        def check_disk() -> None:
            intake.land().discard()

        for site in sorted({user.site for user in self._users.values()}):
            here = site_folder(self._context.data, self._context.name, site)
            self._roots[site] = Root(here, settings.max_waiting, settings.max_files)
        return {
            site: Desk(root, Uploads(root, settings.quiet, settings.resume_within), threads, check_disk)
            for site, root in self._roots.items()
        }

    async def _bound(self, house: House, key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        settings = self._settings
        host, _, port = settings.listen.rpartition(":")
        try:
            socket = self._context.bind(host.strip("[]"), int(port))
        except OSError as error:
            raise ConfigurationError(
                f"inbound.{self._context.name}.listen: {settings.listen} cannot be bound: {error.strerror}"
            ) from None
        return await asyncssh.listen(
            sock=socket,
            server_factory=lambda: Gate(house),
            server_host_keys=[key],
            server_version="Pons",
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_auth=False,
            gss_kex=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_scp=False,
            signature_algs=list(SIGNATURES),
            login_timeout=settings.login_timeout,
            keepalive_interval=settings.network_timeout / 4,
            keepalive_count_max=4,
            encoding=None,
            **ALGORITHMS,
        )

    @property
    def _identity(self) -> tuple[Path, str]:
        return self._context.data, self._context.name

    async def _watch_revoked(self) -> None:
        while True:
            await asyncio.sleep(self._look)
            try:
                revoked = await asyncio.to_thread(revoked_keys, self._settings.revoked_keys)
            except ConfigurationError as error:  # nobody comes in meanwhile; who is here stays
                facts = {"inbound": self._context.name, "reason": str(error)}
                logger.error("revoked keys cannot be read", extra={"pons": facts})
                await asyncio.sleep(10)
                continue
            staying = [guest for guest in self._guests.values() if not guest.shown & revoked]
            self._cut(staying, "this key is revoked")

    def _cut(self, staying: Collection[Guest], why: str) -> None:
        ended = cut(list(self._guests.items()), staying, why)
        if ended:
            facts = {"inbound": self._context.name, "connections": ended, "reason": why}
            logger.warning("connections cut", extra={"pons": facts})

    @property
    def _look(self) -> float:
        """Seconds between two looks at what has changed."""
        return min(1.0, max(0.05, self._settings.quiet / 5))

    def _status(self, intake: Intake, threads: ThreadPoolExecutor) -> Status:
        settings, context = self._settings, self._context
        told = Told(settings.status, settings.group_formats, settings.keep_status, settings.keep_output)
        folders = {site: site_folder(context.data, context.name, site) for site in self._roots}
        return Status(context, intake.orders, folders, told, self._look, threads)

    def _taker(
        self, site: str, desk: Desk, lander: Lander, threads: ThreadPoolExecutor, places: asyncio.Semaphore
    ) -> Taker:
        return Taker(
            self._context,
            site,
            desk.root,
            desk.uploads,
            lander,
            Pace(self._look, self._settings.keep),
            threads,
            places,
            self._counts,
        )

    async def _end(self, takers: list[asyncio.Task[None]]) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        ending = [*self._connections]
        for connection in ending:
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the engine is shutting down")
        waiting = [asyncio.create_task(connection.wait_closed()) for connection in ending]
        for task in takers:
            task.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
        if waiting:
            _, slow = await asyncio.wait(waiting, timeout=self._settings.grace)
            for connection in ending if slow else ():
                connection.abort()
            await asyncio.gather(*waiting, return_exceptions=True)

    def measured(self) -> Mapping[str, float]:
        """Connections by site, what waits, what was taken and refused."""
        named = f'inbound="{self._context.name}"'
        samples = self._places.measured("pons_sftp_connections", named)
        for what in ("accepted", "too_many", "taken", "refused"):
            kind = "uploads" if what in ("taken", "refused") else "connections"
            samples[f"pons_sftp_{kind}_{what}_total{{{named}}}"] = float(self._counts[what])
        for site, root in self._roots.items():
            labels = f'{named},site="{site}"'
            samples[f"pons_sftp_waiting_bytes{{{labels}}}"] = float(root.waiting.size)
            samples[f"pons_sftp_waiting_files{{{labels}}}"] = float(root.waiting.files)
        return samples

    async def retire(self) -> None:
        """Accept no connection more; returns when every one that is open has ended.

        Those whose user or key the table that took this one's place has no longer are cut at once.
        """
        if self._acceptor is not None:
            self._acceptor.close()
        after = _newest.get(self._identity)
        if after is not None and after is not self:
            users = after._users
            staying = [guest for guest in self._guests.values() if guest.is_of(users.get(guest.user))]
            self._cut(staying, "this user or key is in the table no longer")
        while self._connections:
            await asyncio.gather(*(one.wait_closed() for one in [*self._connections]), return_exceptions=True)


def _build(settings: SftpSettings, context: InboundContext) -> Sftp:
    return Sftp(settings, context)


CHANNEL = InboundType("sftp", SftpSettings, _build)
