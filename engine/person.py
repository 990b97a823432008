"""People who sign in, and what they may do: values, without passwords or storage.

A role holds for one site or for every one. Each includes those before it: a *viewer* sees orders and results,
a *submitter* gives orders and uploads, an *engineer* sees how the engine works and steers it, an *admin*
manages people and clients. Who needs no identifiers of patients for his role is shown none until he asks, and
that is on the audit trail.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import PonsError


class Role(StrEnum):
    """What somebody may do, the least first."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ENGINEER = "engineer"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Place in the order of roles."""
        return list(Role).index(self)


class PersonState(StrEnum):
    """Whether somebody can sign in."""

    INVITED = "invited"  # has not chosen a password yet
    ACTIVE = "active"
    DISABLED = "disabled"


class Stage(StrEnum):
    """How far a sign-in has come."""

    SECOND_FACTOR = "second_factor"  # the password was right, the one-time code is still to come
    ENROLMENT = "enrolment"  # the password was right, and there is no second factor yet: one must be set up
    OPEN = "open"  # signed in


@dataclass(frozen=True, slots=True)
class Membership:
    """One role at one site."""

    role: Role
    site: str | None = None  # None: every site


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in."""

    person_id: str
    username: str
    display_name: str
    memberships: tuple[Membership, ...]
    state: PersonState
    second_factor: bool  # whether one is enrolled
    identity: str  # `password`, or the issuer of an outside identity provider
    created_at: float
    last_sign_in_at: float | None
    locked_until: float | None

    def may(self, role: Role, site: str | None = None) -> bool:
        """Whether a role is his: at this site, or anywhere when none is named."""
        return any(
            held.role.rank >= role.rank and (site is None or held.site is None or held.site == site)
            for held in self.memberships
        )

    def may_everywhere(self, role: Role) -> bool:
        """Whether a role is his for every site of the table, now and later."""
        return any(held.role.rank >= role.rank and held.site is None for held in self.memberships)

    def sites(self, role: Role) -> Collection[str] | None:
        """Where a role is his; None for every site."""
        if self.may_everywhere(role):
            return None
        return frozenset(
            held.site for held in self.memberships if held.role.rank >= role.rank and held.site is not None
        )

    def sees_identifiers(self, site: str) -> bool:
        """Whether names and numbers of patients are shown to him unasked: to those who treat them."""
        return any(
            held.role in (Role.VIEWER, Role.SUBMITTER) and held.site in (None, site)
            for held in self.memberships
        )


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of one person, on one device."""

    session_id: str  # no secret
    person: Person
    stage: Stage
    csrf_token: str  # every request that changes something shows it
    remote_address: str
    signed_in_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Issued:
    """A session with the secret that stands for it, shown this once: the cookie's value."""

    token: str
    session: Session


class SignInRefusedReason(StrEnum):
    """Why somebody is not let in, or a change of his account is not made."""

    WRONG = "wrong"  # name, password or code: never which of them: 401
    LOCKED = "locked"  # too many wrong tries, of the account or from the address: 429
    EXPIRED = "expired"  # the session, the invitation or the sign-in is over: 401
    WEAK = "weak"  # the new password is too easy to guess: 422
    INVALID = "invalid"  # a name or a role that cannot be: 422
    CONFLICT = "conflict"  # the name is taken; or it would leave nobody who can manage people: 409
    NOT_FOUND = "not_found"  # no such person among those that one may manage: 404
    FORBIDDEN = "forbidden"  # not by this person: 403


class SignInRefused(PonsError):
    """The message is fit for whoever asked, and tells nothing that he must not know."""

    def __init__(
        self, reason: SignInRefusedReason, message: str, *, retry_after: float | None = None
    ) -> None:
        """
        Args:
            retry_after: seconds until a try may be of use.
        """
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
