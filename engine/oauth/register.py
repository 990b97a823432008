"""What people do with clients: made, given another secret or other keys, revoked; each on the audit trail.

Enter: a connection inside a transaction, a client, who asks. Leaves: the row and the event, or PonsError that
says what is in the way. No secret passes here, only what is kept of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from engine.audit import append_event
from engine.errors import PonsError
from engine.oauth.client import Client
from engine.store import clients


def add(connection: Connection, client: Client) -> None:
    """A new client. A name that was revoked is not given again: the trail would tell of two as of one."""
    added = clients.add(
        connection,
        client_id=client.client_id,
        name=client.name,
        site=client.site,
        scopes=list(client.scopes),
        secret_hash=client.secret_hash,
        previous_hash="",
        previous_until=0.0,
        keys=list(client.keys),
        created_at=client.created_at,
        created_by=client.created_by,
    )
    if not added:
        row = clients.find(connection, client.client_id)
        revoked = row is not None and row.revoked_at is not None
        raise PonsError(
            f"client {client.client_id} was revoked; give the new one another name"
            if revoked
            else f"client {client.client_id} is there already; `pons client rotate` gives it another secret"
        )
    detail = {"site": client.reach, "scopes": list(client.scopes), "method": client.method}
    _record(connection, "client added", client.client_id, client.created_at, client.created_by, detail)


def rotate_secret(
    connection: Connection, client_id: str, secret_hash: str, now: float, actor: str, *, keep: float
) -> None:
    """Another secret; the one before is honoured for ``keep`` seconds."""
    if standing(connection, client_id).keys:
        raise PonsError(f"client {client_id} signs with keys of its own; give it others by --jwks")
    clients.replace_secret(connection, client_id, secret_hash, previous_until=now + keep)
    _record(connection, "client secret rotated", client_id, now, actor, {"before_honoured_for": keep})


def rotate_keys(
    connection: Connection, client_id: str, keys: Sequence[Mapping[str, Any]], now: float, actor: str
) -> None:
    """Other public keys, in place of those it has."""
    if not standing(connection, client_id).keys:
        raise PonsError(f"client {client_id} has a secret; add one that signs under another name")
    clients.replace_keys(connection, client_id, keys)
    names = [str(key.get("kid", "")) for key in keys]
    _record(connection, "client keys rotated", client_id, now, actor, {"kid": names})


def revoke(connection: Connection, client_id: str, now: float, actor: str, reason: str) -> None:
    """No token any more, and none that it has is honoured."""
    standing(connection, client_id)
    clients.revoke(connection, client_id, now)
    _record(connection, "client revoked", client_id, now, actor, {"reason": reason})


def key_rotated(connection: Connection, now: float, actor: str, detail: dict[str, Any]) -> None:
    """Another key signs from now on."""
    append_event(connection, now, actor=actor, action="signing key rotated", subject="oauth2", detail=detail)


def standing(connection: Connection, client_id: str) -> Any:
    """The row of a client that was not revoked; PonsError where there is none."""
    row = clients.find(connection, client_id)
    if row is None:
        raise PonsError(f"no client {client_id}; `pons client` lists those there are")
    if row.revoked_at is not None:
        raise PonsError(f"client {client_id} was revoked; add another one")
    return row


def _record(
    connection: Connection, action: str, client_id: str, now: float, actor: str, detail: dict[str, Any]
) -> None:
    append_event(connection, now, actor=actor, action=action, subject=f"client {client_id}", detail=detail)
