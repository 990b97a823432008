"""The desk that the portal is lent (`engine.people_desk`): each call goes to the part that knows.

Enter: tokens, names, passwords, codes, and whose request it is. Leave: sessions, people, invitations, or
SignInRefused; `Busy` when the database is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from engine.audit import append_event
from engine.people import authority
from engine.people.account import person_of, session_of, token_hash
from engine.people.credentials import Credentials
from engine.people.office import Office, record, refused
from engine.people.outside import Outside
from engine.people.register import Register
from engine.people.sign_in import SignIn
from engine.people_desk import Enrolment, Invitation, OutsideSignIn, PeopleDesk
from engine.person import Issued, Membership, Person, Session, SignInRefusedReason, Stage
from engine.store import people, sign_ins


class Desk(PeopleDesk):
    """Signs people in and manages them, for one engine."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._sign_in = SignIn(office)
        self._credentials = Credentials(office, self._sign_in)
        self._outside = Outside(office) if office.settings.oidc is not None else None

    # ── signing in ──────────────────────────────────────────────────────────────────────────────

    async def sign_in(self, username: str, password: str, remote_address: str) -> Issued:
        """The first step."""
        return await self._sign_in.first(username, password, remote_address)

    async def second_factor(self, token: str, code: str, remote_address: str) -> Issued:
        """The second step."""
        return await self._sign_in.second(token, code, remote_address)

    async def enrolment(self, token: str) -> Enrolment:
        """A new secret for an authenticator."""
        return await self._credentials.enrolment(token)

    async def enrol(self, token: str, code: str, remote_address: str) -> tuple[Issued, Sequence[str]]:
        """Confirm it."""
        return await self._credentials.enrol(token, code, remote_address)

    async def accept_invitation(self, invitation: str, password: str, remote_address: str) -> Issued:
        """Choose a password."""
        return await self._credentials.accept(invitation, password, remote_address)

    async def invited(self, invitation: str) -> Person:
        """Who an invitation is for."""
        return await self._credentials.invited(invitation)

    async def change_password(self, token: str, old: str, new: str, remote_address: str) -> Issued:
        """Choose another password."""
        return await self._credentials.change_password(token, old, new, remote_address)

    async def new_recovery_codes(self, token: str, code: str, remote_address: str) -> Sequence[str]:
        """Other recovery codes."""
        return await self._credentials.new_recovery_codes(token, code, remote_address)

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    async def session(self, token: str) -> Session | None:
        """Whose request this is; asked at every one, so that a change counts at once on every engine."""
        now = self._office.clock.now()

        def work(connection: Connection) -> Session | None:
            row = sign_ins.session_of(connection, token_hash(token), now)
            person = people.find(connection, row.person_id) if row is not None else None
            if person is None or person.disabled_at is not None:
                return None
            return session_of(row, person_of(person, now))

        return await self._office.read(work)

    async def sessions(self, person_id: str) -> Sequence[Session]:
        """Where somebody is signed in."""
        now = self._office.clock.now()

        def work(connection: Connection) -> list[Session]:
            row = people.find(connection, person_id)
            if row is None:
                return []
            person = person_of(row, now)
            return [session_of(one, person) for one in sign_ins.sessions_of(connection, person_id, now)]

        return await self._office.read(work)

    async def sign_out(self, token: str) -> None:
        """End a session."""
        now = self._office.clock.now()

        def work(connection: Connection) -> None:
            row = sign_ins.session_of(connection, token_hash(token), now)
            if row is None or not sign_ins.end(connection, row.token_hash):
                return
            person = people.find(connection, row.person_id)
            assert person is not None  # nobody is ever removed
            record(connection, now, "person.signed_out", person.username, {"session": row.session_id})

        await self._office.write(work)

    async def seen(
        self, session: Session, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Put on the trail that somebody looked at something."""
        now, actor = self._office.clock.now(), f"person {session.person.username}"
        facts = {**(detail or {}), "session": session.session_id}
        await self._office.write(
            lambda c: append_event(
                c, now, actor=actor, action=action[:64], subject=subject[:200], detail=facts
            )
        )

    # ── managing ────────────────────────────────────────────────────────────────────────────────

    async def people(self, *, actor: Session) -> Sequence[Person]:
        """Those that the actor may manage."""
        return await self._office.read(lambda c: self._register(c, actor).every())

    async def invite(
        self,
        username: str,
        display_name: str,
        memberships: Sequence[Membership],
        *,
        actor: Session,
        identity: str = "",
    ) -> Invitation:
        """A new person."""
        provider = self._office.settings.oidc
        if identity and provider is None:
            raise refused(SignInRefusedReason.INVALID, "no identity provider in the table: people.oidc")
        issuer = provider.issuer if provider is not None else ""
        return await self._office.write(
            lambda c: self._register(c, actor).invite(
                username, display_name, memberships, identity=identity, issuer=issuer
            )
        )

    async def set_memberships(
        self, person_id: str, memberships: Sequence[Membership], *, actor: Session
    ) -> Person:
        """Give other roles."""
        return await self._office.write(
            lambda c: self._register(c, actor).set_memberships(person_id, memberships)
        )

    async def disable(self, person_id: str, *, actor: Session) -> Person:
        """Shut somebody out."""
        return await self._office.write(lambda c: self._register(c, actor).disable(person_id))

    async def enable(self, person_id: str, *, actor: Session) -> Person:
        """Let somebody in again."""
        return await self._office.write(lambda c: self._register(c, actor).enable(person_id))

    async def reset(self, person_id: str, *, actor: Session) -> Invitation:
        """Forget what somebody signs in with."""
        return await self._office.write(lambda c: self._register(c, actor).reset(person_id))

    def _register(self, connection: Connection, actor: Session) -> Register:
        """The accounts, for who asks as he is now: his roles may have changed since he was seen."""
        now = self._office.clock.now()
        row = people.find(connection, actor.person.person_id)
        if row is None or row.disabled_at is not None or actor.stage is not Stage.OPEN:
            raise refused(SignInRefusedReason.FORBIDDEN, "only an admin who is signed in manages people")
        who = authority.actor_of(person_of(row, now))
        settings = self._office.settings
        return Register(connection, who, now, self._office.knows_site, settings.invitation_life)

    # ── from outside ────────────────────────────────────────────────────────────────────────────

    @property
    def outside(self) -> str | None:
        """Name of the outside identity provider."""
        return self._office.settings.oidc.name if self._office.settings.oidc is not None else None

    async def begin_outside(self, redirect_uri: str) -> OutsideSignIn:
        """Begin a sign-in with the outside identity provider."""
        return await self._provider().begin(redirect_uri)

    async def complete_outside(self, state: str, code: str, redirect_uri: str, remote_address: str) -> Issued:
        """What came back."""
        return await self._provider().complete(state, code, redirect_uri, remote_address)

    def _provider(self) -> Outside:
        if self._outside is None:
            raise refused(SignInRefusedReason.INVALID, "nobody signs in from outside here")
        return self._outside
