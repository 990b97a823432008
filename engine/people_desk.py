"""The contract of signing in and of managing people: the portal asks, `engine.people` answers.

Every call is durable on return; whatever signs in, fails to, or changes an account is on the audit trail,
with the address it came from and without a secret. Calls raise `SignInRefused`, and `Busy` when the database
is away. Hashing takes a noticeable part of a second by design: it runs in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.person import Issued, Membership, Person, Session


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is given (RFC 6238)."""

    secret: str  # base32, for those who type
    uri: str  # otpauth://, for those who scan


@dataclass(frozen=True, slots=True)
class Invitation:
    """The one-time secret by which somebody chooses his password; part of an address below the portal."""

    person: Person
    token: str  # empty where he signs in with an outside identity provider
    until: float


@dataclass(frozen=True, slots=True)
class OutsideSignIn:
    """Where somebody is sent to sign in with an outside identity provider, and what he must bring back."""

    url: str
    state: str  # kept in a cookie of the browser, compared when it returns


class PeopleDesk(Protocol):
    """Where people sign in and are managed."""

    async def sign_in(self, username: str, password: str, remote_address: str) -> Issued:
        """The first step; the session's stage says what is next.

        Raises:
            SignInRefused: WRONG, in the same words and time for an unknown name, LOCKED.
        """
        ...

    async def second_factor(self, token: str, code: str, remote_address: str) -> Issued:
        """The second step, by a code of the authenticator or one recovery code; the token changes.

        Raises:
            SignInRefused: WRONG (each code is good once), LOCKED, EXPIRED.
        """
        ...

    async def enrolment(self, token: str) -> Enrolment:
        """A new secret for a session at ENROLMENT; the same again until it is confirmed."""
        ...

    async def enrol(self, token: str, code: str, remote_address: str) -> tuple[Issued, Sequence[str]]:
        """Confirm a second factor by a code of it; with the recovery codes, shown this once."""
        ...

    async def session(self, token: str) -> Session | None:
        """Whose request this is; None when the token is none, its hour is over or the person is disabled."""
        ...

    async def sign_out(self, token: str) -> None:
        """End a session; harmless when repeated."""
        ...

    async def change_password(self, token: str, old: str, new: str, remote_address: str) -> Issued:
        """Choose another password; every other session of the person ends, and this one's token changes.

        Raises:
            SignInRefused: WRONG, WEAK, LOCKED.
        """
        ...

    async def new_recovery_codes(self, token: str, code: str, remote_address: str) -> Sequence[str]:
        """Other recovery codes in the place of those there were, for a code of the authenticator."""
        ...

    async def sessions(self, person_id: str) -> Sequence[Session]:
        """Where somebody is signed in, the latest first."""
        ...

    async def accept_invitation(self, invitation: str, password: str, remote_address: str) -> Issued:
        """Choose the first password, or another after a reset; the next step is ENROLMENT.

        Raises:
            SignInRefused: EXPIRED, WEAK.
        """
        ...

    async def invited(self, invitation: str) -> Person:
        """Who an invitation is for; SignInRefused(EXPIRED)."""
        ...

    async def invite(
        self,
        username: str,
        display_name: str,
        memberships: Sequence[Membership],
        *,
        actor: Session,
        identity: str = "",
    ) -> Invitation:
        """A new person, or a new invitation for one who has not accepted yet.

        Args:
            identity: how the outside identity provider names him, by `sub` or the claim that the table says;
                he signs in there, has no password, and his invitation's token is empty.

        Raises:
            SignInRefused: CONFLICT, INVALID, FORBIDDEN (a role or site that is not the actor's to give).
        """
        ...

    async def people(self, *, actor: Session) -> Sequence[Person]:
        """Those that the actor may manage, by name."""
        ...

    async def set_memberships(
        self, person_id: str, memberships: Sequence[Membership], *, actor: Session
    ) -> Person:
        """Give other roles; they count from the person's next request."""
        ...

    async def disable(self, person_id: str, *, actor: Session) -> Person:
        """Nobody signs in by this name any more, and who is signed in is out."""
        ...

    async def enable(self, person_id: str, *, actor: Session) -> Person:
        """He may again."""
        ...

    async def reset(self, person_id: str, *, actor: Session) -> Invitation:
        """Password and second factor are forgotten, sessions end, and an invitation sets them anew."""
        ...

    async def seen(
        self, session: Session, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Put on the audit trail that somebody looked at something, before it is shown to him.

        Args:
            action: dotted, such as `order.viewed`, `identifiers.revealed`, `result.viewed`.
            subject: an id, never a name or number of a patient.
        """
        ...

    @property
    def outside(self) -> str | None:
        """Name of the outside identity provider that people may sign in with; None without one."""
        ...

    async def begin_outside(self, redirect_uri: str) -> OutsideSignIn:
        """Begin a sign-in with the outside identity provider (OpenID Connect Core 3.1, PKCE)."""
        ...

    async def complete_outside(self, state: str, code: str, redirect_uri: str, remote_address: str) -> Issued:
        """What came back; the session is OPEN: the second factor is the provider's business.

        Raises:
            SignInRefused: EXPIRED (the state is none of ours), WRONG (nobody here has that identity).
        """
        ...
