"""`pons client`: what each command makes, shows and refuses; a secret once and never again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.audit import verify
from engine.oauth.client import hash_of
from engine.store.database import SqliteDatabase
from engine.store.tables import audit_events, clients
from tests.engine.commands.desk_house import House
from tests.engine.oauth.conftest import Signer

TABLE = """
version: 1
engine: {data: ./data}
sites:
  st-marys: {addresses: [192.0.2.0/24]}
"""


@pytest.fixture
def desk(tmp_path: Path) -> House:
    """A table, and no engine that has run yet."""
    (tmp_path / "routes.yaml").write_text(TABLE)
    return House(tmp_path)


def rows(desk: House, table: Any) -> list[Any]:
    database = SqliteDatabase(desk.folder / "data" / "pons.sqlite")
    try:
        assert database.read_now(verify) is None
        return list(database.read_now(lambda c: c.execute(table.select()).all()))
    finally:
        database.close()


def add(desk: House, *options: str) -> Any:
    said = desk.run("client", "add", "his", "--scope", "orders:read", *(options or SITE), "--json")
    return json.loads(said)


SITE = ("--site", "st-marys")


def test_a_client_is_made_before_the_engine_ever_ran_and_its_secret_is_not_kept(desk: House) -> None:
    told = add(desk)
    assert (told["client_id"], told["site"], told["scopes"]) == ("his", "st-marys", ["orders:read"])
    (row,) = rows(desk, clients)
    assert row.secret_hash == hash_of("his", told["client_secret"])
    assert told["client_secret"] not in str(row)
    for command in (("client",), ("client", "show", "his"), ("audit",)):
        assert told["client_secret"] not in desk.run(*command)
    (event,) = rows(desk, audit_events)
    assert (event.action, event.subject) == ("client added", "client his")
    assert event.detail == {"site": "st-marys", "scopes": ["orders:read"], "method": "client_secret"}


def test_a_person_sees_the_secret_once_and_is_told_so(desk: House) -> None:
    said = desk.run("client", "add", "his", "--scope", "orders:read", *SITE)
    assert "client_id      his\nclient_secret  pons_" in said
    assert said.endswith("the secret is not kept here and not shown again\n")


def test_a_client_that_signs_has_no_secret(desk: House, signer: Signer) -> None:
    jwks = desk.folder / "jwks.json"
    jwks.write_text(json.dumps(signer.key_set))
    told = add(desk, *SITE, "--jwks", str(jwks))
    assert (told["method"], "client_secret" in told) == ("private_key_jwt", False)
    assert json.loads(desk.run("client", "show", "his", "--json"))["kid"] == "k1"
    other = Signer(kid="k2")
    jwks.write_text(json.dumps(other.key_set))
    desk.run("client", "rotate", "his", "--jwks", str(jwks))
    assert json.loads(desk.run("client", "show", "his", "--json"))["kid"] == "k2"
    assert "signs with keys of its own" in desk.refused("client", "rotate", "his")
    jwks.write_text(json.dumps(signer.key.as_dict(private=True)))
    said = desk.refused("client", "rotate", "his", "--jwks", str(jwks))
    assert "jwks.json: key 1 is private" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("his", "--scope", "orders:read"), "belongs to one site, --site NAME, or may act for all"),
        (("his", "--scope", "orders:read", *SITE, "--all-sites"), "belongs to one site"),
        (("his", "--scope", "orders:read", "--site", "st-mary"), "did you mean 'st-marys'?"),
        (("his", "--scope", "order:read", *SITE), "did you mean 'orders:read'?"),
        (("HIS", "--scope", "orders:read", *SITE), "is no name"),
    ],
)
def test_what_makes_no_client(desk: House, arguments: tuple[str, ...], reason: str) -> None:
    assert reason in desk.refused("client", "add", *arguments)
    assert not (desk.folder / "data" / "pons.sqlite").exists() or rows(desk, clients) == []


def test_a_name_is_given_once(desk: House) -> None:
    add(desk)
    again = desk.refused("client", "add", "his", "--scope", "admin", "--all-sites")
    assert "client his is there already; `pons client rotate`" in again
    desk.run("client", "revoke", "his", "--reason", "replaced", "--yes")
    assert "was revoked; give the new one another name" in desk.refused(
        "client", "add", "his", "--scope", "admin", "--all-sites"
    )


def test_a_secret_is_replaced_at_once_or_in_time(desk: House) -> None:
    first = add(desk)["client_secret"]
    second = json.loads(desk.run("client", "rotate", "his", "--json"))["client_secret"]
    (row,) = rows(desk, clients)
    assert (row.secret_hash, row.previous_hash) == (hash_of("his", second), hash_of("his", first))
    assert row.previous_until <= row.created_at + 3600
    assert "is honoured for 24h more" in desk.run("client", "rotate", "his", "--keep-old", "24h")
    (row,) = rows(desk, clients)
    assert row.previous_until > row.created_at + 23 * 3600
    for wrong in ("31d", "soon", "24"):
        desk.run("client", "rotate", "his", "--keep-old", wrong, expect=2)
    assert "no client ris" in desk.refused("client", "rotate", "ris")


def test_a_client_is_revoked_when_it_is_meant(desk: House) -> None:
    add(desk)
    assert "add --yes to do it" in desk.run("client", "revoke", "his", "--reason", "gone")
    assert json.loads(desk.run("client", "list", "--json"))[0]["state"] == "active"
    desk.run("client", "revoke", "his", "--reason", "gone", "--yes")
    assert "there are no clients" in desk.run("client")
    assert json.loads(desk.run("client", "list", "--revoked", "--json"))[0]["state"] == "revoked"
    assert "was revoked" in desk.refused("client", "revoke", "his", "--reason", "gone", "--yes")
    assert "was revoked" in desk.refused("client", "rotate", "his")
    event = rows(desk, audit_events)[-1]
    assert (event.action, event.detail) == ("client revoked", {"reason": "gone"})


def test_keys_are_the_engines_to_make_and_anybodys_to_rotate(desk: House) -> None:
    assert "no key yet; the engine makes one when it starts" in desk.refused("client", "keys")
    (first,) = json.loads(desk.run("client", "keys", "--rotate", "--json"))
    keys = json.loads(desk.run("client", "keys", "--rotate", "--json"))
    assert [key["signs"] for key in keys] == ["yes", ""]
    assert (keys[1]["kid"], keys[1]["verifies until"] != "") == (first["kid"], True)
    assert [row.action for row in rows(desk, audit_events)] == ["signing key rotated"] * 2


def test_a_key_of_the_table_is_rotated_there(desk: House) -> None:
    table = desk.folder / "routes.yaml"
    table.write_text(TABLE + "oauth: {signing_key: {file: key.pem}}\n")
    assert "put the new one there" in desk.refused("client", "keys", "--rotate")
