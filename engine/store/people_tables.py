"""The tables of those who sign in (`engine.people`): accounts, sessions, and what was tried.

Nothing here lets anybody in who reads it: passwords are argon2id, tokens and codes SHA-256 of random bits,
the secret of an authenticator is enciphered with a key that is not in the database.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from engine.store.metadata import metadata

people = Table(
    "people",
    metadata,
    Column("person_id", String(36), primary_key=True),
    Column("username", String(64), nullable=False, unique=True),  # in lower case
    Column("display_name", String(200), nullable=False),
    Column("memberships", JSON, nullable=False),  # [[role, site]]; no site: every site
    Column("password_hash", String(200), nullable=False, default=""),  # empty before it is chosen
    Column("second_factor", Text, nullable=False, default=""),  # enciphered; empty before enrolment
    Column("last_step", BigInteger, nullable=False, default=0),  # of the last code taken (RFC 6238 5.2)
    Column("identity_issuer", String(255), nullable=False, default=""),  # empty where by password
    Column("identity_expected", String(255), unique=True),  # how the provider will name him, until it has
    Column("identity_subject", String(255)),  # `sub` (OpenID Connect Core 2), once it has
    Column("created_at", Float, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("last_sign_in_at", Float),
    Column("disabled_at", Float),
    UniqueConstraint("identity_issuer", "identity_subject"),
)

person_sessions = Table(  # until they end; each is one device
    "person_sessions",
    metadata,
    Column("session_id", String(36), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("person_id", ForeignKey("people.person_id"), nullable=False, index=True),
    Column("stage", String(16), nullable=False),  # second_factor | enrolment | open
    Column("csrf_token", String(64), nullable=False),
    Column("remote_address", String(64), nullable=False),
    Column("signed_in_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("enrolling", Text, nullable=False, default=""),  # the enciphered secret that is to be confirmed
)

recovery_codes = Table(  # each until it is used
    "recovery_codes",
    metadata,
    Column("person_id", ForeignKey("people.person_id"), primary_key=True),
    Column("code_hash", String(64), primary_key=True),
)

invitations = Table(  # each until it is accepted, or its time is over
    "invitations",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.person_id"), nullable=False, unique=True),
    Column("until", Float, nullable=False, index=True),
)

sign_in_tries = Table(  # wrong tries that still count (`engine.people.lock_out`)
    "sign_in_tries",
    metadata,
    Column("kind", String(16), primary_key=True),  # person | name | address
    Column("key", String(160), primary_key=True),  # an id, a keyed digest of a name, a network
    Column("failures", JSON, nullable=False),  # times
    Column("locks", Integer, nullable=False),
    Column("locked_at", Float, nullable=False),
    Column("locked_until", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),  # when it counts no more
)

sign_in_places = Table(  # where somebody has signed in from lately: there he is not locked out by strangers
    "sign_in_places",
    metadata,
    Column("person_id", ForeignKey("people.person_id"), primary_key=True),
    Column("network", String(64), primary_key=True),
    Column("until", Float, nullable=False, index=True),
)

outside_states = Table(  # sign-ins with an outside provider that have come back, until none can be repeated
    "outside_states",
    metadata,
    Column("state_hash", String(64), primary_key=True),
    Column("until", Float, nullable=False, index=True),
)
