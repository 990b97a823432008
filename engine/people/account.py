"""Accounts and sessions as they are stored, and as everybody else knows them. Pure: rows in, values out."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Any

from engine.person import (
    Issued,
    Membership,
    Person,
    PersonState,
    Role,
    Session,
    SignInRefused,
    SignInRefusedReason,
    Stage,
)

USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}", re.ASCII)
_TOKEN_BYTES = 32
_LONGEST_TOKEN = 256  # characters that are looked at


def person_of(row: Any, now: float) -> Person:
    """Somebody, of a row of `people` with the end of its lock."""
    locked = row.locked_until is not None and row.locked_until > now
    return Person(
        row.person_id,
        row.username,
        row.display_name,
        tuple(Membership(Role(role), site) for role, site in row.memberships),
        state_of(row),
        bool(row.second_factor),
        row.identity_issuer or "password",
        row.created_at,
        row.last_sign_in_at,
        row.locked_until if locked else None,
    )


def state_of(row: Any) -> PersonState:
    """Whether somebody can sign in."""
    if row.disabled_at is not None:
        return PersonState.DISABLED
    return PersonState.ACTIVE if row.password_hash or row.identity_subject else PersonState.INVITED


def session_of(row: Any, person: Person) -> Session:
    """A session, of a row of `person_sessions`."""
    return Session(
        row.session_id,
        person,
        Stage(row.stage),
        row.csrf_token,
        row.remote_address,
        row.signed_in_at,
        row.expires_at,
    )


def issued(token: str, person: Person, facts: dict[str, Any]) -> Issued:
    """A session of the facts that were stored, with its secret."""
    names = ("csrf_token", "remote_address", "signed_in_at", "expires_at")
    stage = Stage(facts["stage"])
    return Issued(token, Session(facts["session_id"], person, stage, **{name: facts[name] for name in names}))


def stored(memberships: Sequence[Membership]) -> list[list[str | None]]:
    """Roles as they are stored."""
    return [[one.role.value, one.site] for one in memberships]


def told(memberships: Sequence[Membership]) -> list[str]:
    """Roles as the audit trail and the command line say them: `admin`, `viewer@st-marys`."""
    return [one.role.value + (f"@{one.site}" if one.site is not None else "") for one in memberships]


def new_token() -> str:
    """A secret nobody has had before: 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is kept of one; random bits need no slow hash (docs/decisions/a-secret-is-random.md)."""
    return hashlib.sha256(token[:_LONGEST_TOKEN].encode("utf-8", "replace")).hexdigest()


def spelled(username: str) -> str:
    """A username as it is stored, whether or not it can be one."""
    return username[:256].strip().lower()


def checked_username(username: str) -> str:
    """A username; SignInRefused(INVALID) where it cannot be one."""
    name = spelled(username)
    if not USERNAME.fullmatch(name):
        raise SignInRefused(
            SignInRefusedReason.INVALID,
            "a username has up to 64 letters, digits and . _ @ + -, and begins with a letter or digit",
        )
    return name


def checked_display_name(name: str, username: str) -> str:
    """What people call somebody, on one line; his username where nothing is left."""
    plain = "".join(one if one.isprintable() else " " for one in name[:1000])
    return " ".join(plain.split())[:200] or username
