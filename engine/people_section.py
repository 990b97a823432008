"""`people:` of a table: how people sign in, and how long they stay signed in.

Enter: plain data. Leave: typed settings. Who there is, and what each may do, is no part of the table: people
come and go while it stays (`pons user`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from engine.oauth_section import Issuer
from engine.settings import Duration, Secret, Settings

HOUR, DAY = 3600.0, 86400.0  # seconds


class LockOutSettings(Settings):
    """When somebody who guesses has to wait."""

    failures: int = Field(5, ge=3, le=20)
    """Wrong tries for one account after which it is locked for a while."""
    address_failures: int = Field(30, ge=5, le=1000)
    """Wrong tries from one address, for any accounts, after which it is locked for a while."""
    within: Duration = Field(900.0, examples=["15m"])
    """How long a wrong try counts."""
    first: Duration = Field(60.0, examples=["1m"])
    """How long the first lock lasts; each further one lasts twice as long."""
    longest: Duration = Field(3600.0, examples=["1h"])
    """The longest a lock lasts: none is for ever."""

    @model_validator(mode="after")
    def _check_order(self) -> LockOutSettings:
        if not 1.0 <= self.first <= self.longest <= DAY:
            raise ValueError("first must be at least 1s and no longer than longest, which is at most 24h")
        if not 60.0 <= self.within <= DAY:
            raise ValueError("within must be between 1m and 24h")
        return self


class OutsideSettings(Settings):
    """An outside identity provider (OpenID Connect) that people may sign in with."""

    name: str = Field("your organisation", min_length=1, max_length=60, examples=["St. Mary's"])
    """What people call it: "Sign in with …"."""
    issuer: Issuer = Field(examples=["https://login.st-marys.example"])
    """Its issuer; its addresses and keys are found below it (OpenID Connect Discovery)."""
    client_id: str = Field(min_length=1, max_length=255, examples=["pons"])
    """Who we are to it."""
    client_secret: Secret | None = Field(None, examples=[{"file": "secrets/oidc"}])
    """The secret that it gave us, by reference; none where we are a public client there."""
    username_claim: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_:/.-]{1,128}$")] = "preferred_username"
    """Claim of the ID token by which somebody who is invited is known at his first sign-in; or by `sub`."""
    scopes: tuple[str, ...] = Field(("openid", "profile", "email"), examples=[["openid", "profile"]])
    """What is asked for; `openid` always."""

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("must name openid")
        return scopes


class PeopleSettings(Settings):
    """`people:` how people sign in."""

    title: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^:%]*$")] = "Pons"
    """What an authenticator app calls this engine."""
    session_life: Duration = Field(HOUR, examples=["1h"])
    """How long somebody stays signed in, whatever he does meanwhile; at most 12h."""
    sessions: int = Field(10, ge=1, le=100)
    """On how many devices somebody may be signed in at once; one more ends the oldest."""
    invitation_life: Duration = Field(72 * HOUR, examples=["72h"])
    """How long an invitation is good; at most 30d."""
    password_length: int = Field(12, ge=12, le=64)
    """The fewest characters of a password."""
    key: Secret | None = Field(None, examples=[{"file": "secrets/people.key"}])
    """What enciphers the secrets of authenticators; a key is made in the data folder when absent."""
    lock_out: LockOutSettings = LockOutSettings()
    """After how many wrong tries somebody waits, and how long."""
    oidc: OutsideSettings | None = None
    """An outside identity provider that people may sign in with, beside passwords."""

    @field_validator("session_life")
    @classmethod
    def _check_session(cls, life: float) -> float:
        if not 300.0 <= life <= 12 * HOUR:
            raise ValueError("must be between 5m and 12h")
        return life

    @field_validator("invitation_life")
    @classmethod
    def _check_invitation(cls, life: float) -> float:
        if not HOUR <= life <= 30 * DAY:
            raise ValueError("must be between 1h and 30d")
        return life

    @property
    def key_file(self) -> Path | None:
        """The file of its key, where the table names one."""
        return self.key.file if self.key else None
