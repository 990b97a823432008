"""Signing in: a name and a password, then a one-time code (NIST SP 800-63B AAL2).

Each step is counted before it is looked at (`engine.people.tries`), ends on the audit trail, and gives
another token. What is wrong is never said; a name that nobody has costs the same time as one that somebody
has, and is not written down: it may be a password in the wrong field.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from engine.oauth.patience import network_of
from engine.people import sessions, tries
from engine.people.account import USERNAME, person_of, spelled
from engine.people.office import Office, expired, record, refused
from engine.people.one_time_code import recovery_hash, step_of, typed
from engine.people.tries import Charge
from engine.person import Issued, SignInRefused, SignInRefusedReason, Stage
from engine.store import people

_WRONG_PASSWORD = "username or password is wrong"  # noqa: S105 the words of a refusal
_WRONG_CODE = "that code is not good: each is good once, and for about a minute"


class SignIn:
    """The steps, on one engine."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def first(self, username: str, password: str, remote_address: str) -> Issued:
        """A password; the session is at its second step."""
        office, now = self._office, self._office.clock.now()
        row, charged = await charge_name(office, spelled(username), remote_address, now)
        if not await self.fits(row, password):
            await self.was_wrong(row, charged, "password", remote_address)
            raise refused(SignInRefusedReason.WRONG, _WRONG_PASSWORD)
        renewed = await office.hashes.make(password) if office.hashes.outdated(row.password_hash) else None

        def work(connection: Connection) -> Issued:
            found = people.find(connection, row.person_id)
            if found is None or found.disabled_at is not None or found.password_hash != row.password_hash:
                raise refused(SignInRefusedReason.WRONG, _WRONG_PASSWORD)  # changed while it was compared
            if renewed is not None:
                people.change(connection, row.person_id, password_hash=renewed)
            tries.was_right(connection, office.settings.lock_out, charged, now)
            stage = Stage.SECOND_FACTOR if found.second_factor else Stage.ENROLMENT
            made = sessions.begin(
                connection, office.settings, person_of(found, now), stage, remote_address, now
            )
            detail = {"remote_address": remote_address, "next": stage.value}
            record(connection, now, "person.password_accepted", found.username, detail)
            return made

        return await office.write(work)

    async def second(self, token: str, code: str, remote_address: str) -> Issued:
        """A one-time code or a recovery code; the session is open."""
        office, now = self._office, self._office.clock.now()

        def work(connection: Connection) -> Issued | None:
            session, row = sessions.at(connection, token, Stage.SECOND_FACTOR, now)
            charged = charge_person(connection, office, row, remote_address, now)
            how = _code_of(connection, office, row, typed(code), now)
            if how is None:
                write_down(connection, office, row, charged, "second factor", remote_address, now)
                return None
            return opened(
                connection, office, session, row, charged, {"second_factor": how}, remote_address, now
            )

        made: Issued | None = await self.told(office.write(work), remote_address)
        if made is None:
            raise refused(SignInRefusedReason.WRONG, _WRONG_CODE)
        return made

    async def fits(self, row: Any, password: str) -> bool:
        """Whether a password is somebody's who may sign in by one; it takes as long where it is nobody's."""
        able = row is not None and row.disabled_at is None
        return await self._office.hashes.fits(row.password_hash if able else "", password)

    async def was_wrong(self, row: Any, charged: Charge, what: str, remote_address: str) -> None:
        """Write down a try that was wrong."""
        office, now = self._office, self._office.clock.now()
        reason = "disabled" if row is not None and row.disabled_at is not None else what
        await office.write(lambda c: write_down(c, office, row, charged, reason, remote_address, now))
        if row is None:
            office.stranger("person", remote_address)

    async def told(self, work: Any, remote_address: str) -> Any:
        """What a step gives; who comes too often is counted."""
        try:
            return await work
        except SignInRefused as refusal:
            if refusal.reason is SignInRefusedReason.LOCKED:
                self._office.stranger("too often", remote_address)
            raise


async def charge_name(office: Office, name: str, remote_address: str, now: float) -> tuple[Any, Charge]:
    """The row of a name, None where nobody has it, and the try that is now counted; raises LOCKED."""

    def work(connection: Connection) -> tuple[Any, Charge]:
        row = people.named(connection, name) if USERNAME.fullmatch(name) else None
        return row, _charge(connection, office, row, name, remote_address, now)

    try:
        return await office.write(work)
    except SignInRefused:
        office.stranger("too often", remote_address)
        raise


def charge_person(
    connection: Connection, office: Office, row: Any, remote_address: str, now: float
) -> Charge:
    """Count a try for somebody who has come further already; raises LOCKED."""
    return _charge(connection, office, row, "", remote_address, now)


def _charge(
    connection: Connection, office: Office, row: Any, name: str, remote_address: str, now: float
) -> Charge:
    digest = office.key.digest("name", name).hex()
    network = network_of(remote_address)[:64]
    return tries.charge(connection, office.settings.lock_out, row, digest, network, now)


def write_down(
    connection: Connection,
    office: Office,
    row: Any,
    charged: Charge,
    reason: str,
    remote_address: str,
    now: float,
) -> None:
    """A wrong try counts, and is on the trail with the account that it was for, if that is one."""
    locked_until = tries.was_wrong(connection, office.settings.lock_out, charged, now)
    if row is None:
        return
    detail: dict[str, Any] = {"reason": reason, "remote_address": remote_address}
    if locked_until is not None:
        detail["locked_for"] = round(locked_until - now)
    record(connection, now, "person.sign_in_refused", row.username, detail, actor=remote_address or "unknown")


def opened(
    connection: Connection,
    office: Office,
    session: Any,
    row: Any,
    charged: Charge | None,
    how: dict[str, Any],
    remote_address: str,
    now: float,
) -> Issued:
    """The last step: somebody is in, under a new token."""
    people.change(connection, row.person_id, last_sign_in_at=now)
    tries.signed_in(connection, row.person_id, network_of(remote_address)[:64], now, charged)
    person = sessions.renewed_person(connection, row.person_id, now)
    made = sessions.renew(connection, office.settings, session, person, Stage.OPEN, now)
    detail = {**how, "remote_address": remote_address, "session": made.session.session_id}
    record(connection, now, "person.signed_in", row.username, detail)
    return made


def _code_of(connection: Connection, office: Office, row: Any, code: str, now: float) -> str | None:
    """What a code is, used up; None where it is nothing."""
    if not row.second_factor:
        raise expired()  # it was reset meanwhile
    step = step_of(office.key.deciphered(row.second_factor), code, now)
    if step is not None and people.take_step(connection, row.person_id, step):
        return "authenticator"
    if people.use_code(connection, row.person_id, recovery_hash(row.person_id, code)):
        left = people.codes_left(connection, row.person_id)
        record(connection, now, "person.recovery_code_used", row.username, {"left": left})
        return "recovery code"
    return None
