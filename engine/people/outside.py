"""Signing in with an outside identity provider: code flow, PKCE S256, nonce, state (OpenID Connect Core 3.1).

A state is random, carries its end and the address to come back to under a digest that only our key makes, and
is good once: that it came back is in the database, so nobody fills it by beginning. Nonce and code verifier
are made of the state by the same key: nothing is kept of a sign-in that has only begun.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from typing import Any
from urllib.parse import urlencode, urlsplit

from sqlalchemy import Connection

from engine.errors import Busy
from engine.oauth.patience import network_of
from engine.people import id_token, sessions, sign_in, tries
from engine.people.account import person_of
from engine.people.id_token import Expected, Identity, NoIdentity
from engine.people.identity_provider import IdentityProvider, ProviderAway
from engine.people.office import Office, record, refused
from engine.people.tries import Charge
from engine.people_desk import OutsideSignIn
from engine.person import Issued, SignInRefusedReason, Stage
from engine.store import people, sign_ins

logger = logging.getLogger("pons.people")

LIFE = 600  # seconds from beginning to coming back
_STATE = re.compile(r"[\w-]{43}\.[0-9]{1,12}\.[\w-]{43}", re.ASCII)
LONGEST_CODE = 4096  # characters


class Outside:
    """Sign-ins with the provider of the table, on one engine."""

    def __init__(self, office: Office) -> None:
        assert office.settings.oidc is not None
        self._office = office
        self._settings = office.settings.oidc
        self._provider = IdentityProvider(self._settings)

    async def begin(self, redirect_uri: str) -> OutsideSignIn:
        """Where to send somebody; Busy when the provider is away."""
        try:
            endpoint = (await self._provider.endpoints()).authorization
        except ProviderAway as error:
            raise self._away(error) from None
        state = self._new_state(redirect_uri)
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": self._made_of(state, "nonce"),
            "code_challenge": _base64url(hashlib.sha256(self._made_of(state, "verifier").encode()).digest()),
            "code_challenge_method": "S256",
        }
        mark = "&" if urlsplit(endpoint).query else "?"
        return OutsideSignIn(endpoint + mark + urlencode(asked), state)

    async def complete(self, state: str, code: str, redirect_uri: str, remote_address: str) -> Issued:
        """Whoever came back is in, where the provider says who he is and he is somebody here."""
        office, now = self._office, self._office.clock.now()
        until = self._until(state, redirect_uri, now)
        if until is None:
            raise self._over()
        network = network_of(remote_address)[:64]
        digest = hashlib.sha256(state.encode()).hexdigest()

        def begin(connection: Connection) -> Charge:
            if not sign_ins.use_state(connection, digest, until=until, now=now):
                raise self._over()
            return tries.looked_at(connection, network, now)

        charged = await office.write(begin)
        try:
            identity = await self._identity(state, code, redirect_uri)
        except ProviderAway as error:
            raise self._away(error) from None
        except NoIdentity as error:
            logger.warning("a sign-in from outside was refused", extra={"pons": {"reason": str(error)}})
            await office.write(lambda c: tries.was_wrong(c, office.settings.lock_out, charged, now))
            office.stranger("identity", remote_address)
            raise self._nobody() from None

        def work(connection: Connection) -> Issued | None:
            row = self._person(connection, identity, now)
            if row is None or row.disabled_at is not None:
                sign_in.write_down(connection, office, row, charged, "disabled", remote_address, now)
                return None
            tries.signed_in(connection, row.person_id, network, now, None)
            people.change(connection, row.person_id, last_sign_in_at=now)
            person = person_of(people.find(connection, row.person_id), now)
            made = sessions.begin(connection, office.settings, person, Stage.OPEN, remote_address, now)
            detail = {"identity": self._settings.issuer, "remote_address": remote_address}
            detail["session"] = made.session.session_id
            record(connection, now, "person.signed_in", row.username, detail)
            return made

        made = await office.write(work)
        if made is None:
            office.stranger("identity", remote_address)
            raise self._nobody()
        return made

    async def _identity(self, state: str, code: str, redirect_uri: str) -> Identity:
        if not 0 < len(code) <= LONGEST_CODE:
            raise NoIdentity("no code")
        token = await self._provider.id_token(code, self._made_of(state, "verifier"), redirect_uri)
        keys = await self._provider.keys(id_token.key_id(token))
        settings, nonce = self._settings, self._made_of(state, "nonce")
        issuer = (await self._provider.endpoints()).issuer
        expected = Expected(issuer, settings.client_id, nonce, settings.username_claim)
        return id_token.read(token, keys, expected, self._office.clock.now())

    def _person(self, connection: Connection, identity: Identity, now: float) -> Any:
        """Who has an identity: bound to him, or his from now on because he was invited as such."""
        row = people.identified(connection, self._settings.issuer, identity.subject)
        if row is not None:
            return row
        for name in (identity.subject, identity.name):
            row = people.expected(connection, self._settings.issuer, name) if name else None
            if row is not None and row.disabled_at is None:
                people.change(connection, row.person_id, identity_subject=identity.subject)
                detail = {"identity": self._settings.issuer}
                record(connection, now, "person.identity_bound", row.username, detail)
                return row
        return None

    # ── the state ───────────────────────────────────────────────────────────────────────────────

    def _new_state(self, redirect_uri: str) -> str:
        begun = f"{secrets.token_urlsafe(32)}.{int(self._office.clock.now()) + LIFE}"
        return f"{begun}.{self._seal(begun, redirect_uri)}"

    def _until(self, state: str, redirect_uri: str, now: float) -> float | None:
        """When a state ends; None where it is none of ours, or has ended."""
        if not _STATE.fullmatch(state):
            return None
        begun, _, seal = state.rpartition(".")
        until = float(begun.rpartition(".")[2])
        ours = hmac.compare_digest(seal, self._seal(begun, redirect_uri))
        return until if ours and now < until else None

    def _seal(self, begun: str, redirect_uri: str) -> str:
        return _base64url(self._office.key.digest("state", f"{begun}\n{redirect_uri}"))

    def _made_of(self, state: str, what: str) -> str:
        return _base64url(self._office.key.digest(what, state))

    # ── refusals ────────────────────────────────────────────────────────────────────────────────

    def _away(self, error: ProviderAway) -> Busy:
        logger.error("the identity provider is away", extra={"pons": {"reason": str(error)}})
        return Busy(f"{self._settings.name} cannot be asked who you are: try again in a moment")

    def _over(self) -> Exception:
        return refused(SignInRefusedReason.EXPIRED, "this sign-in is over: begin again")

    def _nobody(self) -> Exception:
        words = f"{self._settings.name} names nobody who may sign in here: ask whoever manages people"
        return refused(SignInRefusedReason.WRONG, words)


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
