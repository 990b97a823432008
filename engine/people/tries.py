"""Wrong tries in the database, so that every engine counts the same and a restart forgets none.

Enter: whom somebody wants to be, from which network. Leaves: a `Charge`, before the try is looked at, or
SignInRefused(LOCKED). Counted are the account, for those who come from where nobody has signed in as him
lately; the account from each such place by itself, so that strangers lock nobody out where he works; a name
that nobody has, by a keyed digest, exactly as one that somebody has; and the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from engine.people import lock_out
from engine.people.lock_out import NONE, Tries
from engine.people_section import LockOutSettings
from engine.person import SignInRefused, SignInRefusedReason
from engine.store import sign_ins
from engine.store.people import PERSON

NAME, ADDRESS = "name", "address"
REMEMBERED = 30 * 86400.0  # seconds that a place counts as somebody's own


@dataclass(frozen=True, slots=True)
class Charge:
    """One try, as it is counted until it is known to be right."""

    kind: str
    key: str
    network: str
    at: float


def charge(
    connection: Connection, policy: LockOutSettings, row: Any, digest: str, network: str, now: float
) -> Charge:
    """Count a try that is about to be looked at.

    Args:
        row: the person; None for a name that nobody has, which `digest` stands for.

    Raises:
        SignInRefused: LOCKED; nothing is counted then.
    """
    own = row is not None and sign_ins.is_place(connection, row.person_id, network, now)
    kind, key = (NAME, digest) if row is None else (PERSON, row.person_id + (f"@{network}" if own else ""))
    sign_ins.alone_with(connection, (kind, key))
    tries = _read(connection, kind, key)
    wait = lock_out.wait(tries, now)
    if not own:  # behind a proxy all have one address, and nobody may lock the others out
        wait = max(wait, lock_out.wait(_read(connection, ADDRESS, network), now))
    if wait:
        raise SignInRefused(SignInRefusedReason.LOCKED, _patience(wait), retry_after=wait)
    _keep(connection, policy, kind, key, lock_out.charged(tries, now, policy.failures, policy), now)
    return Charge(kind, key, network, now)


def looked_at(connection: Connection, network: str, now: float) -> Charge:
    """A try that nobody can guess at: it counts only where it is wrong, and only against the network.

    Raises:
        SignInRefused: LOCKED.
    """
    wait = lock_out.wait(_read(connection, ADDRESS, network), now)
    if wait:
        raise SignInRefused(SignInRefusedReason.LOCKED, _patience(wait), retry_after=wait)
    return Charge(ADDRESS, network, network, now)


def was_wrong(connection: Connection, policy: LockOutSettings, charged: Charge, now: float) -> float | None:
    """It was wrong: it counts against the network as well. Until when the account is locked, if it is."""
    key = charged.network
    sign_ins.alone_with(connection, (ADDRESS, key))
    before = _read(connection, ADDRESS, key)
    if not lock_out.wait(before, now):
        most = policy.address_failures
        _keep(connection, policy, ADDRESS, key, lock_out.charged(before, now, most, policy), now)
    account = _read(connection, charged.kind, charged.key)
    return account.locked_until if lock_out.wait(account, now) else None


def was_right(connection: Connection, policy: LockOutSettings, charged: Charge, now: float) -> None:
    """The try was right, and more is asked: it counts no more, and those before it still do."""
    sign_ins.alone_with(connection, (charged.kind, charged.key))
    left = lock_out.given_back(_read(connection, charged.kind, charged.key), charged.at)
    _keep(connection, policy, charged.kind, charged.key, left, now)


def signed_in(
    connection: Connection, person_id: str, network: str, now: float, charged: Charge | None
) -> None:
    """He is in: his tries are forgotten, and where he comes from is his own place for a while."""
    if charged is not None:
        sign_ins.forget_tries(connection, charged.kind, charged.key)
    sign_ins.keep_place(connection, person_id, network, until=now + REMEMBERED, now=now)


def _read(connection: Connection, kind: str, key: str) -> Tries:
    row = sign_ins.tries_of(connection, kind, key)
    return NONE if row is None else Tries(tuple(row.failures), row.locks, row.locked_at, row.locked_until)


def _keep(
    connection: Connection, policy: LockOutSettings, kind: str, key: str, tries: Tries, now: float
) -> None:
    if not tries.any:
        sign_ins.forget_tries(connection, kind, key)
        return
    sign_ins.keep_tries(
        connection,
        kind,
        key,
        now=now,
        failures=list(tries.failures),
        locks=tries.locks,
        locked_at=tries.locked_at,
        locked_until=tries.locked_until,
        until=lock_out.until(tries, policy),
    )


def _patience(wait: float) -> str:
    minutes = math.ceil(wait / 60)
    return f"too many wrong tries: wait {minutes} minute{'s' if minutes > 1 else ''}, then try again"
