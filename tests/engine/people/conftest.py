"""A desk on a real database, whose clock moves when the test says so, and an authenticator app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from engine.audit import verify
from engine.people.account import person_of
from engine.people.authority import Actor
from engine.people.desk import Desk
from engine.people.key import Key
from engine.people.office import Office
from engine.people.password_hash import PasswordHash
from engine.people.register import Register
from engine.people_desk import Invitation
from engine.people_section import PeopleSettings
from engine.person import Issued, Membership, Person, Role, Stage
from engine.store import people
from engine.store.database import Database
from engine.store.people_tables import people as people_table
from engine.store.tables import audit_events
from engine.strangers import Strangers

FERNET = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PASSWORD = "violet harbour sings loudly"
HERE, ELSEWHERE = "192.0.2.7", "198.51.100.9"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
SITES = ("st-marys", "st-johns")


@dataclass
class Somebody:
    """Somebody who is signed in, with what he holds."""

    issued: Issued
    app: pyotp.TOTP
    codes: tuple[str, ...]
    password: str = PASSWORD

    @property
    def token(self) -> str:
        return self.issued.token

    @property
    def person(self) -> Person:
        return self.issued.session.person


@dataclass
class House:
    """The desk and what stands behind it."""

    database: Database
    clock: Any
    settings: PeopleSettings = field(default_factory=PeopleSettings)
    hasher: PasswordHasher = CHEAP
    sites: set[str] = field(default_factory=lambda: set(SITES))
    key: str = FERNET

    def __post_init__(self) -> None:
        self.strangers = Strangers(self.database, self.clock)
        self.desk = self.another()

    def another(self, **changed: Any) -> Desk:
        """A desk of another engine on the same database."""
        house = replace_fields(self, changed)
        office = Office(
            house.settings, self.database, self.clock, Key([house.key]), self.strangers,
            self.sites.__contains__, PasswordHash(house.hasher),
        )  # fmt: skip
        return Desk(office)

    def register(self, connection: Any, sites: set[str] | None = None) -> Register:
        """What the command line does it by: as everybody's admin, or as one of some sites."""
        actor = Actor("root (uid 0)", sites)
        return Register(connection, actor, self.clock.now(), self.sites.__contains__, 72 * 3600.0)

    async def invite(
        self, name: str = "ana", role: Role = Role.ADMIN, site: str | None = None, identity: str = ""
    ) -> Invitation:
        """An invitation that the command line has made."""
        issuer = self.settings.oidc.issuer if self.settings.oidc else ""
        return await self.database.write(
            lambda c: self.register(c).invite(
                name, "", [Membership(role, site)], identity=identity, issuer=issuer
            )
        )

    async def enter(
        self, name: str = "ana", role: Role = Role.ADMIN, site: str | None = None, password: str = PASSWORD
    ) -> Somebody:
        """Somebody new, invited, enrolled and signed in."""
        invitation = await self.invite(name, role, site)
        accepted = await self.desk.accept_invitation(invitation.token, password, HERE)
        assert accepted.session.stage is Stage.ENROLMENT
        app = pyotp.TOTP((await self.desk.enrolment(accepted.token)).secret)
        issued, codes = await self.desk.enrol(accepted.token, app.at(self.clock.now()), HERE)
        return Somebody(issued, app, tuple(codes), password)

    async def again(self, somebody: Somebody, address: str = HERE) -> Somebody:
        """The same person, signed in once more on another device."""
        self.clock.advance(60.0)  # a code of his that was not used yet
        first = await self.desk.sign_in(somebody.person.username, somebody.password, address)
        code = somebody.app.at(self.clock.now())
        return replace(somebody, issued=await self.desk.second_factor(first.token, code, address))

    def person(self, name: str) -> Person:
        """Somebody as he is stored now."""
        row = self.database.read_now(lambda c: people.named(c, name))
        assert row is not None
        return person_of(row, self.clock.now())

    def rows(self, table: Any = people_table) -> list[Any]:
        return list(self.database.read_now(lambda c: c.execute(select(table)).all()))

    def trail(self, action: str = "") -> list[Any]:
        """The events of an action, or all of them; the chain holds."""
        assert self.database.read_now(verify) is None
        events = self.database.read_now(
            lambda c: c.execute(select(audit_events).order_by(audit_events.c.id)).all()
        )
        return [one for one in events if action in ("", one.action)]


def replace_fields(house: House, changed: dict[str, Any]) -> Any:
    """The facts of a house, some of them others."""
    facts = {name: getattr(house, name) for name in ("settings", "hasher", "key")}
    return type("Facts", (), {**facts, **changed})


@pytest.fixture
def house(database: Database, clock: Any) -> House:
    return House(database, clock)


@pytest.fixture
def together() -> Callable[..., Any]:
    """A function that runs many at once and gives what each gave or raised."""

    async def run(*work: Any) -> list[Any]:
        return list(await asyncio.gather(*work, return_exceptions=True))

    return run
