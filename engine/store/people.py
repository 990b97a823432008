"""Accounts of people: found, made, changed; their invitations and recovery codes.

Every engine on the database asks here at each request, so whoever is disabled is out at once everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from engine.store.dialect import insert_unless_there, serialise
from engine.store.people_tables import invitations, people, recovery_codes, sign_in_tries

PERSON = "person"  # kind of the tries of an account
_COLUMNS = (*people.c, sign_in_tries.c.locked_until)


def alone(connection: Connection) -> None:
    """Nobody else gives or takes roles until this transaction ends: somebody who may must be left."""
    serialise(connection, "people")


def find(connection: Connection, person_id: str) -> Row[Any] | None:
    """One person."""
    return connection.execute(_query().where(people.c.person_id == person_id)).first()


def named(connection: Connection, username: str) -> Row[Any] | None:
    """The person of a username."""
    return connection.execute(_query().where(people.c.username == username)).first()


def identified(connection: Connection, issuer: str, subject: str) -> Row[Any] | None:
    """The person whom an outside provider calls by a subject."""
    return connection.execute(
        _query().where(people.c.identity_issuer == issuer, people.c.identity_subject == subject)
    ).first()


def expected(connection: Connection, issuer: str, name: str) -> Row[Any] | None:
    """The person who was invited as one whom the provider calls so, and has not come yet."""
    return connection.execute(
        _query().where(
            people.c.identity_issuer == issuer,
            people.c.identity_expected == name,
            people.c.identity_subject.is_(None),
        )
    ).first()


def every(connection: Connection) -> Sequence[Row[Any]]:
    """All people by their names."""
    return connection.execute(_query().order_by(people.c.username)).all()


def add(connection: Connection, **facts: Any) -> bool:
    """A new person; False, and nothing done, where the name or the identity is taken."""
    return insert_unless_there(connection, people, **facts)


def change(connection: Connection, person_id: str, **facts: Any) -> None:
    """Other facts of a person."""
    connection.execute(update(people).where(people.c.person_id == person_id).values(**facts))


def take_step(connection: Connection, person_id: str, step: int) -> bool:
    """A code of a step is used; False where it, or a later one, was before (RFC 6238 5.2)."""
    done = connection.execute(
        update(people)
        .where(people.c.person_id == person_id, people.c.last_step < step)
        .values(last_step=step)
    )
    return done.rowcount == 1


# ── recovery codes ──────────────────────────────────────────────────────────────────────────────


def replace_codes(connection: Connection, person_id: str, hashes: Sequence[str]) -> None:
    """Other recovery codes, or none, in the place of those there were."""
    connection.execute(delete(recovery_codes).where(recovery_codes.c.person_id == person_id))
    for one in hashes:
        insert_unless_there(connection, recovery_codes, person_id=person_id, code_hash=one)


def use_code(connection: Connection, person_id: str, code_hash: str) -> bool:
    """A recovery code is used up; False where there is none such."""
    done = connection.execute(
        delete(recovery_codes).where(
            recovery_codes.c.person_id == person_id, recovery_codes.c.code_hash == code_hash
        )
    )
    return done.rowcount == 1


def codes_left(connection: Connection, person_id: str) -> int:
    """How many recovery codes somebody has."""
    query = select(func.count()).select_from(recovery_codes).where(recovery_codes.c.person_id == person_id)
    return int(connection.execute(query).scalar_one())


# ── invitations ─────────────────────────────────────────────────────────────────────────────────


def replace_invitation(
    connection: Connection, person_id: str, token_hash: str, *, until: float, now: float
) -> None:
    """An invitation in the place of any other of this person. Those whose time is over are forgotten."""
    drop_invitation(connection, person_id)
    connection.execute(delete(invitations).where(invitations.c.until <= now))
    insert_unless_there(connection, invitations, token_hash=token_hash, person_id=person_id, until=until)


def drop_invitation(connection: Connection, person_id: str) -> None:
    """No invitation of this person is good any more."""
    connection.execute(delete(invitations).where(invitations.c.person_id == person_id))


def invited(connection: Connection, token_hash: str, now: float) -> Row[Any] | None:
    """The person of an invitation that is good."""
    holder = select(invitations.c.person_id).where(
        invitations.c.token_hash == token_hash, invitations.c.until > now
    )
    return connection.execute(_query().where(people.c.person_id == holder.scalar_subquery())).first()


def accept(connection: Connection, token_hash: str) -> bool:
    """An invitation is used up; False where it was before."""
    done = connection.execute(delete(invitations).where(invitations.c.token_hash == token_hash))
    return done.rowcount == 1


def _query() -> Any:
    tries = (sign_in_tries.c.kind == PERSON) & (sign_in_tries.c.key == people.c.person_id)
    return select(*_COLUMNS).select_from(people.outerjoin(sign_in_tries, tries))
