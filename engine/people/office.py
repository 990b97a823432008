"""What the parts of `engine.people` stand on: database, clock, key, how things are hashed and told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from engine.audit import append_event
from engine.clock import Clock
from engine.errors import Busy, DatabaseUnavailable
from engine.people.key import Key, WrongKey
from engine.people.password_hash import PasswordHash
from engine.people_section import PeopleSettings
from engine.person import SignInRefused, SignInRefusedReason
from engine.store import people
from engine.store.database import Database
from engine.strangers import Knock, Strangers

logger = logging.getLogger("pons.people")

T = TypeVar("T")
WHERE = "people"  # how the trail of strangers calls this door


@dataclass(frozen=True, slots=True)
class Office:
    """One engine's."""

    settings: PeopleSettings
    database: Database
    clock: Clock
    key: Key
    strangers: Strangers
    knows_site: Callable[[str], bool]  # whether the table that runs has a site
    hashes: PasswordHash = field(default_factory=PasswordHash)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run a change in a transaction; Busy when the database, or the key, is not what it should be."""
        return await self._run(self.database.write, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a query; Busy when the database is away."""
        return await self._run(self.database.read, work)

    async def _run(self, run: Callable[..., Any], work: Callable[[Connection], T]) -> T:
        try:
            result: T = await run(work)
        except DatabaseUnavailable:
            raise Busy("the database is away: nobody can be signed in; try again in a moment") from None
        except WrongKey as error:
            logger.error("a second factor cannot be read", extra={"pons": {"reason": str(error)}})
            raise Busy("your second factor cannot be checked: tell whoever runs this engine") from None
        return result

    def stranger(self, what: str, remote_address: str) -> None:
        """Somebody who is nobody here was turned away; counted, and on the trail soon after."""
        self.strangers.note(Knock(WHERE, what, remote_address))


def record(
    connection: Connection,
    now: float,
    action: str,
    username: str,
    detail: dict[str, Any],
    *,
    actor: str | None = None,
) -> None:
    """Put on the trail what somebody did; or what another, named, did to his account."""
    subject = f"person {username}"
    append_event(connection, now, actor=actor or subject, action=action, subject=subject, detail=detail)


def is_readable(connection: Connection, key: Key) -> bool:
    """Whether second factors that are stored were enciphered with this key; where there are none, too."""
    row = next((row for row in people.every(connection) if row.second_factor), None)
    try:
        return row is None or bool(key.deciphered(row.second_factor))
    except WrongKey:
        return False


def refused(reason: SignInRefusedReason, message: str, retry_after: float | None = None) -> SignInRefused:
    """The refusal; short to write."""
    return SignInRefused(reason, message, retry_after=retry_after)


def expired() -> SignInRefused:
    """The session is none, or not at the step that was asked for."""
    return refused(SignInRefusedReason.EXPIRED, "your session is over: sign in again")
