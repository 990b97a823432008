"""What somebody signs in with: chosen at an invitation, enrolled, changed, renewed by himself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from engine.people import sessions, tries
from engine.people.account import person_of, token_hash
from engine.people.office import Office, record, refused
from engine.people.one_time_code import (
    address_of,
    new_recovery_codes,
    new_secret,
    recovery_hash,
    step_of,
    typed,
)
from engine.people.password_rules import checked
from engine.people.sign_in import SignIn, charge_person, opened, write_down
from engine.people_desk import Enrolment
from engine.person import Issued, Person, SignInRefusedReason, Stage
from engine.store import people, sign_ins

_WRONG_CODE = "that code is not good: look whether the clock of your device is right, and type the next one"
_NO_INVITATION = "this invitation is over, or was used: ask for another"


class Credentials:
    """Passwords, authenticators and recovery codes, on one engine."""

    def __init__(self, office: Office, sign_in: SignIn) -> None:
        self._office = office
        self._sign_in = sign_in

    # ── invitation ──────────────────────────────────────────────────────────────────────────────

    async def invited(self, invitation: str) -> Person:
        """Who an invitation is for."""
        now = self._office.clock.now()
        row = await self._office.read(lambda c: people.invited(c, token_hash(invitation), now))
        if row is None or row.disabled_at is not None:
            raise refused(SignInRefusedReason.EXPIRED, _NO_INVITATION)
        return person_of(row, now)

    async def accept(self, invitation: str, password: str, remote_address: str) -> Issued:
        """Choose a password by an invitation, which is used up; the second factor is next."""
        office, now = self._office, self._office.clock.now()
        person = await self.invited(invitation)
        chosen = checked(password, person.username, office.settings.password_length)
        kept = await office.hashes.make(chosen)

        def work(connection: Connection) -> Issued:
            row = people.invited(connection, token_hash(invitation), now)
            if (
                row is None
                or row.disabled_at is not None
                or not people.accept(connection, token_hash(invitation))
            ):
                raise refused(SignInRefusedReason.EXPIRED, _NO_INVITATION)
            people.change(connection, row.person_id, password_hash=kept)
            sign_ins.end_all(connection, row.person_id)
            accepted = sessions.renewed_person(connection, row.person_id, now)
            stage = Stage.SECOND_FACTOR if row.second_factor else Stage.ENROLMENT
            made = sessions.begin(connection, office.settings, accepted, stage, remote_address, now)
            detail = {"remote_address": remote_address}
            record(connection, now, "person.invitation_accepted", row.username, detail)
            return made

        return await office.write(work)

    # ── second factor ───────────────────────────────────────────────────────────────────────────

    async def enrolment(self, token: str) -> Enrolment:
        """The secret that a session is about to confirm."""
        office, now = self._office, self._office.clock.now()

        def work(connection: Connection) -> tuple[str, str]:
            session, row = sessions.at(connection, token, Stage.ENROLMENT, now)
            if session.enrolling:
                return office.key.deciphered(session.enrolling), row.username
            secret = new_secret()
            sign_ins.change(connection, session.token_hash, enrolling=office.key.enciphered(secret))
            return secret, row.username

        secret, username = await office.write(work)
        return Enrolment(secret, address_of(secret, username, office.settings.title))

    async def enrol(self, token: str, code: str, remote_address: str) -> tuple[Issued, Sequence[str]]:
        """Confirm it by a code; the session is open, and every other one of the person is over."""
        office, now = self._office, self._office.clock.now()
        codes = new_recovery_codes()

        def work(connection: Connection) -> Issued | None:
            session, row = sessions.at(connection, token, Stage.ENROLMENT, now)
            charged = charge_person(connection, office, row, remote_address, now)
            secret = office.key.deciphered(session.enrolling) if session.enrolling else ""
            step = step_of(secret, typed(code), now) if secret else None
            if step is None:
                write_down(connection, office, row, charged, "enrolment", remote_address, now)
                return None
            people.change(connection, row.person_id, second_factor=session.enrolling, last_step=step)
            people.replace_codes(
                connection, row.person_id, [recovery_hash(row.person_id, one) for one in codes]
            )
            sign_ins.end_all(connection, row.person_id, but=session.token_hash)
            detail = {"remote_address": remote_address}
            record(connection, now, "person.second_factor_enrolled", row.username, detail)
            how = {"second_factor": "authenticator"}
            return opened(connection, office, session, row, charged, how, remote_address, now)

        made = await self._sign_in.told(office.write(work), remote_address)
        if made is None:
            raise refused(SignInRefusedReason.WRONG, _WRONG_CODE)
        return made, codes

    async def new_recovery_codes(self, token: str, code: str, remote_address: str) -> Sequence[str]:
        """Other recovery codes, for a code of the authenticator."""
        office, now = self._office, self._office.clock.now()
        codes = new_recovery_codes()

        def work(connection: Connection) -> bool:
            _, row = sessions.at(connection, token, Stage.OPEN, now)
            if not row.second_factor:
                raise refused(SignInRefusedReason.INVALID, "there is no authenticator of this account here")
            charged = charge_person(connection, office, row, remote_address, now)
            step = step_of(office.key.deciphered(row.second_factor), typed(code), now)
            if step is None or not people.take_step(connection, row.person_id, step):
                write_down(connection, office, row, charged, "second factor", remote_address, now)
                return False
            tries.was_right(connection, office.settings.lock_out, charged, now)
            people.replace_codes(
                connection, row.person_id, [recovery_hash(row.person_id, one) for one in codes]
            )
            detail = {"remote_address": remote_address}
            record(connection, now, "person.recovery_codes_replaced", row.username, detail)
            return True

        if not await self._sign_in.told(office.write(work), remote_address):
            raise refused(SignInRefusedReason.WRONG, _WRONG_CODE)
        return codes

    # ── password ────────────────────────────────────────────────────────────────────────────────

    async def change_password(self, token: str, old: str, new: str, remote_address: str) -> Issued:
        """Another password; every other session of the person is over, and this one has another token."""
        office, now = self._office, self._office.clock.now()
        _, row = await office.read(lambda c: sessions.at(c, token, Stage.OPEN, now))
        if not row.password_hash:
            raise refused(
                SignInRefusedReason.INVALID, "your password is kept by your organisation: change it there"
            )
        chosen = checked(new, row.username, office.settings.password_length)
        charged = await self._sign_in.told(
            office.write(lambda c: charge_person(c, office, row, remote_address, now)), remote_address
        )
        if not await self._sign_in.fits(row, old):
            await self._sign_in.was_wrong(row, charged, "password", remote_address)
            raise refused(SignInRefusedReason.WRONG, "that is not your present password")
        if await office.hashes.fits(row.password_hash, chosen):
            await office.write(lambda c: tries.was_right(c, office.settings.lock_out, charged, now))
            raise refused(SignInRefusedReason.WEAK, "that is your present password: choose another")
        kept = await office.hashes.make(chosen)

        def work(connection: Connection) -> Issued:
            session, present = sessions.at(connection, token, Stage.OPEN, now)
            if present.password_hash != row.password_hash:
                raise refused(SignInRefusedReason.WRONG, "that is not your present password")
            people.change(connection, row.person_id, password_hash=kept)
            people.drop_invitation(connection, row.person_id)
            tries.was_right(connection, office.settings.lock_out, charged, now)
            sign_ins.end_all(connection, row.person_id, but=session.token_hash)
            person = sessions.renewed_person(connection, row.person_id, now)
            made = sessions.renew(connection, office.settings, session, person, Stage.OPEN, now)
            detail: dict[str, Any] = {"remote_address": remote_address}
            record(connection, now, "person.password_changed", row.username, detail)
            return made

        return await office.write(work)
