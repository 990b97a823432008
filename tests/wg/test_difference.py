"""Only what differs is changed, and no secret is in an argument list."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from wg.difference import CHUNK, Change, commands, difference
from wg.key import make_preshared_key, make_private_key, public_key
from wg.peer import Peer


def peer(number: int, **facts: object) -> Peer:
    key = public_key(make_private_key())
    return Peer(f"site-{number}", key, (ip_network(f"100.64.0.{number}/32"),), **facts)  # type: ignore[arg-type]


A, B, C = peer(2), peer(3), peer(4)


def test_nothing_differs_nothing_changes() -> None:
    assert difference([A, B], [B, A]) == []


def test_one_is_added_and_the_others_are_left_alone() -> None:
    assert difference([A, B, C], [A, B]) == [Change(C)]


def test_one_is_removed() -> None:
    assert difference([A], [A, B]) == [Change(B, remove=True)]


def test_a_living_endpoint_that_the_plan_does_not_know_is_kept() -> None:
    assert difference([A], [replace(A, endpoint="203.0.113.9:4711")]) == []


def test_an_address_moves_by_leaving_its_former_peer_first() -> None:
    new = replace(B, allowed_ips=A.allowed_ips)
    changes = difference([new, replace(A, allowed_ips=())], [A, replace(B, allowed_ips=())])
    assert [change.peer.public_key for change in changes] == [A.public_key, B.public_key]


def test_a_preshared_key_travels_by_file(tmp_path: Path) -> None:
    secret = make_preshared_key()
    changes = difference([replace(A, preshared_key=secret)], [A])
    (command,) = commands("pons0", changes, tmp_path)
    assert secret not in " ".join(command)
    assert command[command.index("preshared-key") + 1].startswith(str(tmp_path))
    (command,) = commands("pons0", difference([A], [replace(A, preshared_key=secret)]), tmp_path)
    assert command[command.index("preshared-key") + 1] == "/dev/null", "taken away"


def test_many_changes_are_many_commands(tmp_path: Path) -> None:
    changes = [Change(A)] * (CHUNK + 1)
    assert [command.count("allowed-ips") for command in commands("pons0", changes, tmp_path)] == [CHUNK, 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nPrivateKey = x"),
        ("name", "A"),
        ("endpoint", "hub.example"),
        ("endpoint", "hub.example:0"),
        ("endpoint", "hub.example:51820\nPostUp = reboot"),
        ("endpoint", "2001:db8::1:51820"),
        ("keepalive", 70000),
        ("public_key", "x"),
        ("preshared_key", "x"),
    ],
)
def test_a_value_that_could_become_a_directive_makes_no_peer(field: str, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 each says its own words
        replace(A, **{field: value})
