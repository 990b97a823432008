"""Sessions: begun, taken to the next step, ended. Inside a transaction; a token never comes again.

A session at a step before the last is short: whoever has only a password, or only an invitation, is not in.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection

from engine.people.account import issued, new_token, person_of, token_hash
from engine.people.office import expired
from engine.people_section import PeopleSettings
from engine.person import Issued, Person, Stage
from engine.store import people, sign_ins

STEP_LIFE = {Stage.SECOND_FACTOR: 600.0, Stage.ENROLMENT: 1800.0}  # seconds


def begin(
    connection: Connection,
    settings: PeopleSettings,
    person: Person,
    stage: Stage,
    remote_address: str,
    now: float,
) -> Issued:
    """A new session of somebody."""
    token = new_token()
    facts = _facts(settings, token, stage, now)
    facts |= {"session_id": str(uuid.uuid4()), "remote_address": remote_address[:64]}
    sign_ins.begin(connection, now=now, person_id=person.person_id, enrolling="", **facts)
    _limit(connection, settings, facts["session_id"], person, stage)
    del facts["token_hash"]
    return issued(token, person, facts)


def renew(
    connection: Connection, settings: PeopleSettings, row: Any, person: Person, stage: Stage, now: float
) -> Issued:
    """The same session at its next step, under another token; an open one keeps its end.

    Raises:
        SignInRefused: EXPIRED, when another request was first.
    """
    token = new_token()
    facts = _facts(settings, token, stage, now)
    if row.stage == Stage.OPEN:
        facts |= {"signed_in_at": row.signed_in_at, "expires_at": row.expires_at}
    if not sign_ins.change(connection, row.token_hash, enrolling="", **facts):
        raise expired()
    if row.stage != stage:
        _limit(connection, settings, row.session_id, person, stage)
    facts |= {"session_id": row.session_id, "remote_address": row.remote_address}
    return issued(token, person, facts)


def at(connection: Connection, token: str, stage: Stage, now: float) -> tuple[Any, Any]:
    """The rows of a session at a step, and of its person.

    Raises:
        SignInRefused: EXPIRED, when it is over, at another step, or the person is disabled.
    """
    row = sign_ins.session_of(connection, token_hash(token), now)
    person = people.find(connection, row.person_id) if row is not None and row.stage == stage else None
    if person is None or person.disabled_at is not None:
        raise expired()
    return row, person


def renewed_person(connection: Connection, person_id: str, now: float) -> Person:
    """Somebody after a change of his row in the same transaction."""
    return person_of(people.find(connection, person_id), now)


def _limit(
    connection: Connection, settings: PeopleSettings, session_id: str, person: Person, stage: Stage
) -> None:
    """No more devices than the table lets; who has only a password ends no session of who is in."""
    alike = [Stage.OPEN] if stage is Stage.OPEN else list(STEP_LIFE)
    stages = [one.value for one in alike]
    sign_ins.end_oldest(connection, session_id, person.person_id, stages, settings.sessions)


def _facts(settings: PeopleSettings, token: str, stage: Stage, now: float) -> dict[str, Any]:
    life = STEP_LIFE.get(stage, settings.session_life)
    return {
        "token_hash": token_hash(token),
        "stage": stage.value,
        "csrf_token": new_token(),
        "signed_in_at": now,
        "expires_at": now + life,
    }
