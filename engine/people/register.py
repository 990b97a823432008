"""What admins do with accounts: invite, give roles, disable, enable, reset; each on the audit trail.

Enter: a connection inside a transaction, whose account, who asks. Leave: the account as it is now, or
SignInRefused that says what is in the way. The portal and `pons user` both come here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from engine.people import authority
from engine.people.account import (
    checked_display_name,
    checked_username,
    new_token,
    person_of,
    stored,
    token_hash,
    told,
)
from engine.people.authority import Actor
from engine.people.office import record, refused
from engine.people_desk import Invitation
from engine.person import Membership, Person, PersonState, Role, SignInRefusedReason
from engine.store import people, sign_ins


@dataclass(frozen=True, slots=True)
class Register:
    """The accounts, in one transaction."""

    connection: Connection
    actor: Actor
    now: float
    knows_site: Callable[[str], bool]
    invitation_life: float

    def every(self) -> list[Person]:
        """Those that the actor may manage, by name, as far as they are his business."""
        found = (person_of(row, self.now) for row in people.every(self.connection))
        return [self._shown(one) for one in found if self.actor.manages(one)]

    def find(self, person_id: str) -> Person:
        """One of them; NOT_FOUND."""
        return self._shown(self._managed(person_id))

    def invite(
        self,
        username: str,
        display_name: str,
        memberships: Sequence[Membership],
        *,
        identity: str = "",
        issuer: str = "",
    ) -> Invitation:
        """A new person; or once more one who has not come yet, with these roles.

        Args:
            identity: how an outside provider names him; he needs no invitation then, and has no password.
            issuer: that provider.
        """
        people.alone(self.connection)
        name = checked_username(username)
        row = people.named(self.connection, name)
        before = person_of(row, self.now) if row is not None else None
        if before is not None and (before.state is not PersonState.INVITED or not self.actor.manages(before)):
            raise refused(SignInRefusedReason.CONFLICT, f"the username {name} is taken")
        if before is not None:  # whoever holds the invitation can be him, wherever he is somebody
            authority.check_whole(self.actor, before)
        roles = authority.given(
            self.actor, before.memberships if before else (), memberships, self.knows_site
        )
        if len(identity) > 255 or not identity.isprintable():
            raise refused(SignInRefusedReason.INVALID, "an identity has up to 255 printable characters")
        facts: dict[str, Any] = {
            "display_name": checked_display_name(display_name, name),
            "memberships": stored(roles),
            "identity_issuer": issuer if identity else "",
            "identity_expected": identity or None,
        }
        self._check_identity(facts["identity_expected"], name)
        if row is None:
            person_id = str(uuid.uuid4())
            facts |= {"created_at": self.now, "created_by": self.actor.name[:128]}
            if not people.add(self.connection, person_id=person_id, username=name, **facts):
                raise refused(SignInRefusedReason.CONFLICT, f"the username {name} is taken")
        else:
            person_id = row.person_id
            people.change(self.connection, person_id, **facts)
        detail = {"roles": told(roles), **({"by": "identity provider"} if identity else {})}
        self._record("person.invited", name, detail)
        return self._invitation(person_id, needed=not identity)

    def set_memberships(self, person_id: str, memberships: Sequence[Membership]) -> Person:
        """Other roles."""
        people.alone(self.connection)
        before = self._managed(person_id)
        roles = authority.given(self.actor, before.memberships, memberships, self.knows_site)
        people.change(self.connection, person_id, memberships=stored(roles))
        after = self._found(person_id)
        if not after.may_everywhere(Role.ADMIN):
            self._check_left(before)
        detail = {"before": told(before.memberships), "after": told(roles)}
        self._record("person.roles_changed", before.username, detail)
        return self._shown(after)

    def disable(self, person_id: str, *, reason: str = "") -> Person:
        """Shut somebody out, at once."""
        people.alone(self.connection)
        person = self._whole(person_id)
        if person.state is not PersonState.DISABLED:
            self._check_left(person)
            people.change(self.connection, person_id, disabled_at=self.now)
            people.drop_invitation(self.connection, person_id)
            ended = sign_ins.end_all(self.connection, person_id)
            detail = {"sessions_ended": ended, **({"reason": reason} if reason else {})}
            self._record("person.disabled", person.username, detail)
        return self.find(person_id)

    def enable(self, person_id: str) -> Person:
        """Let somebody in again; what he was locked for is forgotten."""
        people.alone(self.connection)
        person = self._whole(person_id)
        sign_ins.forget_tries_of(self.connection, person_id)
        if person.state is PersonState.DISABLED:
            people.change(self.connection, person_id, disabled_at=None)
            self._record("person.enabled", person.username, {})
        elif person.locked_until is not None:
            self._record("person.unlocked", person.username, {})
        return self.find(person_id)

    def reset(self, person_id: str) -> Invitation:
        """Forget what somebody signs in with; an invitation, or his next visit from outside, sets it anew."""
        people.alone(self.connection)
        person = self._whole(person_id)
        if person.state is PersonState.DISABLED:
            raise refused(SignInRefusedReason.CONFLICT, f"{person.username} is disabled: enable him first")
        people.change(
            self.connection, person_id, password_hash="", second_factor="", last_step=0, identity_subject=None
        )
        people.replace_codes(self.connection, person_id, ())
        sign_ins.forget_tries_of(self.connection, person_id)
        sign_ins.forget_places(self.connection, person_id)
        ended = sign_ins.end_all(self.connection, person_id)
        self._record("person.reset", person.username, {"sessions_ended": ended})
        return self._invitation(person_id, needed=person.identity == "password")

    def end_sessions(self, person_id: str) -> int:
        """Sign somebody out everywhere; how many sessions that were."""
        person = self._whole(person_id)
        ended = sign_ins.end_all(self.connection, person_id)
        self._record("person.sessions_ended", person.username, {"sessions_ended": ended})
        return ended

    # ── in common ───────────────────────────────────────────────────────────────────────────────

    def _found(self, person_id: str) -> Person:
        row = people.find(self.connection, person_id)
        if row is None:
            raise refused(SignInRefusedReason.NOT_FOUND, "no such person")
        return person_of(row, self.now)

    def _managed(self, person_id: str) -> Person:
        person = self._found(person_id)
        if not self.actor.manages(person):
            raise refused(SignInRefusedReason.NOT_FOUND, "no such person")
        return person

    def _whole(self, person_id: str) -> Person:
        person = self._managed(person_id)
        authority.check_whole(self.actor, person)
        return person

    def _shown(self, person: Person) -> Person:
        return authority.as_seen_by(self.actor, person)

    def _check_left(self, person: Person) -> None:
        """Somebody who manages everybody is left without this one."""
        everybody = [person_of(row, self.now) for row in people.every(self.connection)]
        authority.check_left(person, everybody)

    def _check_identity(self, identity: str | None, name: str) -> None:
        taken = identity is not None and any(
            row.identity_expected == identity and row.username != name
            for row in people.every(self.connection)
        )
        if taken:
            raise refused(SignInRefusedReason.CONFLICT, "somebody else has that identity")

    def _invitation(self, person_id: str, *, needed: bool) -> Invitation:
        person = self.find(person_id)
        if not needed:
            people.drop_invitation(self.connection, person_id)
            return Invitation(person, "", self.now)
        token, until = new_token(), self.now + self.invitation_life
        people.replace_invitation(self.connection, person_id, token_hash(token), until=until, now=self.now)
        return Invitation(person, token, until)

    def _record(self, action: str, username: str, detail: dict[str, Any]) -> None:
        record(self.connection, self.now, action, username, detail, actor=self.actor.name)
