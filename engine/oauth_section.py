"""`oauth:` of a table: in whose name access tokens are issued, for how long, and with which keys.

Enter: plain data. Leave: typed settings, and the issuer (RFC 8414 2) that they mean. Clients are no part of
the table: they come and go while it stays (`pons client`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from engine.settings import Duration, Secret, Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LONGEST_LIFE = 24 * 3600.0  # seconds


def _check_issuer(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w.~-]+)*/?", value, re.ASCII):
        raise ValueError("must be an address such as https://pons.example, without user, query or fragment")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must begin with https://: who reads a token on its way can use it")
    return value.rstrip("/")


Issuer = Annotated[str, AfterValidator(_check_issuer)]


class OAuthSettings(Settings):
    """`oauth:` who is let in by a token, and how long."""

    issuer: Issuer | None = Field(None, examples=["https://pons.example"])
    """Where clients reach this server; `engine.public_url`, else `engine.http`, when absent."""
    token_life: Duration = Field(3600.0, examples=["1h"])
    """How long an access token is good; at most 24h."""
    signing_key: Secret | None = Field(None, examples=[{"file": "secrets/oauth.pem"}])
    """PEM of the private key (EC P-256) that signs; one is made in the data folder when absent."""
    verifying_keys: tuple[Secret, ...] = Field((), examples=[[{"file": "secrets/oauth-before.pem"}]])
    """PEM of keys, private or public, that are honoured besides: of before a rotation, or of after."""

    @field_validator("token_life")
    @classmethod
    def _check_life(cls, life: float) -> float:
        if not 60.0 <= life <= LONGEST_LIFE:
            raise ValueError("must be between 1m and 24h")
        return life

    @field_validator("verifying_keys")
    @classmethod
    def _check_number(cls, keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
        if len(keys) > 8:
            raise ValueError("at most 8 keys are honoured at once")
        return keys

    @property
    def key_files(self) -> tuple[Path, ...]:
        """The files among its keys."""
        return tuple(one.file for one in (self.signing_key, *self.verifying_keys) if one and one.file)


def issuer_of(settings: OAuthSettings, public_url: str | None, http: str) -> str:
    """The issuer: as the table says, else where receivers reach the server, else where it listens."""
    return settings.issuer or public_url or f"http://{http}"


def travels_in_clear(issuer: str) -> bool:
    """Whether secrets and tokens would leave this machine without TLS."""
    parts = urlsplit(issuer)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK
