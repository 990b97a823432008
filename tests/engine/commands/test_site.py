"""`pons site`: each command, what it refuses, what it leaves on disk and on the trail, and no secret told."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from engine.store.database import SqliteDatabase
from engine.store.tables import audit_events
from tests.engine.commands.desk_house import House
from wg.key import make_private_key, public_key

TABLE = """
version: 1
engine: {data: ./data}
tunnel: {endpoint: "hub.example:51820"}
sites:
  north: {name: North General, tunnel: 100.64.0.2, forwards: {104: "10.0.0.20:104"}}
  south: {tunnel: 100.64.0.3}
  east: {addresses: [192.0.2.0/24]}
"""


@pytest.fixture
def hub(tmp_path: Path) -> House:
    """A table with a tunnel, and nobody admitted yet."""
    (tmp_path / "routes.yaml").write_text(TABLE)
    return House(tmp_path)


def told(hub: House, *arguments: str) -> Any:
    return json.loads(hub.run(*arguments, "--json"))


def new_key() -> str:
    return public_key(make_private_key())


def enrolled(hub: House, site: str) -> str:
    key = new_key()
    hub.run("site", "add", site)
    hub.run("site", "enrol", site, "--public-key", key)
    return key


def trail(hub: House) -> list[tuple[str, str]]:
    database = SqliteDatabase(hub.folder / "data" / "pons.sqlite")
    try:
        rows = database.read_now(lambda c: c.execute(audit_events.select()).all())
    finally:
        database.close()
    return [(row.action, row.subject) for row in rows]


def secrets(hub: House) -> list[str]:
    home = hub.folder / "tunnel"
    return [path.read_text().strip() for path in home.rglob("*.key")]


def test_add_gives_an_address_and_a_token_that_is_shown_once(hub: House) -> None:
    first = told(hub, "site", "add", "north")
    assert (first["ipv4"], first["state"]) == ("100.64.0.2", "invited")
    again = told(hub, "site", "add", "north")
    assert again["ipv4"] == first["ipv4"], "its address stays"
    assert again["token"] != first["token"], "and the former token is worth nothing"
    kept = (hub.folder / "tunnel" / "register.json").read_text()
    assert first["token"] not in kept
    assert again["token"] not in kept
    assert "token_sha256" not in json.dumps(first)
    assert trail(hub) == [("tunnel added", "site north")] * 2


def test_add_says_what_the_table_lacks(hub: House) -> None:
    assert "write into the table" not in hub.run("site", "add", "north")
    assert "write into the table: sites: {west: {tunnel: 100.64.0.3, ...}}" in hub.run("site", "add", "west")


def test_enrol_takes_a_public_key_and_a_second_one_takes_over_later(hub: House) -> None:
    first, second = new_key(), new_key()
    hub.run("site", "add", "north")
    assert hub.run("site", "enrol", "north", "--public-key", first) == "site north is enrolled\n"
    assert "first handshake" in hub.run("site", "enrol", "north", "--public-key", second)
    facts = told(hub, "site", "show", "north")
    assert (facts["public_key"], facts["next_public_key"]) == (first, second)
    assert trail(hub)[1:] == [("tunnel key taken", "site north")] * 2


def test_the_open_token_is_used_up_by_a_key_that_came_otherwise(hub: House) -> None:
    hub.run("site", "add", "north")
    hub.run("site", "enrol", "north", "--public-key", new_key())
    assert told(hub, "site", "show", "north")["token_expires_at"] == ""


@pytest.mark.parametrize("key", ["", "north", "A" * 43 + "=", "AAAA"])
def test_enrol_refuses_what_is_no_key_and_does_not_repeat_it(hub: House, key: str) -> None:
    hub.run("site", "add", "north")
    said = hub.refused("site", "enrol", "north", "--public-key", key)
    assert "32 bytes in base64" in said
    assert not key or key not in said
    assert told(hub, "site", "show", "north")["state"] == "invited"


def test_enrol_refuses_a_key_that_another_site_has(hub: House) -> None:
    key = enrolled(hub, "north")
    hub.run("site", "add", "south")
    assert "known already" in hub.refused("site", "enrol", "south", "--public-key", key)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "north"),
        ("enrol", "north", "--public-key", "x"),
        ("rotate", "north"),
        ("revoke", "north", "--yes"),
        ("export", "north", "--out", "kit"),
    ],
)
def test_of_a_site_without_a_tunnel_the_way_to_one_is_told(hub: House, command: tuple[str, ...]) -> None:
    assert hub.refused("site", *command) == "site north has no tunnel; `pons site add north` gives it one"


def test_a_table_without_tunnels_says_where_to_read(hub: House) -> None:
    text = (hub.folder / "routes.yaml").read_text()
    (hub.folder / "routes.yaml").write_text(text.replace('tunnel: {endpoint: "hub.example:51820"}\n', ""))
    assert "has no section `tunnel:`; docs/tunnels.md shows one" in hub.refused("site", "add", "north")


def test_list_tells_each_site_and_where_table_and_register_do_not_agree(hub: House) -> None:
    assert told(hub, "site", "list") != [], "two sites of the table have no tunnel yet"
    for site in ("south", "north", "west"):
        hub.run("site", "add", site)
    rows = {row["site"]: row for row in told(hub, "site", "list")}
    assert sorted(rows) == ["north", "south", "west"], "east has no tunnel and wants none"
    assert "given to site south" in rows["north"]["remark"]
    assert "given to site north" in rows["south"]["remark"]
    assert "not in the table" in rows["west"]["remark"]
    assert "north" in hub.run("site", "list")
    assert not [word for word in ("token_sha256", "preshared") if word in hub.run("site", "list", "--json")]


def test_show_tells_people_the_same_as_programs(hub: House) -> None:
    key = enrolled(hub, "north")
    said = hub.run("site", "show", "north")
    assert key in said
    for name, value in told(hub, "site", "show", "north").items():
        assert f"{name}:" in said
        assert str(value) in said


def test_export_writes_a_private_kit_without_a_private_key(hub: House) -> None:
    enrolled(hub, "north")
    out = hub.folder / "kit"
    said = hub.run("site", "export", "north", "--out", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["README.txt", "pons-site.nft", "pons0.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert "PrivateKey" not in (out / "pons0.conf").read_text()
    assert "North General" in (out / "README.txt").read_text()
    assert "dnat ip to 10.0.0.20:104" in (out / "pons-site.nft").read_text()
    assert [secret for secret in secrets(hub) if secret in said] == []
    assert trail(hub)[-1] == ("tunnel kit exported", "site north")


def test_export_makes_the_key_for_a_site_that_cannot(hub: House) -> None:
    hub.run("site", "add", "north")
    out = hub.folder / "kit"
    said = hub.run("site", "export", "north", "--out", str(out), "--with-private-key")
    lines = (out / "pons0.conf").read_text().splitlines()
    (private,) = [line.removeprefix("PrivateKey = ") for line in lines if line.startswith("PrivateKey")]
    assert told(hub, "site", "show", "north")["public_key"] == public_key(private)
    assert "pons0.svg" in said
    kept = [path.read_bytes() for path in (hub.folder / "tunnel").rglob("*") if path.is_file()]
    assert not [content for content in kept if private.encode() in content], "nobody here keeps it"
    assert private not in said
    assert ("tunnel key made for the site", "site north") in trail(hub)


def test_export_overwrites_nothing(hub: House) -> None:
    key = enrolled(hub, "north")
    said = hub.refused("site", "export", "north", "--out", str(hub.folder), "--with-private-key")
    assert "is there already" in said
    assert told(hub, "site", "show", "north")["public_key"] == key, "and no key was changed for it"


def test_export_of_a_site_that_the_table_lacks_says_so(hub: House) -> None:
    enrolled(hub, "west")
    said = hub.refused("site", "export", "west", "--out", str(hub.folder / "kit"))
    assert said == "no site west in the table; add it under sites: first"


def test_rotate_gives_a_token_and_keeps_the_key_until_the_new_one_is_heard(hub: House) -> None:
    key = enrolled(hub, "north")
    said = hub.run("site", "rotate", "north")
    assert "rotation token of site north, shown once" in said
    facts = told(hub, "site", "show", "north")
    assert (facts["public_key"], facts["next_public_key"]) == (key, "")
    assert facts["token_expires_at"] != ""
    assert trail(hub)[-1] == ("tunnel rotation begun", "site north")


def test_revoke_does_nothing_unasked_and_then_ends_the_tunnel_for_good(hub: House) -> None:
    key = enrolled(hub, "north")
    hub.run("site", "export", "north", "--out", str(hub.folder / "kit"))
    assert "add --yes to do it" in hub.run("site", "revoke", "north")
    assert told(hub, "site", "show", "north")["public_key"] == key
    hub.run("site", "revoke", "north", "--yes")
    assert trail(hub)[-1] == ("tunnel revoked", "site north")
    assert not (hub.folder / "tunnel" / "preshared" / "north.key").exists()
    assert "has no tunnel" in hub.refused("site", "show", "north")
    assert "known already" in _with_new_token(hub, "south", key), "its key comes back nowhere"
    assert told(hub, "site", "add", "north")["ipv4"] != "100.64.0.2", "nor its address, for a year"


def _with_new_token(hub: House, site: str, key: str) -> str:
    hub.run("site", "add", site)
    return hub.refused("site", "enrol", site, "--public-key", key)


def test_a_register_that_cannot_be_read_is_named(hub: House) -> None:
    hub.run("site", "add", "north")
    file = hub.folder / "tunnel" / "register.json"
    file.write_text("{")
    for command in (("site", "list"), ("site", "show", "north"), ("site", "add", "south")):
        assert f"{file}: cannot be read" in hub.refused(*command)
    assert file.read_text() == "{", "and left for a person to mend"


def test_a_key_that_others_may_read_is_not_used(hub: House) -> None:
    enrolled(hub, "north")
    hub.run("site", "export", "north", "--out", str(hub.folder / "kit"))
    key = hub.folder / "tunnel" / "hub.key"
    key.chmod(0o644)
    said = hub.refused("site", "export", "north", "--out", str(hub.folder / "again"))
    assert said == f"{key} may be read by others: chmod 600 it"
    assert not (hub.folder / "again").exists()
