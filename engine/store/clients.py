"""Clients of the authorization server: made, found, given another secret, revoked; what they used up.

Every engine on the database asks here at each use, so what is revoked is revoked at once everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from engine.store.dialect import insert_unless_there
from engine.store.tables import client_assertions, clients, revoked_tokens


def find(connection: Connection, client_id: str) -> Row[Any] | None:
    """One client, revoked or not."""
    return connection.execute(select(clients).where(clients.c.client_id == client_id)).first()


def every(connection: Connection, *, revoked: bool = False) -> Sequence[Row[Any]]:
    """All clients by their names; those that were revoked only where asked for."""
    query = select(clients).order_by(clients.c.client_id)
    return connection.execute(query if revoked else query.where(clients.c.revoked_at.is_(None))).all()


def add(connection: Connection, **facts: Any) -> bool:
    """A new client; False, and nothing done, where there is or was one of this name."""
    return insert_unless_there(connection, clients, **facts)


def replace_secret(
    connection: Connection, client_id: str, secret_hash: str, *, previous_until: float
) -> bool:
    """Another secret; the one before is honoured until a time. Whether there is such a client."""
    done = connection.execute(
        update(clients)
        .where(clients.c.client_id == client_id, clients.c.revoked_at.is_(None))
        .values(previous_hash=clients.c.secret_hash, previous_until=previous_until, secret_hash=secret_hash)
    )
    return done.rowcount == 1


def replace_keys(connection: Connection, client_id: str, keys: Sequence[Mapping[str, Any]]) -> bool:
    """Other public keys. Whether there is such a client."""
    done = connection.execute(
        update(clients)
        .where(clients.c.client_id == client_id, clients.c.revoked_at.is_(None))
        .values(keys=list(keys))
    )
    return done.rowcount == 1


def revoke(connection: Connection, client_id: str, now: float) -> bool:
    """No token for it any more, and those it has are worth nothing. Whether it was not revoked before."""
    done = connection.execute(
        update(clients)
        .where(clients.c.client_id == client_id, clients.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return done.rowcount == 1


def take_token(connection: Connection, client_id: str, now: float) -> bool:
    """A token is given to a client; False where it was revoked meanwhile."""
    done = connection.execute(
        update(clients)
        .where(clients.c.client_id == client_id, clients.c.revoked_at.is_(None))
        .values(last_token_at=now)
    )
    return done.rowcount == 1


def use_up(connection: Connection, client_id: str, digest: str, *, until: float, now: float) -> bool:
    """An assertion is used; False where it was before. Those whose time is over are forgotten."""
    connection.execute(delete(client_assertions).where(client_assertions.c.until < now))
    return insert_unless_there(connection, client_assertions, client_id=client_id, digest=digest, until=until)


def revoke_token(connection: Connection, token_id: str, client_id: str, *, until: float, now: float) -> bool:
    """A token is called back; False where it was before. Those whose time is over are forgotten."""
    connection.execute(delete(revoked_tokens).where(revoked_tokens.c.until < now))
    return insert_unless_there(
        connection, revoked_tokens, token_id=token_id, client_id=client_id, revoked_at=now, until=until
    )


def standing(connection: Connection, client_id: str, token_id: str) -> Row[Any] | None:
    """Of a token's client: its site, its scopes, whether it was revoked, and whether the token was."""
    was_revoked = exists().where(revoked_tokens.c.token_id == token_id)
    return connection.execute(
        select(
            clients.c.site, clients.c.scopes, clients.c.revoked_at, was_revoked.label("token_revoked")
        ).where(clients.c.client_id == client_id)
    ).first()
