"""The register and its addresses: invited, enrolled, rotated, revoked, and never given twice too soon."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest

from wg.block import QUARANTINE, Block, BlockFull, Lease, allocate
from wg.key import checked_key, make_private_key, public_key
from wg.register import TOKEN_LIFE, Register, RegisterError, admit, enrol, peers, revoke, taken_over

NOW = 1_800_000_000.0


def new_key() -> str:
    return public_key(make_private_key())


def enrolled(*sites: str) -> Register:
    register = Register()
    for site in sites:
        register, _, token = admit(register, site, NOW)
        register, _ = enrol(register, token, new_key(), NOW)
    return register


def test_addresses_are_given_in_order_and_stay() -> None:
    register = enrolled("a", "b")
    assert [one.ipv4 for one in register.standing()] == ["100.64.0.2", "100.64.0.3"]
    again, entry, _ = admit(register, "a", NOW + 9)
    assert (entry.ipv4, entry.state, len(again.sites)) == ("100.64.0.2", "enrolled", 2)


def test_a_revoked_address_rests_before_it_is_given_again() -> None:
    register = revoke(enrolled("a"), "a", NOW)
    _, other, _ = admit(register, "b", NOW + QUARANTINE - 1)
    assert other.ipv4 == "100.64.0.3"
    _, later, _ = admit(register, "b", NOW + QUARANTINE)
    assert later.ipv4 == "100.64.0.2"


def test_a_full_block_says_so() -> None:
    block = Block(ipv4=IPv4Network("10.9.0.0/30"))
    leases = [Lease("a", IPv4Address("10.9.0.2"))]
    with pytest.raises(BlockFull, match=r"all 1 addresses of 10\.9\.0\.0/30"):
        allocate(block, leases, "b", NOW)


def test_a_token_serves_once_and_not_for_ever() -> None:
    register, _, token = admit(Register(), "a", NOW)
    assert token not in repr(register), "kept as its hash only"
    with pytest.raises(RegisterError, match="not valid"):
        enrol(register, token, new_key(), NOW + TOKEN_LIFE)
    with pytest.raises(RegisterError, match="not valid"):
        enrol(register, token[:-1] + "_", new_key(), NOW)
    register, entry = enrol(register, token, new_key(), NOW + 1)
    assert entry.state == "enrolled"
    with pytest.raises(RegisterError, match="not valid"):
        enrol(register, token, new_key(), NOW + 2)


def test_an_empty_token_opens_nothing() -> None:
    register = enrolled("a")
    with pytest.raises(RegisterError):
        enrol(register, "", new_key(), NOW)


def test_a_known_key_is_no_new_key() -> None:
    register = enrolled("a")
    known = register.site("a").public_key
    register, _, token = admit(register, "b", NOW)
    with pytest.raises(RegisterError, match="known already"):
        enrol(register, token, known, NOW)


def test_while_a_site_rotates_the_address_stays_with_the_old_key_until_the_new_one_is_heard() -> None:
    register = enrolled("a")
    old, new = register.site("a").public_key, new_key()
    register, _, token = admit(register, "a", NOW)
    register, entry = enrol(register, token, new, NOW)
    assert (entry.public_key, entry.next_public_key) == (old, new)
    own = (ip_network("100.64.0.2/32"), ip_network("fd6f:6e73::2/128"))
    assert {one.public_key: one.allowed_ips for one in peers(register, {})} == {old: own, new: ()}
    heard = frozenset({old, new})
    assert {one.public_key: one.allowed_ips for one in peers(register, {}, heard)} == {old: (), new: own}
    after = taken_over(register, "a")
    assert [one.public_key for one in peers(after, {})] == [new]


def test_a_revoked_site_is_no_peer_and_may_come_again_under_another_address() -> None:
    register = revoke(enrolled("a", "b"), "a", NOW)
    assert [one.name for one in peers(register, {})] == ["b"]
    with pytest.raises(RegisterError, match="has no tunnel"):
        register.site("a")
    register, entry, _ = admit(register, "a", NOW)
    assert (entry.ipv4, entry.state) == ("100.64.0.4", "invited")


def test_an_invited_site_is_no_peer_yet() -> None:
    register, _, _ = admit(Register(), "a", NOW)
    assert peers(register, {}) == []


def test_a_preshared_key_and_the_last_endpoint_go_with_the_peer() -> None:
    register = enrolled("a")
    register = register.with_site(replace(register.site("a"), endpoint="203.0.113.9:4711"))
    psk = make_private_key()
    (peer,) = peers(register, {"a": psk})
    assert (peer.preshared_key, peer.endpoint) == (psk, "203.0.113.9:4711")
    assert psk not in repr(peer)


@pytest.mark.parametrize("text", ["", "x", "A" * 44, "A" * 43 + "=", "=" * 44, "é" * 44])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64") as caught:
        checked_key(text)
    assert not text or text not in str(caught.value)
