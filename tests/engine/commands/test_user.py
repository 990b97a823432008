"""`pons user`: who is invited, shown, given roles, shut out; an invitation once and never again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.audit import verify
from engine.people.account import token_hash
from engine.store import people as people_queries
from engine.store.database import SqliteDatabase
from engine.store.people_tables import invitations, people, person_sessions
from engine.store.tables import audit_events
from tests.engine.commands.desk_house import House

TABLE = """
version: 1
engine: {data: ./data, http: "127.0.0.1:8099"}
sites:
  st-marys: {addresses: [192.0.2.0/24]}
inbound:
  portal: {type: portal}
"""
OIDC = "people: {oidc: {issuer: 'https://login.example', client_id: pons}}\n"


@pytest.fixture
def desk(tmp_path: Path) -> House:
    """A table, and no engine that has run yet."""
    (tmp_path / "routes.yaml").write_text(TABLE)
    return House(tmp_path)


def opened(desk: House, work: Any) -> Any:
    database = SqliteDatabase(desk.folder / "data" / "pons.sqlite")
    try:
        assert database.read_now(verify) is None
        return database.write_now(work)
    finally:
        database.close()


def rows(desk: House, table: Any) -> list[Any]:
    return list(opened(desk, lambda c: c.execute(table.select()).all()))


def accept(desk: House, name: str = "ana") -> None:
    """Somebody has chosen his password: he is one who can sign in."""

    def work(connection: Any) -> None:
        row = people_queries.named(connection, name)
        assert row is not None
        people_queries.change(connection, row.person_id, password_hash="$argon2id$", second_factor="x")

    opened(desk, work)


def invite(desk: House, name: str = "ana", *options: str) -> dict[str, Any]:
    return dict(json.loads(desk.run("user", "invite", name, *(options or ("--role", "admin")), "--json")))


def test_the_first_admin_is_invited_before_the_engine_ever_ran(desk: House) -> None:
    assert "no database yet" in desk.refused("user")
    told = invite(desk, "Ana", "--role", "admin", "--name", "Ana  Silva\n")
    assert told["username"] == "ana"
    where, _, token = told["address"].rpartition("/")
    assert where == "http://127.0.0.1:8099/invitation"
    (invitation,) = rows(desk, invitations)
    assert invitation.token_hash == token_hash(token)
    (person,) = rows(desk, people)
    assert (person.display_name, person.memberships, person.password_hash) == (
        "Ana Silva", [["admin", None]], "",
    )  # fmt: skip
    assert invitation.until == person.created_at + 72 * 3600
    (event,) = rows(desk, audit_events)
    assert (event.action, event.subject, event.detail) == (
        "person.invited", "person ana", {"roles": ["admin"]},
    )  # fmt: skip
    assert "uid" in event.actor
    for command in (("user",), ("user", "show", "ana"), ("user", "show", "ana", "--json"), ("audit",)):
        assert token not in desk.run(*command)
    assert json.loads(desk.run("user", "list", "--json"))[0]["state"] == "invited"


def test_somebody_reads_where_to_go_and_how_long_that_is_good(desk: House) -> None:
    (desk.folder / "routes.yaml").write_text(
        TABLE.replace("8099", '8099", public_url: "https://pons.example/x').replace(
            "portal}", "portal, path: /p}"
        )
    )
    said = desk.run("user", "invite", "ben", "--role", "viewer@st-marys", "--role", "engineer")
    assert "ben is invited as engineer, viewer@st-marys" in said
    assert "address  https://pons.example/x/p/invitation/" in said
    assert "good once, until 20" in said


def test_an_invitation_is_given_anew_until_it_is_accepted(desk: House) -> None:
    first, second = invite(desk), invite(desk, "ana", "--role", "viewer")
    assert first["address"] != second["address"]
    assert len(rows(desk, invitations)) == 1
    assert rows(desk, people)[0].memberships == [["viewer", None]]
    accept(desk)
    assert "the username ana is taken" in desk.refused("user", "invite", "ana", "--role", "admin")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("ana", "--role", "amdin"), "no role 'amdin'; did you mean 'admin'?"),
        (("ana", "--role", "viewer@st-mary"), "no site 'st-mary'; did you mean 'st-marys'?"),
        (("ana", "--role", "viewer@"), "no site ''"),
        (("-ana-", "--role", "viewer"), "No such option"),
        (("ana silva", "--role", "viewer"), "a username has up to 64 letters"),
        (("a" * 65, "--role", "viewer"), "a username has up to 64 letters"),
        (("ana", "--role", "viewer", "--identity", "x"), "--identity needs an identity provider"),
    ],
)
def test_what_invites_nobody(desk: House, arguments: tuple[str, ...], reason: str) -> None:
    if reason == "No such option":
        assert reason in desk.run("user", "invite", *arguments, expect=2)
    else:
        assert reason in desk.refused("user", "invite", *arguments)
    assert not (desk.folder / "data" / "pons.sqlite").exists() or rows(desk, people) == []


def test_without_a_portal_there_is_nothing_to_be_invited_to(desk: House) -> None:
    (desk.folder / "routes.yaml").write_text(
        TABLE.replace("  portal: {type: portal}", "  web: {type: stow_rs}")
    )
    assert "no portal to sign in at; add `portal: {type: portal}`" in desk.refused(
        "user", "invite", "ana", "--role", "admin"
    )


def test_who_signs_in_elsewhere_is_sent_there(desk: House) -> None:
    (desk.folder / "routes.yaml").write_text(TABLE + OIDC)
    said = desk.run("user", "invite", "ana", "--role", "admin", "--identity", "ana@st-marys.example")
    assert "address  http://127.0.0.1:8099/\nhe signs in there with the identity provider" in said
    (row,) = rows(desk, people)
    assert (row.identity_issuer, row.identity_expected) == ("https://login.example", "ana@st-marys.example")
    assert rows(desk, invitations) == []
    assert "somebody else has that identity" in desk.refused(
        "user", "invite", "ben", "--role", "viewer", "--identity", "ana@st-marys.example"
    )


def test_roles_are_replaced_as_a_whole(desk: House) -> None:
    invite(desk)
    said = desk.run("user", "roles", "ana", "--role", "submitter@st-marys", "--role", "engineer@st-marys")
    assert said == "ana is now submitter@st-marys, engineer@st-marys\n"
    assert rows(desk, audit_events)[-1].detail == {
        "before": ["admin"],
        "after": ["submitter@st-marys", "engineer@st-marys"],
    }
    told = json.loads(desk.run("user", "roles", "ana", "--role", "viewer", "--json"))
    assert told["roles"] == "viewer"
    assert "nobody is called 'bna'" in desk.refused("user", "roles", "bna", "--role", "viewer")


def test_somebody_who_manages_everybody_is_left(desk: House) -> None:
    invite(desk)
    accept(desk)
    invite(desk, "ben")  # has not come yet
    for command in (("roles", "ana", "--role", "viewer"), ("disable", "ana", "--reason", "left", "--yes")):
        assert "ana is the last admin of all sites who can sign in" in desk.refused("user", *command)
    accept(desk, "ben")
    desk.run("user", "disable", "ana", "--reason", "left", "--yes")
    assert "ben is the last admin" in desk.refused("user", "disable", "ben", "--reason", "left", "--yes")


def test_nothing_is_done_before_it_is_said(desk: House) -> None:
    invite(desk)
    accept(desk)
    invite(desk, "ben")
    accept(desk, "ben")
    for command in (("disable", "ana", "--reason", "left"), ("reset", "ana")):
        assert "add --yes to do it" in desk.run("user", *command)
    (ana, _) = rows(desk, people)
    assert (ana.disabled_at, ana.password_hash) == (None, "$argon2id$")


def test_who_is_disabled_is_out_until_enabled(desk: House) -> None:
    invite(desk, "ana", "--role", "viewer")
    accept(desk)
    begin(desk)
    assert "192.0.2.7" in desk.run("user", "sessions", "ana")
    assert desk.run("user", "disable", "ana", "--reason", "left", "--yes") == "ana is disabled\n"
    assert rows(desk, person_sessions) == []
    assert rows(desk, audit_events)[-1].detail == {"sessions_ended": 1, "reason": "left"}
    assert "is disabled: enable him first" in desk.refused("user", "reset", "ana", "--yes")
    assert desk.run("user", "enable", "ana") == "ana may sign in\n"
    assert json.loads(desk.run("user", "show", "ana", "--json"))["state"] == "active"


def test_a_reset_forgets_password_and_authenticator_and_invites(desk: House) -> None:
    invite(desk)
    accept(desk)
    begin(desk)
    told = json.loads(desk.run("user", "reset", "ana", "--yes", "--json"))
    (row,) = rows(desk, people)
    assert (row.password_hash, row.second_factor) == ("", "")
    assert rows(desk, person_sessions) == []
    assert rows(desk, invitations)[0].token_hash == token_hash(told["address"].rpartition("/")[2])


def test_somebody_is_signed_out_everywhere(desk: House) -> None:
    invite(desk)
    accept(desk)
    begin(desk)
    told = json.loads(desk.run("user", "sessions", "ana", "--json"))
    assert [(one["address"], one["step"]) for one in told] == [("192.0.2.7", "open")]
    assert desk.run("user", "sessions", "ana", "--end") == "1 sessions ended\n"
    assert desk.run("user", "sessions", "ana") == "signed in nowhere\n"
    assert rows(desk, audit_events)[-1].action == "person.sessions_ended"


def begin(desk: House) -> None:
    """He is signed in."""

    def work(connection: Any) -> None:
        row = people_queries.named(connection, "ana")
        assert row is not None
        connection.execute(
            person_sessions.insert().values(
                session_id="s-1", token_hash="t", person_id=row.person_id, stage="open", csrf_token="c",
                remote_address="192.0.2.7", signed_in_at=row.created_at, expires_at=row.created_at + 3600,
                enrolling="",
            )
        )  # fmt: skip

    opened(desk, work)
