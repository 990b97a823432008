"""Who may come in by SFTP: a connection's address and public key in, its site or a refusal out (RFC 4252 7).

The key says which user it is, the address which site: both must be of the same one. A user whose site has no
tunnel may be let in from an address of no site, where the table says `any_address`. Nobody gets a shell, a
command, a terminal, or a way through to elsewhere.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from channels.inbound.places import Places
from channels.inbound.sftp_session import Desk, Session
from channels.inbound.sftp_users import Guest, User, by_certificate
from engine.channel import InboundContext, Intake, UnknownPeer
from engine.errors import ConfigurationError

logger = logging.getLogger("pons.sftp")

MOST_KEYS = 20  # that a client may offer: agents have several


@dataclass(slots=True)
class House:
    """What all connections of one listener share."""

    context: InboundContext
    intake: Intake
    users: Mapping[str, User]
    desk: Callable[[str], Desk]
    places: Places
    max_connections: int
    max_per_address: int
    max_sessions: int
    max_handles: int
    connections: dict[asyncssh.SSHServerConnection, str]
    guests: dict[asyncssh.SSHServerConnection, Guest]
    revoked: Callable[[], frozenset[bytes]]
    counts: Counter[str]

    def turned_away(self, what: str, address: str) -> None:
        """Logged; the intake counts it and puts it on the audit trail."""
        facts = {"inbound": self.context.name, "unknown": what, "remote_address": address}
        logger.warning("unknown peer", extra={"pons": facts})
        self.intake.turned_away(self.context.name, what, address, "", "")


class Gate(asyncssh.SSHServer):
    """One connection, from its first byte to its end."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._connection: asyncssh.SSHServerConnection | None = None
        self._address = ""
        self._guest: Guest | None = None  # as what it was shown last says; asyncssh verifies the signature
        self._shown = b""
        self._site = ""  # once it has a place
        self._offered = 0
        self._wrong_key = False
        self._told: set[str] = set()
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Too many, or an address that nobody can be: closed before it has said anything."""
        house = self._house
        self._connection, self._address = conn, str(conn.get_extra_info("peername")[0])
        here = sum(address == self._address for address in house.connections.values())
        if len(house.connections) >= house.max_connections or here >= house.max_per_address:
            house.counts["too_many"] += 1
            logger.warning("too many connections", extra={"pons": {"inbound": house.context.name}})
            conn.abort()
            return
        house.connections[conn] = self._address
        self._listen_in(conn)
        if not any(user.any_address for user in house.users.values()):
            try:
                house.context.sites.identify(self._address)
            except UnknownPeer as error:
                if error.what == "address":
                    self._tell("address")
                    conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its places are free again; who had no right key is told once, not for every key of an agent."""
        if self._wrong_key and self._guest is None:
            self._tell("key")
        if self._connection is not None:
            self._house.connections.pop(self._connection, None)
            self._house.guests.pop(self._connection, None)
        if self._site:
            self._house.places.leave(self._site)
            self._site = ""

    def begin_auth(self, username: str) -> bool:
        """Everybody proves who they are."""
        return True

    def public_key_auth_supported(self) -> bool:
        """The one way to prove it."""
        return True

    def _listen_in(self, connection: asyncssh.SSHServerConnection) -> None:
        """asyncssh tells the authority of a certificate, and not the certificate: remember what is shown."""
        validate = connection.validate_public_key

        async def validate_public_key(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
            self._shown = key_data
            return await validate(username, key_data, msg, signature)

        connection.validate_public_key = validate_public_key  # type: ignore[method-assign]

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key is of this user, and this user of the site at this address."""
        user = self._house.users.get(username)
        known = user is not None and key.public_data in user.keys
        return self._admit(user, Guest(username, user.site, key.public_data) if user and known else None)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the certificate that is shown makes its holder this user."""
        user = self._house.users.get(username)
        return self._admit(user, by_certificate(username, user, self._shown) if user else None)

    def _admit(self, user: User | None, guest: Guest | None) -> bool:
        self._offered += 1
        if self._offered > MOST_KEYS:
            assert self._connection is not None
            self._connection.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "too many keys")
            return False
        if user is None or guest is None or self._is_revoked(guest):
            self._wrong_key = True
            return False
        what = self._mismatch(user)
        if what:
            self._tell(what)
            return False
        self._guest = guest
        return True

    def _is_revoked(self, guest: Guest) -> bool:
        try:
            return bool(guest.shown & self._house.revoked())
        except ConfigurationError as error:  # nobody knows: nobody comes in
            facts = {"inbound": self._house.context.name, "reason": str(error)}
            logger.error("revoked keys cannot be read", extra={"pons": facts})
            return True

    def _mismatch(self, user: User) -> str:
        """What of the address does not fit the user; empty where it fits."""
        sites = self._house.context.sites
        try:
            site = sites.get(user.site)
        except KeyError:  # another table has it no longer
            return "site"
        try:
            return "" if sites.identify(self._address).key == user.site else "site"
        except UnknownPeer as error:
            if error.what == "address":
                return "" if user.any_address and not site.tunnel else "address"
            return "" if _lies_in(self._address, site.addresses) else "site"

    def _tell(self, what: str) -> None:
        if what not in self._told:  # once for a connection: clients offer all the keys they have
            self._told.add(what)
            self._house.turned_away(what, self._address)

    def auth_completed(self) -> None:
        """A place of its site is taken, or the connection ends."""
        assert self._connection is not None
        assert self._guest is not None
        site = self._guest.site
        full = self._house.places.take(site)
        if full is not None:
            facts = {"inbound": self._house.context.name, "site": site, "reason": full}
            logger.warning("too many connections", extra={"pons": facts})
            self._connection.disconnect(
                asyncssh.DISC_TOO_MANY_CONNECTIONS, "too many connections of this site; try again later"
            )
            return
        self._site = site
        self._house.guests[self._connection] = self._guest
        self._house.counts["accepted"] += 1

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """An SFTP session, and no other."""
        if not self._site or self._sessions >= self._house.max_sessions:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many sessions")
        self._sessions += 1
        desk = self._house.desk(self._site)
        session: _Session

        def started(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
            return Session(channel, desk, self._house.max_handles, lambda: session.is_over, lambda: None)

        session = _Session(started, self._session_ended)
        return session

    def _session_ended(self) -> None:
        self._sessions -= 1


class _Session(SSHServerStreamSession[bytes]):
    """Knows when its client has gone: what is closed after that, the client has not closed."""

    def __init__(
        self,
        sftp: Callable[[asyncssh.SSHServerChannel[bytes]], asyncssh.SFTPServer],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(None, sftp, 3)  # type: ignore[arg-type]
        self.is_over = False
        self._on_end = on_end

    def eof_received(self) -> bool:
        """The client says nothing more."""
        self.is_over = True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed."""
        self.is_over = True
        self._on_end()
        super().connection_lost(exc)


def _lies_in(address: str, blocks: tuple[str, ...]) -> bool:
    try:
        here = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(here in ipaddress.ip_network(block) for block in blocks)
