"""A client: a program of a site, what it may do, and how it proves that it is itself. Pure.

Enter: what `pons client add` was told. Leave: facts as they are stored. A secret is 256 random bits, so its
SHA-256 says nothing of it and needs no slow hash: there is no list of likely secrets to try
(docs/decisions/a-secret-is-random.md).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.bearer import SCOPES
from engine.errors import PonsError
from engine.finding import did_you_mean, shown

CLIENT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
PREFIX = "pons_"  # what scanners for secrets that were committed or mailed look for
SECRET_BYTES = 32
LONGEST_SECRET = 512  # characters that are compared

Method = Literal["client_secret", "private_key_jwt"]


@dataclass(frozen=True, slots=True)
class Client:
    """One client as it is stored."""

    client_id: str
    name: str
    site: str | None  # None: every site of the table
    scopes: tuple[str, ...]
    secret_hash: str = ""  # empty where it signs
    previous_hash: str = ""  # of the secret before, good until `previous_until`
    previous_until: float = 0.0
    keys: Sequence[Mapping[str, Any]] = ()  # its public keys (RFC 7517), where it signs
    created_at: float = 0.0
    created_by: str = ""
    revoked_at: float | None = None

    @property
    def method(self) -> Method:
        """How it proves that it is itself (RFC 7591 2, token_endpoint_auth_method)."""
        return "private_key_jwt" if self.keys else "client_secret"

    @property
    def reach(self) -> str:
        """Its site, for people."""
        return self.site if self.site is not None else "all sites"


def new_secret() -> str:
    """A secret nobody has had before; it needs no escaping in a header, a form or a shell."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_of(client_id: str, secret: str) -> str:
    """What is kept of a secret; the same secret of two clients is kept differently."""
    return hashlib.sha256(f"{client_id}\n{secret}".encode("utf-8", "replace")).hexdigest()


def secret_fits(client: Client, secret: str, now: float) -> bool:
    """Whether a secret is the client's, or the one before while that is honoured; in constant time."""
    told = hash_of(client.client_id, secret[:LONGEST_SECRET])
    fits = hmac.compare_digest(told, client.secret_hash or "-" * len(told))
    before = hmac.compare_digest(told, client.previous_hash or "-" * len(told))
    return fits or (before and now < client.previous_until)


NOBODY = Client("", "", None, (), secret_hash=hash_of("", new_secret()))
"""Stands for a client that there is not: comparing with it takes as long."""


def checked_id(client_id: str) -> str:
    """A client's identifier; PonsError when it is none."""
    if not CLIENT_ID.fullmatch(client_id):
        raise PonsError(f"{shown(client_id)} is no name: up to 64 lower-case letters, digits, - and _")
    return client_id


def checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Scopes in the order in which they are documented; PonsError names one that there is not."""
    for one in scopes:
        if one not in SCOPES:
            raise PonsError(f"no scope {shown(one)}{did_you_mean(one, SCOPES)}")
    if not scopes:
        raise PonsError(f"a client needs at least one scope: --scope {' | '.join(SCOPES)}")
    return tuple(one for one in SCOPES if one in scopes)
