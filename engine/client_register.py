"""The contract of managing clients of the API: the portal asks, `engine.oauth.managed_clients` answers.

Enter: who asks, and about which client. Leave: facts, never a secret that was given before; a new one is in
the answer that made it, this once. Every change is durable on return and on the audit trail in the person's
name. An admin of sites manages the clients of those; one that acts for all sites, or manages others, is made
by an admin of all. Calls raise `ClientRefused`, and `Busy` when the database is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from engine.errors import PonsError
from engine.person import Session


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A program that is let in by tokens, or was."""

    client_id: str
    name: str  # what people call it
    site: str | None  # None: every site of the table
    scopes: tuple[str, ...]
    method: str  # `client_secret`, or `private_key_jwt` where it signs
    key_ids: tuple[str, ...]  # of its public keys, where it signs
    created_at: float
    created_by: str
    last_token_at: float | None
    previous_until: float | None  # the secret before is honoured until then
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class SecretIssued:
    """A client with its new secret; it is kept nowhere. Empty where the client signs."""

    client: RegisteredClient
    secret: str


class ClientRefusedReason(StrEnum):
    """Why nothing was done about a client."""

    NOT_FOUND = "not_found"  # not here, or not among those that one may manage: 404
    INVALID = "invalid"  # a name, a scope or keys that cannot be: 422
    CONFLICT = "conflict"  # the name is taken, or the client was revoked: 409
    FORBIDDEN = "forbidden"  # not by this person: 403


class ClientRefused(PonsError):
    """Nothing was changed; the message says why and what to do."""

    def __init__(self, reason: ClientRefusedReason, message: str, field: str = "") -> None:
        """
        Args:
            field: which of the things that were asked for it is about; empty when it is none in particular.
        """
        super().__init__(message)
        self.reason = reason
        self.field = field


class ClientRegister(Protocol):
    """Where clients are made, given another secret, and revoked."""

    async def clients(self, *, actor: Session) -> Sequence[RegisteredClient]:
        """Those that the actor may manage, by name; those that were revoked last."""
        ...

    async def client(self, client_id: str, *, actor: Session) -> RegisteredClient:
        """One of them; ClientRefused(NOT_FOUND)."""
        ...

    async def add(
        self,
        client_id: str,
        *,
        name: str,
        site: str | None,
        scopes: Sequence[str],
        key_set: str = "",
        actor: Session,
    ) -> SecretIssued:
        """A new client.

        Args:
            site: where it belongs; None for every site, which is an admin's of all sites to give.
            key_set: its public keys (RFC 7517), where it signs; it has a secret otherwise.
        """
        ...

    async def rotate(self, client_id: str, *, keep: float, actor: Session) -> SecretIssued:
        """Another secret; the one before is honoured for ``keep`` seconds, 30 days at most."""
        ...

    async def revoke(self, client_id: str, reason: str, *, actor: Session) -> RegisteredClient:
        """No token any more, and none that it has is honoured, on every engine at once."""
        ...
