"""The engine's `engine.client_register.ClientRegister`: who may do what with which client, and then it is.

Enter: what a signed-in person asks. Leave: facts, after row and event are committed together
(`engine.oauth.register`). What is not the person's to manage is not there for him.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row

from engine.client_register import (
    ClientRefused,
    ClientRefusedReason,
    RegisteredClient,
    SecretIssued,
)
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable, PonsError
from engine.oauth import register
from engine.oauth.client import Client, checked_id, checked_scopes, hash_of, new_secret
from engine.oauth.client_desk import client_of
from engine.oauth.client_keys import read_key_set
from engine.person import Role, Session
from engine.reason import checked_reason
from engine.store import clients
from engine.store.database import Database

T = TypeVar("T")

LONGEST_OVERLAP = 30 * 86400.0  # seconds
_MIGHTY = "admin"  # the scope that manages others


class ManagedClients:
    """Clients of one engine."""

    def __init__(self, database: Database, clock: Clock, knows_site: Callable[[str], bool]) -> None:
        """
        Args:
            knows_site: whether the table that runs has a site.
        """
        self._database = database
        self._clock = clock
        self._knows_site = knows_site

    async def clients(self, *, actor: Session) -> Sequence[RegisteredClient]:
        """Those that the actor may manage."""
        sites = _sites_of(actor)
        rows = await self._read(lambda c: clients.every(c, revoked=True))
        found = [_told(row) for row in rows if _is_among(row.site, sites)]
        return sorted(found, key=lambda one: (one.revoked_at is not None, one.client_id))

    async def client(self, client_id: str, *, actor: Session) -> RegisteredClient:
        """One of them."""
        sites = _sites_of(actor)
        return _told(await self._read(lambda c: _found(c, client_id, sites)))

    async def add(
        self,
        client_id: str,
        *,
        name: str,
        site: str | None,
        scopes: Sequence[str],
        key_set: str = "",
        actor: Session,
    ) -> SecretIssued:
        """A new client."""
        sites, now = _sites_of(actor), self._clock.now()
        self._check_reach(site, sites)
        _invalid_unless(lambda: checked_id(client_id), "client_id")
        granted = _invalid_unless(lambda: checked_scopes(scopes), "scopes")
        if _MIGHTY in granted and sites is not None:
            said = "a client that may manage others is made by an admin of all sites"
            raise ClientRefused(ClientRefusedReason.FORBIDDEN, said, "scopes")
        keys = _invalid_unless(lambda: read_key_set(key_set.encode()), "key_set") if key_set.strip() else ()
        secret = "" if keys else new_secret()
        new = Client(
            client_id=client_id,
            name=" ".join(name.split())[:200] or client_id,
            site=site,
            scopes=granted,
            secret_hash=hash_of(client_id, secret) if secret else "",
            keys=keys,
            created_at=now,
            created_by=_name_of(actor),
        )

        def work(connection: Connection) -> Row[Any]:
            if clients.find(connection, client_id) is not None:
                said = "a client of this name is there, or was: take another name"
                raise ClientRefused(ClientRefusedReason.CONFLICT, said, "client_id")
            register.add(connection, new)
            return _found(connection, client_id, None)

        return SecretIssued(_told(await self._write(work)), secret)

    async def rotate(self, client_id: str, *, keep: float, actor: Session) -> SecretIssued:
        """Another secret."""
        sites, now = _sites_of(actor), self._clock.now()
        if not 0 <= keep <= LONGEST_OVERLAP:
            said = "the secret before is honoured for 30 days at most"
            raise ClientRefused(ClientRefusedReason.INVALID, said, "keep")
        secret = new_secret()

        def work(connection: Connection) -> Row[Any]:
            if _standing(connection, client_id, sites).keys:
                said = "this client signs with keys of its own: give it others by `pons client rotate --jwks`"
                raise ClientRefused(ClientRefusedReason.CONFLICT, said)
            kept = hash_of(client_id, secret)
            register.rotate_secret(connection, client_id, kept, now, _name_of(actor), keep=keep)
            return _found(connection, client_id, sites)

        return SecretIssued(_told(await self._write(work)), secret)

    async def revoke(self, client_id: str, reason: str, *, actor: Session) -> RegisteredClient:
        """End a client and every token that it has."""
        sites, now = _sites_of(actor), self._clock.now()
        why = _invalid_unless(lambda: checked_reason(reason), "reason")

        def work(connection: Connection) -> Row[Any]:
            _standing(connection, client_id, sites)
            register.revoke(connection, client_id, now, _name_of(actor), why)
            return _found(connection, client_id, sites)

        return _told(await self._write(work))

    def _check_reach(self, site: str | None, sites: Collection[str] | None) -> None:
        if not _is_among(site, sites):
            where = "every site" if site is None else "this site"
            said = f"a client of {where} is not yours to make"
            raise ClientRefused(ClientRefusedReason.FORBIDDEN, said, "site")
        if site is not None and not self._knows_site(site):
            raise ClientRefused(ClientRefusedReason.INVALID, "the table has no such site", "site")

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.read(work)
        except DatabaseUnavailable as error:
            raise Busy(str(error)) from None

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except DatabaseUnavailable as error:
            raise Busy(str(error), storage_full=error.storage_full) from None


def _sites_of(actor: Session) -> Collection[str] | None:
    """Where somebody manages clients; None for everywhere."""
    if not actor.person.may(Role.ADMIN):
        raise ClientRefused(ClientRefusedReason.FORBIDDEN, "only an admin manages clients")
    return actor.person.sites(Role.ADMIN)


def _is_among(site: str | None, sites: Collection[str] | None) -> bool:
    return sites is None or (site is not None and site in sites)


def _found(connection: Connection, client_id: str, sites: Collection[str] | None) -> Row[Any]:
    row = clients.find(connection, client_id)
    if row is None or not _is_among(row.site, sites):
        raise ClientRefused(ClientRefusedReason.NOT_FOUND, "no client of this name is yours to manage")
    return row


def _standing(connection: Connection, client_id: str, sites: Collection[str] | None) -> Row[Any]:
    row = _found(connection, client_id, sites)
    if row.revoked_at is not None:
        raise ClientRefused(ClientRefusedReason.CONFLICT, "this client was revoked before; add another one")
    return row


def _invalid_unless(check: Callable[[], T], field: str) -> T:
    try:
        return check()
    except PonsError as error:
        raise ClientRefused(ClientRefusedReason.INVALID, str(error), field) from None


def _name_of(actor: Session) -> str:
    return f"person {actor.person.username}"


def _told(row: Row[Any]) -> RegisteredClient:
    client = client_of(row)
    return RegisteredClient(
        client.client_id,
        client.name,
        client.site,
        client.scopes,
        client.method,
        tuple(str(key.get("kid", "–")) for key in client.keys),
        client.created_at,
        client.created_by,
        row.last_token_at,
        client.previous_until or None,
        client.revoked_at,
    )
