"""Sessions of people, what was tried, where they come from, and sign-ins that came back from outside.

What is over is removed whenever something of its kind is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from engine.store.dialect import insert_unless_there, serialise
from engine.store.people import PERSON
from engine.store.people_tables import outside_states, person_sessions, sign_in_places, sign_in_tries

# ── sessions ────────────────────────────────────────────────────────────────────────────────────


def begin(connection: Connection, *, now: float, **facts: Any) -> None:
    """A new session. Those whose time is over are forgotten."""
    connection.execute(delete(person_sessions).where(person_sessions.c.expires_at <= now))
    connection.execute(insert(person_sessions).values(**facts))


def end_oldest(connection: Connection, session_id: str, person_id: str, stages: list[str], most: int) -> None:
    """Of a person's sessions at these stages the oldest end, until ``most`` are left; this one stays."""
    others = (
        select(person_sessions.c.session_id)
        .where(
            person_sessions.c.person_id == person_id,
            person_sessions.c.stage.in_(stages),
            person_sessions.c.session_id != session_id,
        )
        .order_by(person_sessions.c.signed_in_at.desc(), person_sessions.c.session_id)
    )
    oldest = connection.execute(others).scalars().all()[most - 1 :]
    if oldest:
        connection.execute(delete(person_sessions).where(person_sessions.c.session_id.in_(oldest)))


def session_of(connection: Connection, token_hash: str, now: float) -> Row[Any] | None:
    """The session of a token, while it lasts."""
    return connection.execute(
        select(person_sessions).where(
            person_sessions.c.token_hash == token_hash, person_sessions.c.expires_at > now
        )
    ).first()


def sessions_of(connection: Connection, person_id: str, now: float) -> Sequence[Row[Any]]:
    """Those of one person, the latest first."""
    return connection.execute(
        select(person_sessions)
        .where(person_sessions.c.person_id == person_id, person_sessions.c.expires_at > now)
        .order_by(person_sessions.c.signed_in_at.desc(), person_sessions.c.session_id)
    ).all()


def change(connection: Connection, present: str, /, **facts: Any) -> bool:
    """Other facts of a session, its token's hash among them; False where it is not the present one."""
    done = connection.execute(
        update(person_sessions).where(person_sessions.c.token_hash == present).values(**facts)
    )
    return done.rowcount == 1


def end(connection: Connection, token_hash: str) -> bool:
    """The session of a token is over; False where it was."""
    done = connection.execute(delete(person_sessions).where(person_sessions.c.token_hash == token_hash))
    return done.rowcount == 1


def end_all(connection: Connection, person_id: str, *, but: str = "") -> int:
    """Every session of a person is over, but one; how many."""
    done = connection.execute(
        delete(person_sessions).where(
            person_sessions.c.person_id == person_id, person_sessions.c.token_hash != but
        )
    )
    return done.rowcount


# ── tries ───────────────────────────────────────────────────────────────────────────────────────


def tries_of(connection: Connection, kind: str, key: str) -> Row[Any] | None:
    """What counts against somebody. Inside `alone_with`, nobody else changes it meanwhile."""
    return connection.execute(
        select(sign_in_tries).where(sign_in_tries.c.kind == kind, sign_in_tries.c.key == key)
    ).first()


def alone_with(connection: Connection, *keys: tuple[str, str]) -> None:
    """Nobody else counts these until this transaction ends."""
    serialise(connection, *(f"sign-in tries {kind} {key}" for kind, key in keys))


def keep_tries(connection: Connection, kind: str, key: str, *, now: float, **facts: Any) -> None:
    """What counts now. What counts no more, of anybody, is forgotten."""
    connection.execute(delete(sign_in_tries).where(sign_in_tries.c.until <= now))
    forget_tries(connection, kind, key)
    connection.execute(insert(sign_in_tries).values(kind=kind, key=key, **facts))


def forget_tries(connection: Connection, kind: str, key: str) -> None:
    """Nothing counts any more."""
    connection.execute(delete(sign_in_tries).where(sign_in_tries.c.kind == kind, sign_in_tries.c.key == key))


def forget_tries_of(connection: Connection, person_id: str) -> None:
    """Nothing counts against somebody any more, wherever it came from."""
    key = sign_in_tries.c.key
    connection.execute(
        delete(sign_in_tries).where(
            sign_in_tries.c.kind == PERSON, or_(key == person_id, key.startswith(f"{person_id}@"))
        )
    )


# ── places ──────────────────────────────────────────────────────────────────────────────────────


def keep_place(connection: Connection, person_id: str, network: str, *, until: float, now: float) -> None:
    """Somebody has signed in from there."""
    connection.execute(delete(sign_in_places).where(sign_in_places.c.until <= now))
    connection.execute(
        delete(sign_in_places).where(
            sign_in_places.c.person_id == person_id, sign_in_places.c.network == network
        )
    )
    insert_unless_there(connection, sign_in_places, person_id=person_id, network=network, until=until)


def is_place(connection: Connection, person_id: str, network: str, now: float) -> bool:
    """Whether somebody has signed in from there lately."""
    query = select(sign_in_places.c.until).where(
        sign_in_places.c.person_id == person_id,
        sign_in_places.c.network == network,
        sign_in_places.c.until > now,
    )
    return connection.execute(query).first() is not None


def forget_places(connection: Connection, person_id: str) -> None:
    """He comes from nowhere known."""
    connection.execute(delete(sign_in_places).where(sign_in_places.c.person_id == person_id))


# ── from outside ────────────────────────────────────────────────────────────────────────────────


def use_state(connection: Connection, state_hash: str, *, until: float, now: float) -> bool:
    """A sign-in has come back; False where it had before. Those whose time is over are forgotten."""
    connection.execute(delete(outside_states).where(outside_states.c.until <= now))
    return insert_unless_there(connection, outside_states, state_hash=state_hash, until=until)
